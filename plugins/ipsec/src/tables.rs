//! What workers see: which SA a packet came by, and which one a tunnel sends by.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use raddle_plugin_api::InterfaceIndex;

use crate::policies::Policies;
use crate::sa::{Inbound, Outbound};

/// An SA that receives, and what comes of its packets.
pub struct Entry {
    /// The SA.
    pub sa: Arc<Inbound>,
    /// The tunnel by which its packets come in; [`InterfaceIndex::NONE`]: one that is not there.
    pub interface: Option<InterfaceIndex>,
}

/// All of it, made anew with each change.
#[derive(Default)]
pub struct Tables {
    inbound: HashMap<u32, Entry, BuildHasherDefault<SpiHasher>>,
    /// By interface: what a tunnel sends by at present.
    outbound: Vec<Option<Arc<Outbound>>>,
    /// UDP ports on which ESP comes in.
    udp_ports: Vec<u16>,
    /// What becomes of packets by policies.
    pub policies: Arc<Policies>,
}

/// SPIs are ours to choose, so nobody can choose them to collide.
#[derive(Default)]
pub struct SpiHasher(u64);

impl Hasher for SpiHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

impl Tables {
    /// Without SAs.
    pub fn new(policies: Arc<Policies>) -> Self {
        Self { policies, ..Self::default() }
    }

    /// Adds an SA that receives.
    pub fn add_inbound(&mut self, sa: Arc<Inbound>, interface: Option<InterfaceIndex>) {
        if let Some(ports) = sa.description.udp
            && !self.udp_ports.contains(&ports.local)
        {
            self.udp_ports.push(ports.local);
        }
        self.inbound.insert(sa.description.spi, Entry { sa, interface });
    }

    /// Whether no SA receives: ESP is then for others.
    pub fn receives_nothing(&self) -> bool {
        self.inbound.is_empty()
    }

    /// Has a tunnel send by an SA.
    pub fn set_outbound(&mut self, interface: InterfaceIndex, sa: Arc<Outbound>) {
        let at = interface.0 as usize;
        if at >= raddle_plugin_api::abi::MAX_INTERFACES {
            return;
        }
        if self.outbound.len() <= at {
            self.outbound.resize(at + 1, None);
        }
        self.outbound[at] = Some(sa);
    }

    /// The SA of this number that receives.
    #[inline(always)]
    pub fn inbound(&self, spi: u32) -> Option<&Entry> {
        self.inbound.get(&spi)
    }

    /// What a tunnel sends by.
    #[inline(always)]
    pub fn outbound(&self, interface: InterfaceIndex) -> Option<&Outbound> {
        self.outbound.get(interface.0 as usize)?.as_deref()
    }

    /// Whether an interface is a tunnel of some policy.
    pub fn is_policy_tunnel(&self, interface: InterfaceIndex) -> bool {
        self.policies.tunnels.contains(&interface)
    }

    /// Whether ESP comes in on a UDP port.
    #[inline(always)]
    pub fn has_udp_port(&self, port: u16) -> bool {
        self.udp_ports.contains(&port)
    }
}
