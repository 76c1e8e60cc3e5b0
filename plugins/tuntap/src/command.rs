//! Commands: `show tuntap …`, `set tuntap …`, `tuntap resync`.

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::IpPrefix;
use serde::{Deserialize, Serialize};

use crate::NAME;
use crate::config::{InterfaceConfig, Mode};
use crate::service::{Report, Service};
use crate::sync::WORK;

/// Lines of a list unless the operator says how many.
const LINES: u32 = 100;

command! { "show tuntap", "shows the ways to the host, and what of addresses and routes is in sync", show }
command! {
    "show tuntap routes here|refused|foreign [count <count:u32>]",
    "shows prefixes whose routes are taken over, refused, or lead by devices that are none of raddle's; 100 unless a count is given",
    routes
}
command! {
    "set tuntap interface <interface> tap|tun|off [device <device:word>] [namespace <namespace:word>]",
    "gives an interface a way to the host: a tap of its own, the tun of its routing table, or none",
    set_interface
}
command! { "tuntap resync", "reads the kernel's links, addresses and routes again, and tries again what was refused", resync }

fn show(control: &mut Control<'_>, _: NoArguments) -> Result<Report, Failure> {
    Ok(control.resource::<Service>()?.report())
}

#[derive(Deserialize)]
struct Routes {
    #[serde(default)]
    here: bool,
    #[serde(default)]
    refused: bool,
    count: Option<u32>,
}

/// A route of the kernel.
#[derive(Debug, Serialize)]
struct Route {
    table: String,
    prefix: IpPrefix,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

fn routes(control: &mut Control<'_>, arguments: Routes) -> Result<Vec<Route>, Failure> {
    let most = arguments.count.unwrap_or(LINES) as usize;
    let mut list = Vec::new();
    for mirror in control.resource::<Service>()?.mirrors() {
        let (routes, table) = (mirror.routes(), mirror.config.table.to_string());
        let route = |prefix: IpPrefix, reason: Option<String>| Route { table: table.clone(), prefix, reason };
        if arguments.here {
            let mut here: Vec<_> = routes.here().map(|(prefix, _)| *prefix).collect();
            here.sort_unstable();
            list.extend(here.into_iter().take(most).map(|prefix| route(prefix, None)));
        } else if arguments.refused {
            let refused = routes.failures().take(most);
            list.extend(refused.map(|(prefix, reason)| route(*prefix, Some(reason.to_owned()))));
        } else {
            list.extend(routes.foreign().into_iter().take(most).map(|prefix| route(prefix, None)));
        }
    }
    list.truncate(most);
    Ok(list)
}

#[derive(Deserialize)]
struct SetInterface {
    interface: String,
    #[serde(default)]
    tap: bool,
    #[serde(default)]
    tun: bool,
    device: Option<String>,
    namespace: Option<String>,
}

fn set_interface(control: &mut Control<'_>, arguments: SetInterface) -> Result<(), Failure> {
    let SetInterface { interface, tap, tun, device, namespace } = arguments;
    let service = control.resource::<Service>()?;
    let mut config = service.config();
    if tap || tun {
        control.interface(&interface)?;
        let mode = if tap { Mode::Tap } else { Mode::Tun };
        config.interface.insert(interface, InterfaceConfig { mode, device, namespace, persist: false });
    } else if config.interface.remove(&interface).is_none() {
        bail!("interface `{interface}` has no way to the host");
    }
    config.check()?;
    control.report_section(NAME, &config)?;
    service.set_config(config);
    control.signal(WORK, &()).map(drop)
}

/// What was told to read again.
#[derive(Debug, Serialize)]
struct Told {
    namespaces: usize,
}

impl CommandOutput for Told {
    fn text(&self) -> Option<String> {
        Some(match self.namespaces {
            0 => "no namespace is watched".to_owned(),
            count => format!("{count} namespaces are read again"),
        })
    }
}

fn resync(control: &mut Control<'_>, _: NoArguments) -> Result<Told, Failure> {
    let namespaces = control.resource::<Service>()?.resync();
    control.signal(WORK, &())?;
    Ok(Told { namespaces })
}
