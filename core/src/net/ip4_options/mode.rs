//! What the operator wants done with options.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use raddle_plugin_api::wire::{Ip4Address, Ip4Header};
use raddle_plugin_api::{Failure, InterfaceIndex, NodeInit, Packet, Worker};
use serde::{Deserialize, Serialize};

use super::fill::fill;
use crate::net::addresses::Addresses;

/// What becomes of packets with options that are right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ip4OptionsMode {
    /// They go on with their options untouched.
    #[default]
    Ignore = 0,
    /// Record route and timestamp are filled in (RFC 1812 §5.2.4).
    Process = 1,
    /// They are dropped (RFC 7126 §3.2 tells what that breaks).
    Drop = 2,
}

/// What becomes of packets with a source route, which is never followed (RFC 7126 §4.3, §4.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceRoutes {
    /// Their senders are told that the source route failed (RFC 792).
    #[default]
    Reject = 0,
    /// They are dropped without a word.
    Drop = 1,
}

/// Both. A resource of the core.
#[derive(Debug, Default)]
pub struct Ip4OptionsPolicy {
    mode: AtomicU8,
    source_routes: AtomicU8,
}

impl Ip4OptionsPolicy {
    /// What becomes of packets with options.
    pub fn mode(&self) -> Ip4OptionsMode {
        match self.mode.load(Ordering::Relaxed) {
            1 => Ip4OptionsMode::Process,
            2 => Ip4OptionsMode::Drop,
            _ => Ip4OptionsMode::Ignore,
        }
    }

    /// What becomes of packets with a source route.
    pub fn source_routes(&self) -> SourceRoutes {
        match self.source_routes.load(Ordering::Relaxed) {
            1 => SourceRoutes::Drop,
            _ => SourceRoutes::Reject,
        }
    }

    /// Sets both, from now on.
    pub fn set(&self, mode: Ip4OptionsMode, source_routes: SourceRoutes) {
        self.mode.store(mode as u8, Ordering::Relaxed);
        self.source_routes.store(source_routes as u8, Ordering::Relaxed);
    }
}

/// Fills in recording options of packets on their way out.
pub struct OptionFiller {
    policy: Arc<Ip4OptionsPolicy>,
    addresses: Arc<Addresses>,
}

impl OptionFiller {
    /// For a node.
    ///
    /// # Errors
    /// The resources are not there.
    pub fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { policy: init.resource()?, addresses: init.resource()? })
    }

    /// Fills in the options of a packet that has some and leaves by `interface`, if the operator wants that.
    ///
    /// # Errors
    /// The byte at fault, for a parameter problem.
    #[cold]
    pub fn fill(
        &self,
        worker: &Worker<'_>,
        interface: InterfaceIndex,
        packet: &mut Packet<'_>,
    ) -> Result<(), u8> {
        if self.policy.mode() != Ip4OptionsMode::Process {
            return Ok(());
        }
        let all = self.addresses.read(worker);
        let of_interface = all.get(&interface).into_iter().flatten();
        let mut ip4 = of_interface.filter_map(|address| match address.address() {
            std::net::IpAddr::V4(address) => Some(Ip4Address::from(address)),
            std::net::IpAddr::V6(_) => None,
        });
        // Without an address of its own the interface speaks by that to which the packet was sent, if any.
        let Some(own) = ip4.next().or_else(|| own_destination(packet, all)) else { return Ok(()) };
        let is_own = |address: Ip4Address| is_own(all, address);
        fill(packet.bytes_mut(), own, is_own, midnight_ms)
    }
}

fn is_own(all: &crate::net::addresses::AddressesInForce, address: Ip4Address) -> bool {
    all.values().flatten().any(|own| own.address() == std::net::IpAddr::from(address.to_std()))
}

fn own_destination(packet: &Packet<'_>, all: &crate::net::addresses::AddressesInForce) -> Option<Ip4Address> {
    let (ip, _) = Ip4Header::parse(packet.bytes())?;
    Some(ip.destination()).filter(|destination| is_own(all, *destination))
}

/// Milliseconds since midnight UT (RFC 791 §3.1).
fn midnight_ms() -> u32 {
    const DAY_MS: u128 = 86_400_000;
    // A clock before 1970 tells no time: then it is midnight.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_millis() % DAY_MS) as u32
}
