//! `show interface`, `set interface …`, `clear interface counters`.

use std::fmt::Write;
use std::future::Future;

use raddle_plugin_api::command::{NoArguments, Output};
use raddle_plugin_api::driver::Change;
use raddle_plugin_api::wire::{InterfaceAddress, MacAddress};
use raddle_plugin_api::{Control, Failure, InterfaceIndex, command};
use serde::{Deserialize, Serialize};

use super::layout::{Align, Shown, Table, chosen, list, or_dash};
use crate::control::render;
use crate::host::InterfaceState;
use crate::net::addresses::Addresses;
use crate::net::l2::{Rewrites, TagRewrite};
use crate::net::mac_filter::{HeldAddress, MacFilters};
use crate::net::router_advertisement::after_farewell;
use crate::runtime::RxMode;

#[derive(Deserialize)]
struct Show {
    interface: Option<String>,
    #[serde(default)]
    verbose: bool,
}

#[derive(Serialize)]
struct Query {
    interface: Option<InterfaceIndex>,
    verbose: bool,
}

/// An interface with its addresses.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct InterfaceReport {
    #[serde(flatten)]
    state: InterfaceState,
    addresses: Vec<InterfaceAddress>,
    tag_rewrite: Option<TagRewrite>,
    mac_addresses: Vec<HeldAddress>,
    multicast_filter: bool,
}

impl Output for Shown<Vec<InterfaceReport>> {
    fn text(&self) -> Option<String> {
        if self.verbose {
            let blocks: Vec<String> = self.data.iter().map(block).collect();
            return Some(if blocks.is_empty() { "no interface".to_owned() } else { blocks.join("\n\n") });
        }
        let figures = ["mtu", "rx-packets", "rx-bytes", "rx-lost", "tx-packets", "tx-bytes", "tx-lost"];
        let columns: Vec<_> = [("name", Align::Left), ("state", Align::Left), ("driver", Align::Left)]
            .into_iter()
            .chain(figures.map(|name| (name, Align::Right)))
            .collect();
        let mut table = Table::new(&columns);
        for InterfaceReport { state, .. } in &self.data {
            table.row([
                state.name.clone(),
                state.state.clone(),
                state.driver.clone(),
                state.mtu.to_string(),
                state.rx_packets.to_string(),
                state.rx_bytes.to_string(),
                state.rx_lost.to_string(),
                state.tx_packets.to_string(),
                state.tx_bytes.to_string(),
                state.tx_lost.to_string(),
            ]);
        }
        let mut text = table.to_string();
        for (state, fault) in
            self.data.iter().map(|one| &one.state).filter_map(|state| Some((state, state.fault.as_ref()?)))
        {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{}: {fault}", state.name);
        }
        Some(text)
    }
}

/// An interface on lines of its own.
fn block(report: &InterfaceReport) -> String {
    let InterfaceReport { state, addresses, tag_rewrite, mac_addresses, multicast_filter } = report;
    let threads: Vec<String> = state.rx_placement.iter().map(usize::to_string).collect();
    let mut text = format!(
        "{} is {}: index {}, driver {}, mtu {} bytes, mac {}",
        state.name,
        state.state,
        state.index,
        state.driver,
        state.mtu,
        or_dash(state.mac),
    );
    let mut line = |key: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {key:<12} {value}");
    };
    if let Some(fault) = &state.fault {
        line("fault", fault.clone());
    }
    if !addresses.is_empty() {
        line("addresses", addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    if let Some(peer) = &state.l2_xconnect {
        line("l2-xconnect", format!("to {peer}"));
    }
    if let Some(rewrite) = tag_rewrite {
        line("tag-rewrite", rewrite.to_string());
    }
    if state.promiscuous {
        line("promiscuous", "on".to_owned());
    }
    if !mac_addresses.is_empty() {
        line("takes also", mac_addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    if *multicast_filter {
        line("filter", "drops frames for other groups".to_owned());
    }
    let mode = serde_json::json!(state.rx_mode);
    let mode = mode.as_str().unwrap_or_default();
    line("rx-queues", format!("{} on threads {}, {mode}", threads.len(), list(&threads)));
    let (packets, bytes, lost) = (state.rx_packets, state.rx_bytes, state.rx_lost);
    line("rx", format!("{packets} packets, {bytes} bytes, {lost} packets lost"));
    let (packets, bytes, lost) = (state.tx_packets, state.tx_bytes, state.tx_lost);
    line("tx", format!("{packets} packets, {bytes} bytes, {lost} packets lost"));
    for (arc, features) in &state.features {
        line("features", format!("{arc}: {}", list(features)));
    }
    if !state.details.is_null() {
        let details = render::text(&state.details).replace('\n', "\n    ");
        line("device", format!("\n    {details}"));
    }
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn show(control: &mut Control<'_>, arguments: Show) -> Result<Shown<Vec<InterfaceReport>>, Failure> {
    let Show { interface, verbose } = arguments;
    let interface = interface.map(|name| control.interface(&name)).transpose()?.map(|info| info.index);
    let states: Vec<InterfaceState> = control.call("interface.states", &Query { interface, verbose })?;
    let addresses = control.resource::<Addresses>()?;
    let rewrites = control.resource::<Rewrites>()?;
    let filters = control.resource::<MacFilters>()?;
    let report = |state: InterfaceState| InterfaceReport {
        addresses: addresses.of(InterfaceIndex(state.index)),
        tag_rewrite: rewrites.of(InterfaceIndex(state.index)),
        mac_addresses: filters.list(InterfaceIndex(state.index)),
        multicast_filter: filters.filters_groups(InterfaceIndex(state.index)),
        state,
    };
    Ok(Shown { data: states.into_iter().map(report).collect(), verbose: verbose || interface.is_some() })
}

command! {
    "show interface [<interface>] [verbose]",
    "shows the interfaces with their state and counters; `verbose`: also what their drivers know", show
}

fn clear(control: &mut Control<'_>, _: NoArguments) -> Result<(), Failure> {
    control.call("interface.clear-counters", &())
}

command! { "clear interface counters", "has the counters of all interfaces begin anew", clear }

#[derive(Deserialize)]
struct SetState {
    interface: String,
    #[serde(rename = "up|down", deserialize_with = "chosen")]
    up: bool,
}

#[derive(Serialize)]
struct StateSwitch {
    interface: InterfaceIndex,
    up: bool,
}

fn set_state(
    control: &mut Control<'_>,
    arguments: SetState,
) -> Result<impl Future<Output = Result<(), Failure>> + use<>, Failure> {
    let SetState { interface: name, up } = arguments;
    let leaving = control.interface(&name)?.index;
    Ok(after_farewell(control, (!up).then_some(leaving), move |control| {
        // Meanwhile another one may have its index.
        let interface = control.interface(&name)?.index;
        control.call("interface.up", &StateSwitch { interface, up })
    }))
}

command! { "set interface state <interface> up|down", "sets an interface up or down", async set_state }

#[derive(Serialize)]
struct ChangeRequest {
    interface: InterfaceIndex,
    change: Change,
}

fn change(control: &Control<'_>, interface: &str, change: Change) -> Result<(), Failure> {
    let index = control.interface(interface)?.index;
    control
        .call("interface.change", &ChangeRequest { interface: index, change })
        .map_err(|failure| failure.context(format_args!("interface `{interface}`")))
}

#[derive(Deserialize)]
struct SetMtu {
    interface: String,
    mtu: u32,
}

fn set_mtu(control: &mut Control<'_>, arguments: SetMtu) -> Result<(), Failure> {
    change(control, &arguments.interface, Change::Mtu(arguments.mtu))
}

command! {
    "set interface mtu <interface> <mtu:u32>",
    "sets the largest packet of an interface, in bytes, layer 2 header not counted", set_mtu
}

#[derive(Deserialize)]
struct SetMac {
    interface: String,
    mac: MacAddress,
}

fn set_mac(control: &mut Control<'_>, arguments: SetMac) -> Result<(), Failure> {
    if !arguments.mac.is_unicast() {
        raddle_plugin_api::bail!("`{}` is not the address of a station", arguments.mac);
    }
    change(control, &arguments.interface, Change::Mac(arguments.mac))
}

command! { "set interface mac <interface> <mac:mac>", "sets the MAC address of an interface", set_mac }

#[derive(Deserialize)]
struct SetSwitch {
    interface: String,
    #[serde(rename = "on|off", deserialize_with = "chosen")]
    on: bool,
}

fn set_promiscuous(control: &mut Control<'_>, arguments: SetSwitch) -> Result<(), Failure> {
    change(control, &arguments.interface, Change::Promiscuous(arguments.on))
}

command! {
    "set interface promiscuous <interface> on|off",
    "has an interface take frames for every MAC address, or not", set_promiscuous
}

#[derive(Deserialize)]
struct SetRxMode {
    interface: String,
    #[serde(rename = "polling|interrupt|adaptive")]
    mode: RxMode,
    queue: Option<u32>,
}

#[derive(Serialize)]
struct RxModeSwitch {
    interface: InterfaceIndex,
    queue: Option<u32>,
    mode: RxMode,
}

fn set_rx_mode(control: &mut Control<'_>, arguments: SetRxMode) -> Result<(), Failure> {
    let SetRxMode { interface, mode, queue } = arguments;
    let interface = control.interface(&interface)?.index;
    control.call("interface.rx-mode", &RxModeSwitch { interface, queue, mode })
}

command! {
    "set interface rx-mode <interface> polling|interrupt|adaptive [queue <queue:u32>]",
    "says how packets of an interface, or of one of its queues, are waited for: by looking all the time, by sleeping, or by the \
     one or the other as the load goes",
    set_rx_mode
}

#[derive(Deserialize)]
struct SetXconnect {
    interface: String,
    peer: String,
}

#[derive(Serialize)]
struct Xconnect {
    interface: InterfaceIndex,
    peer: Option<InterfaceIndex>,
}

fn set_xconnect(control: &mut Control<'_>, arguments: SetXconnect) -> Result<(), Failure> {
    let interface = control.interface(&arguments.interface)?.index;
    let peer = Some(control.interface(&arguments.peer)?.index);
    control.call("interface.xconnect", &Xconnect { interface, peer })
}

command! {
    "set interface l2 xconnect <interface> <peer:interface>",
    "sends all frames that an interface receives to its peer, as they are", set_xconnect
}

#[derive(Deserialize)]
struct ByName {
    interface: String,
}

fn set_l3(control: &mut Control<'_>, arguments: ByName) -> Result<(), Failure> {
    let interface = control.interface(&arguments.interface)?.index;
    control.call("interface.xconnect", &Xconnect { interface, peer: None })
}

command! { "set interface l3 <interface>", "routes what an interface receives: ends a cross-connect", set_l3 }

#[derive(Deserialize)]
struct SetFeature {
    interface: String,
    feature: String,
    #[serde(rename = "on|off", deserialize_with = "chosen")]
    on: bool,
}

fn set_feature(control: &mut Control<'_>, arguments: SetFeature) -> Result<(), Failure> {
    let interface = control.interface(&arguments.interface)?.index;
    control.set_feature(interface, &arguments.feature, arguments.on)
}

command! {
    "set interface feature <interface> <feature> on|off",
    "switches a feature on or off on an interface, on every arc that has it", set_feature
}
