//! Taps: the host's interfaces, each the twin of one of raddle's.

use std::collections::BTreeSet;

use raddle_plugin_api::InterfaceInfo;
use raddle_plugin_api::driver::Change;
use raddle_plugin_api::interface::NewInterface;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::InterfaceAddress;
use serde_json::json;

use super::monitors::Watched;
use super::{NamespaceName, State};
use crate::NAME;
use crate::address_merge::{Addresses, merge};
use crate::config::{InterfaceConfig, Mode, TuntapConfig};
use crate::netlink::{Command, LinkChange, LinkState, PermanentNeighbor};

/// The smallest MTU with which a link has IPv6 (RFC 8200 §5).
const LEAST_IP6_MTU: u32 = 1280;

/// A tap.
pub(super) struct Tap {
    /// The interface whose packets it carries.
    pub(super) of: InterfaceIndex,
    /// The tap as an interface of raddle's; `None`: it cannot be made at present.
    pub(super) index: Option<InterfaceIndex>,
    /// Its name on the host.
    pub(super) device: String,
    /// Where that is.
    pub(super) namespace: NamespaceName,
    config: InterfaceConfig,
    /// Number of the last command about it.
    pub(super) told: u64,
    /// The kernel's number of the link that it was when its addresses were last looked at.
    link: Option<u32>,
    /// Whether the host's side was down then, and how often until then.
    was_down: bool,
    downs: u64,
    /// Addresses on both sides.
    pub(super) agreed: Option<Addresses>,
    /// Addresses that are not on both sides.
    pub(super) differ: Addresses,
    /// Neighbours that are fixed here for the host's sake.
    neighbors: BTreeSet<PermanentNeighbor>,
    /// What is wrong with it.
    pub(super) fault: Option<String>,
}

/// The name of a tap among raddle's interfaces.
pub(super) fn name_of(interface: &str) -> String {
    format!("host-{interface}")
}

impl State {
    /// Makes the taps that are wanted and brings them in line with their interfaces; those that are not wanted go.
    pub(super) fn bring_taps<'i>(
        &mut self,
        control: &Control<'_>,
        config: &TuntapConfig,
        by_name: &impl Fn(&str) -> Option<&'i InterfaceInfo>,
    ) {
        let wanted = |name: &str, tap: &Tap| {
            let asked = config.interface.get(name).filter(|asked| asked.mode == Mode::Tap);
            let same = asked.is_some_and(|asked| {
                *asked == tap.config && config.namespace_of(&asked.namespace) == tap.namespace.as_deref()
            });
            same && by_name(name).is_some_and(|info| info.index == tap.of)
        };
        let unwanted: Vec<_> =
            self.taps.iter().filter(|(name, tap)| !wanted(name, tap)).map(|(name, _)| name.clone()).collect();
        for name in unwanted {
            if let Some(tap) = self.taps.remove(&name) {
                for neighbor in tap.neighbors {
                    let _ = control.forget_neighbor(tap.of, neighbor.address);
                }
                if let Some(index) = tap.index {
                    let _ = control.delete_interface(index);
                }
                // An interface that is gone takes no frames.
                let off = json!({ "interface": tap.of, "by": NAME, "on": false });
                let _ = control.call::<_, ()>("interface.promiscuous", &off);
            }
        }
        for (name, asked) in config.interface.iter().filter(|(_, asked)| asked.mode == Mode::Tap) {
            let Some(info) = by_name(name) else {
                self.say(
                    control,
                    &format!("interface {name}"),
                    Some("there is no interface of this name".to_owned()),
                );
                continue;
            };
            let mut tap = self.taps.remove(name).unwrap_or_else(|| {
                let namespace = config.namespace_of(&asked.namespace).map(str::to_owned);
                Tap::new(info, asked.clone(), namespace)
            });
            let twin = by_name(&name_of(name));
            tap.index = twin.map(|twin| twin.index);
            let outcome = tap.bring(control, info, twin);
            tap.fault = outcome.err().map(|failure| failure.to_string()).or_else(|| twin?.fault.clone());
            self.say(control, &format!("interface {name}"), tap.fault.clone());
            self.taps.insert(name.clone(), tap);
        }
    }
}

impl Tap {
    /// The namespace of its name is another one: it will be made there, and nothing is known of it.
    pub(super) fn start_over(&mut self) {
        (self.told, self.link, self.agreed, self.differ) = (0, None, None, Addresses::new());
    }

    fn new(of: &InterfaceInfo, config: InterfaceConfig, namespace: NamespaceName) -> Self {
        Self {
            of: of.index,
            index: None,
            device: config.device.clone().unwrap_or_else(|| of.name.clone()),
            namespace,
            config,
            told: 0,
            link: None,
            was_down: false,
            downs: 0,
            agreed: None,
            differ: Addresses::new(),
            neighbors: BTreeSet::new(),
            fault: None,
        }
    }

    fn bring(
        &mut self,
        control: &Control<'_>,
        info: &InterfaceInfo,
        twin: Option<&InterfaceInfo>,
    ) -> Result<(), Failure> {
        let Some(mac) = info.mac else {
            bail!("it has no Ethernet header, and so no tap; use mode = \"tun\"");
        };
        let Some(twin) = twin else {
            let name = name_of(&info.name);
            let index = control.create_interface(&NewInterface {
                name: &name,
                driver: "tap",
                mac: None,
                mtu: Some(info.mtu),
                options: json!({
                    "device": self.device,
                    "namespace": self.namespace,
                    "persist": self.config.persist,
                    "host-mac": mac,
                    // It is set up when its addresses are ours to choose.
                    "host-up": false,
                }),
                made_by: Some(NAME),
            })?;
            self.index = Some(index);
            control.set_xconnect(index, Some(self.of))?;
            return control.set_interface_up(index, info.admin_up && info.link_up);
        };
        // The host is in groups of its own, for whose frames the device is not set up. What is for nobody here is dropped all the same.
        control.call::<_, ()>(
            "interface.promiscuous",
            &json!({ "interface": self.of, "by": NAME, "on": true }),
        )?;
        // A version of the plugin before this one may have made it.
        control.set_xconnect(twin.index, Some(self.of))?;
        let is_up = info.admin_up && info.link_up;
        if twin.admin_up != is_up {
            control.set_interface_up(twin.index, is_up)?;
        }
        if twin.mtu != info.mtu {
            control.change_interface(twin.index, Change::Mtu(info.mtu))?;
        }
        Ok(())
    }

    /// Brings addresses and neighbours of both sides together. `link` is the host's side as the monitor last saw it.
    pub(super) fn follow(&mut self, control: &Control<'_>, watched: &mut Watched) -> Result<(), Failure> {
        let Some(snapshot) = watched.snapshot().filter(|snapshot| snapshot.done >= self.told) else {
            return Ok(());
        };
        let Some(link) = snapshot.links.get(&self.device) else { return Ok(()) };
        let interfaces = control.interfaces()?;
        let Some(info) = interfaces.iter().find(|info| info.index == self.of) else { return Ok(()) };
        let here: Addresses = control.network(self.of)?.addresses.iter().map(|info| info.address).collect();
        if self.link != Some(link.index) {
            // It is new, whatever there was before.
            (self.link, self.agreed) = (Some(link.index), None);
            (self.was_down, self.downs) = (false, link.downs);
            let change = LinkChange {
                device: self.device.clone(),
                mac: info.mac,
                bring_up: true,
                add: here.difference(&link.addresses).copied().collect(),
                remove: Vec::new(),
            };
            self.told = watched.tell(Command::Change(change));
            return Ok(());
        }
        self.follow_neighbors(control, link, &snapshot.neighbors);
        if !link.up {
            // A link that is down has lost addresses that nobody took from it.
            self.was_down = true;
            return Ok(());
        }
        // So has one that was down only for a moment, as when it is put into a VRF.
        if std::mem::take(&mut self.was_down) || link.downs != self.downs {
            (self.agreed, self.downs) = (None, link.downs);
        }
        self.follow_addresses(control, watched, info, link, &here)
    }

    fn follow_addresses(
        &mut self,
        control: &Control<'_>,
        watched: &mut Watched,
        info: &InterfaceInfo,
        link: &LinkState,
        here: &Addresses,
    ) -> Result<(), Failure> {
        let has_ip6 = link.mtu >= LEAST_IP6_MTU;
        // Without IPv6 the host has lost addresses that nobody took from it.
        let counts = |address: &&InterfaceAddress| has_ip6 || address.address().is_ipv4();
        let of = |all: &Addresses| all.iter().filter(counts).copied().collect::<Addresses>();
        let (here, there) = (of(here), of(&link.addresses));
        let result = merge(self.agreed.as_ref().map(of).as_ref(), &here, &there);
        self.differ = here.symmetric_difference(&there).copied().collect();
        let kept = self.agreed.iter().flatten().filter(|address| !counts(address)).copied();
        self.agreed = Some(result.agreed.iter().copied().chain(kept).collect());
        let mut refused = None;
        for &address in &result.add_here {
            refused = control.add_address(self.of, address).err().or(refused);
        }
        for &address in &result.remove_here {
            // One that follows from the MAC address stays, and comes back over there.
            let _ = control.remove_address(self.of, address);
        }
        let mac = info.mac.filter(|mac| link.mac != Some(*mac));
        if mac.is_some() || !result.add_there.is_empty() || !result.remove_there.is_empty() {
            let change = LinkChange {
                device: self.device.clone(),
                mac,
                bring_up: false,
                add: result.add_there.into_iter().collect(),
                remove: result.remove_there.into_iter().collect(),
            };
            self.told = watched.tell(Command::Change(change));
        }
        refused.map_or(Ok(()), |failure| Err(failure.context("the host's side has an address more")))
    }

    fn follow_neighbors(
        &mut self,
        control: &Control<'_>,
        link: &LinkState,
        all: &BTreeSet<PermanentNeighbor>,
    ) {
        let wanted: BTreeSet<_> =
            all.iter().filter(|neighbor| neighbor.device == link.index).copied().collect();
        for gone in self.neighbors.difference(&wanted) {
            if !wanted.iter().any(|neighbor| neighbor.address == gone.address) {
                let _ = control.forget_neighbor(self.of, gone.address);
            }
        }
        let mut set: BTreeSet<_> = self.neighbors.intersection(&wanted).copied().collect();
        for &new in wanted.difference(&self.neighbors) {
            // What is refused, such as a group's address, is no neighbour over here.
            if control.set_neighbor(self.of, new.address, new.mac).is_ok() {
                set.insert(new);
            }
        }
        self.neighbors = set;
    }
}
