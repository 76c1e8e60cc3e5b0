//! What workers read of bridges: the ports, and where a frame goes.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use raddle_plugin_api::sync::Published;
use raddle_plugin_api::{Control, Failure, InterfaceIndex, Packet, Worker};

use super::mac_table::{MacKey, MacTable};
use crate::net::mtu::frame_fits;

/// A port of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its interface.
    pub interface: InterfaceIndex,
    /// Number of its bridge.
    pub bridge: u16,
    /// Split-horizon group; 0 is none.
    pub group: u8,
    /// Whether frames that leave by it come in at raddle itself.
    pub is_bvi: bool,
}

impl Port {
    /// Whether what came in by `self` may leave by `other`.
    #[inline(always)]
    pub fn reaches(&self, other: &Self) -> bool {
        self.interface != other.interface && (self.group == 0 || self.group != other.group)
    }
}

/// A bridge as workers see it.
#[derive(Debug)]
pub struct Domain {
    /// Whether it learns.
    pub learn: bool,
    /// Whether frames for known addresses are forwarded.
    pub forward: bool,
    /// Whether frames for groups are flooded.
    pub flood: bool,
    /// Whether frames for unknown addresses are flooded.
    pub unknown_unicast_flood: bool,
    /// Frames a second that each worker floods; 0: all.
    pub flood_limit: u32,
    /// Addresses that it learns at most.
    pub mac_limit: u32,
    /// Addresses that it has learned.
    pub learned: Arc<AtomicU32>,
    /// The ports that are up, the BVI among them.
    pub ports: Vec<Port>,
}

impl Domain {
    /// Whether it may learn one more address.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.learned.load(Ordering::Relaxed) < self.mac_limit
    }
}

/// Ports and bridges at one time.
#[derive(Debug, Default)]
pub struct Ports {
    /// By index of the interface; only ports that are up.
    pub by_interface: Vec<Option<Port>>,
    /// By number of the bridge.
    pub domains: Vec<Option<Domain>>,
}

impl Ports {
    /// The port of an interface.
    #[inline(always)]
    pub fn port(&self, interface: InterfaceIndex) -> Option<&Port> {
        self.by_interface.get(interface.0 as usize)?.as_ref()
    }

    /// The port of an interface and its bridge.
    #[inline(always)]
    pub fn port_and_domain(&self, interface: InterfaceIndex) -> Option<(&Port, &Domain)> {
        let port = self.port(interface)?;
        Some((port, self.domains.get(usize::from(port.bridge))?.as_ref()?))
    }
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// By this port.
    Port(InterfaceIndex),
    /// To raddle itself, by this BVI.
    Bvi(InterfaceIndex),
    /// To all ports.
    Flood,
    /// Nowhere.
    Stop(Stop),
}

/// Why a frame goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Forwarding is off.
    ForwardOff,
    /// Flooding is off for groups.
    FloodOff,
    /// Flooding is off for unknown addresses.
    UnknownUnicast,
    /// It came from where its destination is.
    SamePort,
    /// Its destination is behind a port of the same split-horizon group.
    SplitHorizon,
}

/// The tables of all bridges.
pub struct BridgeTables {
    ports: Published<Ports>,
    /// Where addresses are.
    pub macs: MacTable,
}

/// The group bit of the first octet of an address that was read as a little-endian word.
const GROUP_BIT: u64 = 1;

impl BridgeTables {
    /// Without bridges.
    ///
    /// # Errors
    /// No memory.
    pub fn new(control: &Control<'_>) -> Result<Self, Failure> {
        Ok(Self { ports: Published::new(control, Ports::default()), macs: MacTable::new()? })
    }

    /// The ports at present.
    #[inline(always)]
    pub fn ports<'w>(&'w self, worker: &'w Worker<'_>) -> &'w Ports {
        self.ports.read(worker)
    }

    /// Replaces the ports.
    pub fn publish(&self, control: &Control<'_>, ports: Ports) {
        self.ports.publish(control, ports);
    }

    /// Whether a frame is small enough for the port of an interface.
    #[inline(always)]
    pub fn fits(worker: &Worker<'_>, out: InterfaceIndex, packet: &Packet<'_>) -> bool {
        worker.interface(out).is_none_or(|row| frame_fits(packet, row.mtu()))
    }

    /// Where a frame for `destination` goes that came in by `port`.
    #[inline]
    pub fn course(&self, ports: &Ports, port: &Port, domain: &Domain, destination: u64) -> Course {
        if destination & GROUP_BIT != 0 {
            return if domain.flood { Course::Flood } else { Course::Stop(Stop::FloodOff) };
        }
        let found = self.macs.find(MacKey::new(port.bridge, destination));
        // A port that went down a moment ago is not there any more, and its addresses are as good as unknown.
        let out = found
            .and_then(|found| ports.port(InterfaceIndex(found.place.interface())))
            .filter(|out| out.bridge == port.bridge);
        match out {
            None if domain.unknown_unicast_flood => Course::Flood,
            None => Course::Stop(Stop::UnknownUnicast),
            Some(out) if out.interface == port.interface => Course::Stop(Stop::SamePort),
            Some(_) if !domain.forward => Course::Stop(Stop::ForwardOff),
            Some(out) if !port.reaches(out) => Course::Stop(Stop::SplitHorizon),
            Some(out) if out.is_bvi => Course::Bvi(out.interface),
            Some(out) => Course::Port(out.interface),
        }
    }
}
