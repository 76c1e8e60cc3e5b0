//! The commands about neighbours.

use std::net::IpAddr;
use std::time::Duration;

use raddle_plugin_api::prelude::*;
use serde::{Deserialize, Serialize};

use super::{NeighborKey, NeighborState, Neighbors};

command! { "show neighbors [<interface>]", "shows the neighbours and how sure they are", show }
command! { "clear neighbors [<interface>]", "forgets the neighbours that were learned", clear }
command! { "neighbor add <interface> <address:ip> <mac>", "sets a neighbour that stays", add }
command! { "neighbor del <interface> <address:ip>", "forgets a neighbour", delete }

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct OnInterface {
    interface: Option<String>,
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

fn show(control: &mut Control<'_>, arguments: OnInterface) -> Result<Vec<Shown>, Failure> {
    let only = interface_index(control, arguments.interface.as_deref())?;
    let now_ns = control.now_ns();
    let mut list = Vec::new();
    control.resource::<Neighbors>()?.for_each(only, |key, entry, info| {
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

/// Sets a neighbour that stays, for configuration and command.
pub(super) fn set_static(control: &Control<'_>, key: NeighborKey, mac: MacAddress) -> Result<(), Failure> {
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
