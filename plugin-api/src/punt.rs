//! Punting: packets for the host that raddle has no use for itself, and why they are punted.
//!
//! Who sends a packet to the node `punt` says why by a [`PuntReason`], whose packets are counted, and limited for each
//! interface, apart from others' (`show punt`). A plugin takes punted packets by a feature on the arc `punt`, which is enabled
//! for the interfaces whose packets it wants. They begin with their IP header, or with their ARP packet; what stood in front of
//! that is in the headroom.
//!
//! ```
//! use raddle_plugin_api::prelude::*;
//! use raddle_plugin_api::punt::{PuntLimit, PuntReason, PuntReasonField};
//!
//! next! {
//!     enum MirrorNext { Punt => "punt" }
//! }
//!
//! /// Sends what comes by to the host.
//! struct Mirror {
//!     reason: PuntReason,
//!     field: PuntReasonField,
//! }
//!
//! impl Node for Mirror {
//!     const NAME: &'static str = "mirror";
//!     type Next = MirrorNext;
//!     type Error = NoError;
//!
//!     fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
//!         let reason = init.punt_reason("mirror", "mirrored packets", PuntLimit { rate: 100, burst: 10 })?;
//!         Ok(Self { reason, field: PuntReasonField::new(init)? })
//!     }
//!
//!     fn process(&mut self, vector: Vector<'_, Self>) {
//!         vector.each(|_, packet| {
//!             self.field.set(packet, self.reason);
//!             Verdict::Next(MirrorNext::Punt)
//!         });
//!     }
//! }
//!
//! node!(Mirror);
//! # fn main() {}
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::config::InRange;
use crate::{Control, Failure, Field, Packet};

/// Reasons that there can be, those of the core among them.
pub const MAX_PUNT_REASONS: usize = 64;
/// The highest rate and burst, in packets.
pub const MAX_PUNT_RATE: u64 = 10_000_000;

/// Why a packet is punted. Numbered by the host; the core's own are constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PuntReason(u16);

impl PuntReason {
    /// Whoever punted the packet gave no reason.
    pub const OTHER: Self = Self(0);
    /// An ARP packet, of which the host gets a copy.
    pub const ARP: Self = Self(1);
    /// A message of neighbour discovery, of which the host gets a copy.
    pub const ND: Self = Self(2);
    /// An IGMP or MLD message, of which the host gets a copy.
    pub const GROUPS: Self = Self(3);
    /// To a group that raddle has not joined.
    pub const MULTICAST: Self = Self(4);
    /// An ICMP message about something that raddle did not send.
    pub const ICMP: Self = Self(5);
    /// A routing protocol: OSPF, PIM, EIGRP, VRRP, BGP, RIP, BFD, LDP.
    pub const ROUTING: Self = Self(6);
    /// TCP to an own address.
    pub const TCP: Self = Self(7);
    /// UDP to an own address.
    pub const UDP: Self = Self(8);
    /// Another protocol to an own address.
    pub const PROTOCOL: Self = Self(9);

    /// The reason with this number.
    pub const fn from_number(number: u16) -> Self {
        Self(number)
    }

    /// Its number, below [`MAX_PUNT_REASONS`] of those that the host gave.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// How many packets of a reason the host gets on account of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PuntLimit {
    /// Packets a second, 1 to [`MAX_PUNT_RATE`].
    pub rate: u32,
    /// Packets at once after a rest, 1 to [`MAX_PUNT_RATE`].
    pub burst: u32,
}

/// How many packets of a reason the host gets on account of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PuntLimitConfig {
    /// Packets a second on account of one interface. Workers have equal shares.
    pub rate: InRange<1, MAX_PUNT_RATE>,
    /// Packets at once after a rest.
    pub burst: InRange<1, MAX_PUNT_RATE>,
}

impl From<PuntLimitConfig> for PuntLimit {
    fn from(config: PuntLimitConfig) -> Self {
        // Both are within 32 bits by their bounds.
        Self { rate: config.rate.get() as u32, burst: config.burst.get() as u32 }
    }
}

/// Arguments of the method `punt.reason`, which answers with the reason's number.
#[doc(hidden)]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PuntReasonRequest {
    /// Its name.
    pub name: String,
    /// One line on it.
    pub summary: String,
    /// Its limit unless the operator says another.
    pub limit: PuntLimit,
}

impl Control<'_> {
    /// A reason of this name, which may be there already: its limit is then as it was.
    ///
    /// # Errors
    /// The name is none (lower-case letters, digits and `-`), the limit is out of its bounds, or there are
    /// [`MAX_PUNT_REASONS`] already.
    pub fn punt_reason(&self, name: &str, summary: &str, limit: PuntLimit) -> Result<PuntReason, Failure> {
        let request = PuntReasonRequest { name: name.to_owned(), summary: summary.to_owned(), limit };
        self.call("punt.reason", &request)
    }
}

/// Says that the field is in use; what is left of another use of the buffer does not look like it.
const IN_USE: u16 = 0x5075;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Mark {
    in_use: u16,
    reason: u16,
}

/// The per-packet field in which `punt` finds the reason.
#[derive(Clone, Copy)]
pub struct PuntReasonField(Field<Mark>);

impl PuntReasonField {
    /// The field.
    ///
    /// # Errors
    /// The host has no room for it.
    pub fn new(control: &Control<'_>) -> Result<Self, Failure> {
        control.packet_field("punt-reason").map(Self)
    }

    /// Says why the packet is punted.
    #[inline]
    pub fn set(&self, packet: &mut Packet<'_>, reason: PuntReason) {
        packet.set_field(&self.0, Mark { in_use: IN_USE, reason: reason.0 });
    }

    /// Why the packet is punted, as far as somebody said.
    #[inline]
    pub fn of(&self, packet: &Packet<'_>) -> PuntReason {
        let mark = packet.field(&self.0);
        if mark.in_use == IN_USE { PuntReason(mark.reason) } else { PuntReason::OTHER }
    }
}
