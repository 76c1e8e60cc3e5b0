//! The commands about bridges.
#![forbid(unsafe_code)]

use std::fmt::Write;

use raddle_plugin_api::prelude::*;
use serde::{Deserialize, Serialize};

use super::{BridgeConfig, BridgeMac, BridgeMember, BridgeReport, Bridges, MacReport, Rewrites};

command! { "show bridge [<bridge>]", "shows the bridges, their ports and settings", show }
command! { "show bridge <bridge> macs", "shows the MAC addresses that a bridge knows", show_macs }
command! { "clear bridge macs [<bridge>]", "forgets the MAC addresses that one bridge, or all, have learned", clear }
command! { "bridge add <bridge>", "makes a bridge without ports", add }
command! { "bridge delete <bridge>", "takes a bridge away; its ports become interfaces of the router again", delete }
command! {
    "bridge port add <bridge> <interface> [split-horizon <group:u16:0..256>]",
    "makes an interface a port of a bridge; what comes in by a port of a split-horizon group leaves by none of that group",
    add_port
}
command! { "bridge port delete <bridge> <interface>", "ends that an interface is a port of a bridge", delete_port }
command! { "bridge mac add <bridge> <mac> <interface>", "fixes behind which port of a bridge a MAC address is", add_mac }
command! { "bridge mac delete <bridge> <mac>", "ends that a MAC address is fixed", delete_mac }
command! {
    "set bridge bvi <bridge> <interface>",
    "has raddle be a station on a bridge by an interface of driver `bvi`", set_bvi
}
command! { "set bridge no-bvi <bridge>", "takes the BVI off a bridge", set_no_bvi }
command! {
    "set bridge learn|forward|flood|unknown-unicast-flood <bridge> <on:on-off>",
    "switches what a bridge does: learn addresses, forward to known ones, flood for groups or unknown addresses",
    set_switch
}
command! {
    "set bridge ageing|mac-limit|flood-limit <bridge> <value:u32>",
    "sets after how many seconds a bridge forgets an address (0: never), how many it learns, and how many frames a second each worker floods (0: all)",
    set_number
}

command! {
    "set interface l2 tag-rewrite <interface> <rewrite…>",
    "rewrites VLAN tags of frames that an interface switches: `pop 1|2`, `push TAG [TAG]`, `translate 1-1|1-2|2-1|2-2 TAG [TAG]`, or `off`; what leaves is changed back",
    set_rewrite
}

#[derive(Deserialize)]
struct One {
    bridge: String,
}

#[derive(Deserialize)]
struct OneOrAll {
    bridge: Option<String>,
}

/// Bridges with their ports, as text a line a port.
#[derive(Serialize)]
#[serde(transparent)]
struct Shown(Vec<BridgeReport>);

impl CommandOutput for Shown {
    fn text(&self) -> Option<String> {
        if self.0.is_empty() {
            return Some("no bridge".to_owned());
        }
        let blocks: Vec<String> = self.0.iter().map(block).collect();
        Some(blocks.join("\n\n"))
    }
}

fn block(bridge: &BridgeReport) -> String {
    let BridgeConfig { learn, forward, flood, unknown_unicast_flood, ageing, mac_limit, flood_limit, .. } =
        bridge.config;
    let word = |on: bool| if on { "on" } else { "off" };
    let ageing = if ageing == 0 { "never".to_owned() } else { format!("after {ageing} s") };
    let mut text = format!(
        "{}: number {}, {} of {mac_limit} addresses learned",
        bridge.name, bridge.number, bridge.learned
    );
    let switches = [
        ("learn", learn),
        ("forward", forward),
        ("flood", flood),
        ("unknown-unicast-flood", unknown_unicast_flood),
    ];
    let switches: Vec<String> = switches.iter().map(|(name, on)| format!("{name} {}", word(*on))).collect();
    // Writing to a string cannot fail.
    let _ = write!(text, "\n  {}, forgets {ageing}", switches.join(", "));
    if flood_limit > 0 {
        let _ = write!(text, ", floods {flood_limit} frames a second and worker at most");
    }
    for port in &bridge.ports {
        let group = match port.split_horizon {
            _ if port.bvi => ", bvi".to_owned(),
            0 => String::new(),
            group => format!(", split-horizon {group}"),
        };
        let _ = write!(text, "\n  {} {}{group}", port.interface, port.state);
    }
    text
}

fn show(control: &mut Control<'_>, arguments: OneOrAll) -> Result<Shown, Failure> {
    Ok(Shown(control.resource::<Bridges>()?.reports(arguments.bridge.as_deref())?))
}

fn show_macs(control: &mut Control<'_>, arguments: One) -> Result<Vec<MacReport>, Failure> {
    control.resource::<Bridges>()?.macs(&arguments.bridge, control.now_ns())
}

/// How many were forgotten.
#[derive(Serialize)]
struct Cleared {
    cleared: usize,
}

impl CommandOutput for Cleared {
    fn text(&self) -> Option<String> {
        Some(format!("{} addresses cleared", self.cleared))
    }
}

fn clear(control: &mut Control<'_>, arguments: OneOrAll) -> Result<Cleared, Failure> {
    let cleared = control.resource::<Bridges>()?.clear(arguments.bridge.as_deref())?;
    Ok(Cleared { cleared })
}

fn add(control: &mut Control<'_>, arguments: One) -> Result<(), Failure> {
    control.resource::<Bridges>()?.add(control, &arguments.bridge)
}

fn delete(control: &mut Control<'_>, arguments: One) -> Result<(), Failure> {
    control.resource::<Bridges>()?.remove(control, &arguments.bridge)
}

fn change(
    control: &Control<'_>,
    bridge: &str,
    change: impl FnOnce(&mut BridgeConfig) -> Result<(), Failure>,
) -> Result<(), Failure> {
    control.resource::<Bridges>()?.change(control, bridge, change)
}

#[derive(Deserialize)]
struct AddPort {
    bridge: String,
    interface: String,
    group: Option<u16>,
}

fn add_port(control: &mut Control<'_>, arguments: AddPort) -> Result<(), Failure> {
    let AddPort { bridge, interface, group } = arguments;
    control.interface(&interface)?;
    // The usage language has let no more than 255 through.
    let split_horizon = group.unwrap_or_default() as u8;
    change(control, &bridge, |config| {
        config.members.push(BridgeMember { interface, split_horizon });
        Ok(())
    })
}

#[derive(Deserialize)]
struct Port {
    bridge: String,
    interface: String,
}

fn delete_port(control: &mut Control<'_>, arguments: Port) -> Result<(), Failure> {
    let Port { bridge, interface } = arguments;
    change(control, &bridge, |config| {
        let before = config.members.len();
        config.members.retain(|member| member.interface != interface);
        if config.members.len() == before {
            bail!("`{interface}` is no port of the bridge `{bridge}`");
        }
        config.macs.retain(|mac| mac.interface != interface);
        Ok(())
    })
}

#[derive(Deserialize)]
struct AddMac {
    bridge: String,
    mac: MacAddress,
    interface: String,
}

fn add_mac(control: &mut Control<'_>, arguments: AddMac) -> Result<(), Failure> {
    let AddMac { bridge, mac, interface } = arguments;
    change(control, &bridge, |config| {
        config.macs.push(BridgeMac { mac, interface });
        Ok(())
    })
}

#[derive(Deserialize)]
struct OneMac {
    bridge: String,
    mac: MacAddress,
}

fn delete_mac(control: &mut Control<'_>, arguments: OneMac) -> Result<(), Failure> {
    let OneMac { bridge, mac } = arguments;
    change(control, &bridge, |config| {
        let before = config.macs.len();
        config.macs.retain(|known| known.mac != mac);
        if config.macs.len() == before {
            bail!("{mac} is not fixed in the bridge `{bridge}`");
        }
        Ok(())
    })
}

fn set_bvi(control: &mut Control<'_>, arguments: Port) -> Result<(), Failure> {
    let Port { bridge, interface } = arguments;
    control.interface(&interface)?;
    change(control, &bridge, |config| {
        config.bvi = Some(interface);
        Ok(())
    })
}

fn set_no_bvi(control: &mut Control<'_>, arguments: One) -> Result<(), Failure> {
    change(control, &arguments.bridge, |config| {
        config.bvi = None;
        Ok(())
    })
}

#[derive(Deserialize)]
struct SetSwitch {
    #[serde(rename = "learn|forward|flood|unknown-unicast-flood")]
    what: String,
    bridge: String,
    on: bool,
}

fn set_switch(control: &mut Control<'_>, arguments: SetSwitch) -> Result<(), Failure> {
    let SetSwitch { what, bridge, on } = arguments;
    change(control, &bridge, |config| {
        let switch = match what.as_str() {
            "learn" => &mut config.learn,
            "forward" => &mut config.forward,
            "flood" => &mut config.flood,
            _ => &mut config.unknown_unicast_flood,
        };
        *switch = on;
        Ok(())
    })
}

#[derive(Deserialize)]
struct SetNumber {
    #[serde(rename = "ageing|mac-limit|flood-limit")]
    what: String,
    bridge: String,
    value: u32,
}

fn set_number(control: &mut Control<'_>, arguments: SetNumber) -> Result<(), Failure> {
    let SetNumber { what, bridge, value } = arguments;
    change(control, &bridge, |config| {
        let number = match what.as_str() {
            "ageing" => &mut config.ageing,
            "mac-limit" => &mut config.mac_limit,
            _ => &mut config.flood_limit,
        };
        *number = value;
        Ok(())
    })
}

#[derive(Deserialize)]
struct SetRewrite {
    interface: String,
    rewrite: Vec<String>,
}

fn set_rewrite(control: &mut Control<'_>, arguments: SetRewrite) -> Result<(), Failure> {
    let SetRewrite { interface, rewrite } = arguments;
    let rewrite = match rewrite.join(" ").as_str() {
        "off" => None,
        text => Some(text.parse()?),
    };
    control.resource::<Rewrites>()?.set(control, &interface, rewrite)
}
