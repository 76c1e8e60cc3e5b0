//! A route of the kernel, and what it comes to over here.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::route::{RouteHop, RouteTarget};

/// Objects in objects are looked into so deep: the kernel has groups of hops, and no deeper.
const DEPTH: u32 = 2;

/// A next hop of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The router; `None` where the destinations are on the link.
    pub gateway: Option<IpAddr>,
    /// The kernel's number of the device.
    pub device: u32,
    /// Share of the flows, 1 or more.
    pub weight: u16,
}

/// What a route of the kernel does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KernelTarget {
    /// Sends to one of these.
    Hops(Vec<Hop>),
    /// Does what the object of this number says.
    Object(u32),
    /// Drops.
    Blackhole,
    /// Drops, and says that it cannot be reached.
    Unreachable,
    /// Drops, and says that it is forbidden.
    Prohibit,
}

/// A route of the kernel, without its prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRoute {
    /// The lowest of a prefix is used.
    pub metric: u32,
    /// Who put it there (`RTPROT_…`).
    pub protocol: u8,
    /// What else makes it another one than the next (preferred source, scope, metrics of TCP), as a hash: nothing comes of it here.
    pub variant: u16,
    /// What it does, mostly the same as many others.
    pub target: Arc<KernelTarget>,
}

/// What routes do, kept once for all that do the same.
#[derive(Default)]
pub struct KernelTargets {
    last: Option<Arc<KernelTarget>>,
    all: HashSet<Arc<KernelTarget>>,
}

/// Targets that are remembered; where there are more, it begins anew.
const MOST_SHARED: usize = 16_384;

impl KernelTargets {
    /// A route by these hops.
    pub fn via(&mut self, hops: &[Hop]) -> Arc<KernelTarget> {
        match &self.last {
            Some(last) if matches!(&**last, KernelTarget::Hops(known) if known == hops) => Arc::clone(last),
            _ => self.share(KernelTarget::Hops(hops.to_vec())),
        }
    }

    /// A route that does this.
    pub fn share(&mut self, target: KernelTarget) -> Arc<KernelTarget> {
        let shared = match self.all.get(&target) {
            Some(known) => Arc::clone(known),
            None => {
                let new = Arc::new(target);
                if self.all.len() >= MOST_SHARED {
                    self.all.clear();
                }
                self.all.insert(Arc::clone(&new));
                new
            }
        };
        self.last = Some(Arc::clone(&shared));
        shared
    }
}

/// A next-hop object of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// One hop.
    Hop(Hop),
    /// Others by their numbers, with weights.
    Group(Vec<(u32, u16)>),
    /// Drops.
    Blackhole,
}

/// The objects that there are, by number.
pub type Objects = HashMap<u32, Object>;

/// What a device of the kernel is over here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The host's side of this interface: what the kernel would send there leaves by the interface.
    Interface(InterfaceIndex),
    /// A tun: what the kernel would send there is looked up over here.
    Table,
}

/// Devices by the kernel's numbers; others are none of ours.
pub type Devices = HashMap<u32, Device>;

impl KernelRoute {
    /// What the route does over here; `None`: nothing, since it leads by devices that are none of ours.
    pub fn target(&self, devices: &Devices, objects: &Objects) -> Option<RouteTarget> {
        match &*self.target {
            KernelTarget::Blackhole => Some(RouteTarget::Blackhole),
            KernelTarget::Unreachable => Some(RouteTarget::Unreachable),
            KernelTarget::Prohibit => Some(RouteTarget::Prohibit),
            KernelTarget::Hops(hops) => {
                via(hops.iter().filter_map(|hop| over_here(hop, 1, devices)).collect())
            }
            KernelTarget::Object(number) => {
                let mut hops = Vec::new();
                if is_blackhole(*number, devices, objects, 1, DEPTH, &mut hops) {
                    return Some(RouteTarget::Blackhole);
                }
                via(hops)
            }
        }
    }

    /// The object that the route needs.
    pub fn object(&self) -> Option<u32> {
        match *self.target {
            KernelTarget::Object(number) => Some(number),
            _ => None,
        }
    }
}

fn via(hops: Vec<RouteHop>) -> Option<RouteTarget> {
    (!hops.is_empty()).then_some(RouteTarget::Via(hops))
}

/// Collects the hops of an object; `true`: it drops instead.
fn is_blackhole(
    number: u32,
    devices: &Devices,
    objects: &Objects,
    weight: u16,
    depth: u32,
    hops: &mut Vec<RouteHop>,
) -> bool {
    match objects.get(&number) {
        Some(Object::Blackhole) => true,
        Some(Object::Hop(hop)) => {
            hops.extend(over_here(hop, weight, devices));
            false
        }
        Some(Object::Group(members)) if depth > 0 => {
            // The kernel lets a blackhole be a group's only member.
            members.iter().fold(false, |drops, &(member, weight)| {
                is_blackhole(member, devices, objects, weight, depth - 1, hops) || drops
            })
        }
        Some(Object::Group(_)) | None => false,
    }
}

fn over_here(hop: &Hop, factor: u16, devices: &Devices) -> Option<RouteHop> {
    let weight = hop.weight.saturating_mul(factor).max(1);
    match (devices.get(&hop.device)?, hop.gateway) {
        (Device::Interface(interface), address) => {
            Some(RouteHop { address, interface: Some(*interface), weight })
        }
        (Device::Table, Some(gateway)) => Some(RouteHop { address: Some(gateway), interface: None, weight }),
        // All that a tun leads to is over here already.
        (Device::Table, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_shared_also_where_there_are_more_than_are_remembered() {
        let mut targets = KernelTargets::default();
        let all: Vec<_> =
            (0..MOST_SHARED as u32).map(|number| targets.share(KernelTarget::Object(number))).collect();
        let [one, _, again] =
            [1, 2, 1].map(|device| targets.via(&[Hop { gateway: None, device, weight: 1 }]));
        assert!(Arc::ptr_eq(&one, &again));
        assert!(Arc::strong_count(&all[0]) == 1, "what no route has any more is not kept");
    }
}
