//! What a packet keeps of the IPv6 fragments that it was put together of, so that it leaves as its sender cut it.

use raddle_plugin_api::{Control, Failure, Field};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What is known of a packet's fragments: a field of packets that are marked as reassembled.
///
/// Routers do not fragment IPv6 packets (RFC 8200 §5). What features of an interface wanted whole is therefore cut again
/// as it came: by the same identification, into fragments no larger than the largest one. Fragments that are too large for
/// the way on are their sender's to make smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Joined {
    /// Length of its largest fragment, from the IPv6 header on.
    pub largest: u16,
    /// Zero.
    reserved: u16,
    /// Their identification.
    pub identification: u32,
}

impl Joined {
    /// Of fragments with this identification, of which the largest has `largest` bytes.
    pub fn new(largest: u32, identification: u32) -> Self {
        // A fragment's length is 16 bits behind its header; of a longer one 65,535 is no bound either.
        Self { largest: u16::try_from(largest).unwrap_or(u16::MAX), reserved: 0, identification }
    }

    /// The bound of its fragments on a link whose largest packet has `mtu` bytes, if a packet of `length` bytes is to be cut
    /// into them: it was made of fragments that fit there, and is larger than they were.
    pub fn bound(&self, length: usize, mtu: usize) -> Option<usize> {
        let largest = usize::from(self.largest);
        (largest <= mtu && length > largest).then_some(largest)
    }
}

/// The field, to set and to read: every caller gets the same one.
///
/// # Errors
/// There is no room for it in the packet's metadata.
pub fn joined_field(control: &Control<'_>) -> Result<Field<Joined>, Failure> {
    control.packet_field("ip6-joined")
}
