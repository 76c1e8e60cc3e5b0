//! The commands about neighbours.

use std::net::IpAddr;
use std::time::Duration;

use raddle_plugin_api::config::InRange;
use raddle_plugin_api::failure;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::IpPrefix;
use serde::{Deserialize, Serialize};

use super::{DetectionSetting, NeighborKey, NeighborOptions, NeighborState, Neighbors};

command! {
    "show neighbors [<interface>] [state <state>]",
    "shows the neighbours and how sure they are",
    show
}
command! { "show neighbor-table", "shows how many neighbours each interface has, and how many it may have", table }
command! { "clear neighbors [<interface>]", "forgets the neighbours that were learned", clear }
command! { "neighbor add <interface> <address:ip> <mac>", "sets a neighbour that stays", add }
command! { "neighbor del <interface> <address:ip>", "forgets a neighbour", delete }
command! {
    "set interface neighbor-proxy <interface> add|del <prefix>",
    "answers on an interface for the addresses of a prefix, or does so no longer",
    set_proxy
}
command! {
    "set interface dad <interface> <transmits:u32:0..17>",
    "sets how often an address is asked for before it is used; 0: it is used untried",
    set_dad
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct OnInterface {
    interface: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Which {
    interface: Option<String>,
    state: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ProxySetting {
    interface: String,
    #[serde(default)]
    add: bool,
    prefix: IpPrefix,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DadSetting {
    interface: String,
    transmits: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Addition {
    interface: String,
    address: IpAddr,
    mac: MacAddress,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Deletion {
    interface: String,
    address: IpAddr,
}

/// A neighbour, as `show neighbors` shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Shown {
    address: IpAddr,
    mac: Option<MacAddress>,
    state: NeighborState,
    interface: String,
    /// Since it was last confirmed, or first asked for.
    age_seconds: u64,
    queued: usize,
    router: bool,
}

/// How many were forgotten.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Cleared {
    cleared: usize,
}

impl CommandOutput for Cleared {
    fn text(&self) -> Option<String> {
        Some(format!("{} neighbours cleared", self.cleared))
    }
}

fn show(control: &mut Control<'_>, arguments: Which) -> Result<Vec<Shown>, Failure> {
    let only = interface_index(control, arguments.interface.as_deref())?;
    let state = arguments.state.map(|name| read_state(&name)).transpose()?;
    let now_ns = control.now_ns();
    let mut list = Vec::new();
    control.resource::<Neighbors>()?.for_each(only, |key, entry, info| {
        if state.is_some_and(|wanted| wanted != entry.state()) {
            return;
        }
        list.push(Shown {
            address: key.address,
            mac: entry.mac(),
            state: entry.state(),
            interface: info.map_or_else(|| key.interface.to_string(), |info| info.name.clone()),
            age_seconds: Duration::from_nanos(now_ns.saturating_sub(entry.since_ns())).as_secs(),
            queued: entry.queued(),
            router: entry.is_router(),
        });
    });
    Ok(list)
}

fn read_state(name: &str) -> Result<NeighborState, Failure> {
    let known = NeighborState::ALL;
    known.into_iter().find(|state| state.name() == name).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|state| state.name()).collect();
        failure!("{name} is no state of a neighbour; there are {}", names.join(", "))
    })
}

/// The neighbours of an interface in numbers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Usage {
    interface: String,
    entries: usize,
    max_entries: usize,
    incomplete: usize,
    max_incomplete: usize,
    reachable: usize,
    /// Aged, or about to be checked.
    aged: usize,
    r#static: usize,
    queued: usize,
}

fn table(control: &mut Control<'_>, _: NoArguments) -> Result<Vec<Usage>, Failure> {
    let neighbors = control.resource::<Neighbors>()?;
    let mut rows = Vec::new();
    for interface in control.interfaces()? {
        let settings = neighbors.options(interface.index).settings();
        let mut usage = Usage {
            interface: interface.name,
            entries: 0,
            max_entries: settings.max_entries,
            incomplete: 0,
            max_incomplete: settings.max_incomplete,
            reachable: 0,
            aged: 0,
            r#static: 0,
            queued: 0,
        };
        neighbors.count(interface.index, |state, queued| {
            usage.entries += 1;
            usage.queued += queued;
            *match state {
                NeighborState::Incomplete => &mut usage.incomplete,
                NeighborState::Reachable => &mut usage.reachable,
                NeighborState::Stale | NeighborState::Delay | NeighborState::Probe => &mut usage.aged,
                NeighborState::Static => &mut usage.r#static,
            } += 1;
        });
        rows.push(usage);
    }
    Ok(rows)
}

fn set_proxy(control: &mut Control<'_>, arguments: ProxySetting) -> Result<(), Failure> {
    let ProxySetting { interface, add, prefix } = arguments;
    let index = control.interface(&interface)?.index;
    let neighbors = control.resource::<Neighbors>()?;
    let mut options = neighbors.own_options(index);
    let present = options.proxy.contains(&prefix);
    match (add, present) {
        (true, true) => bail!("{interface} answers for {prefix} already"),
        (false, false) => bail!("{interface} does not answer for {prefix}"),
        (true, false) => options.proxy.push(prefix),
        (false, true) => options.proxy.retain(|known| *known != prefix),
    }
    neighbors.set_options(control, index, options);
    Ok(())
}

fn set_dad(control: &mut Control<'_>, arguments: DadSetting) -> Result<(), Failure> {
    let index = control.interface(&arguments.interface)?.index;
    let neighbors = control.resource::<Neighbors>()?;
    let transmits = InRange::new(arguments.transmits.into());
    let dad = Some(DetectionSetting::Transmits(transmits.ok_or_else(|| failure!("at most 16 times"))?));
    neighbors.set_options(control, index, NeighborOptions { dad, ..neighbors.own_options(index) });
    Ok(())
}

fn clear(control: &mut Control<'_>, arguments: OnInterface) -> Result<Cleared, Failure> {
    let only = interface_index(control, arguments.interface.as_deref())?;
    let cleared = control.resource::<Neighbors>()?.clear(control, only);
    Ok(Cleared { cleared })
}

fn add(control: &mut Control<'_>, arguments: Addition) -> Result<(), Failure> {
    let Addition { interface, address, mac } = arguments;
    let key = NeighborKey { interface: control.interface(&interface)?.index, address };
    set_static(control, key, mac)
}

fn delete(control: &mut Control<'_>, arguments: Deletion) -> Result<(), Failure> {
    let Deletion { interface, address } = arguments;
    let key = NeighborKey { interface: control.interface(&interface)?.index, address };
    if control.resource::<Neighbors>()?.remove(control, key) {
        return Ok(());
    }
    bail!("there is no neighbour {address} on {interface}")
}

/// Sets a neighbour that stays.
pub fn set_static(control: &Control<'_>, key: NeighborKey, mac: MacAddress) -> Result<(), Failure> {
    let address = key.address;
    if address.is_multicast() || address.is_unspecified() {
        bail!("{address} is no address of a neighbour");
    }
    if !mac.is_unicast() {
        bail!("{mac} is no MAC address of a station");
    }
    control.resource::<Neighbors>()?.set_static(control, key, mac)
}

fn interface_index(control: &Control<'_>, name: Option<&str>) -> Result<Option<InterfaceIndex>, Failure> {
    name.map(|name| Ok(control.interface(name)?.index)).transpose()
}
