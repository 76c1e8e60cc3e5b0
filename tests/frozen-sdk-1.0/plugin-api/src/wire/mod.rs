//! The headers that the SDK itself needs.
#![forbid(unsafe_code)]

#[macro_use]
mod header;

mod addresses;
pub mod checksum;
mod protocol;
mod virtio_net;

pub use addresses::{Ip4Address, Ip6Address, MacAddress, MacAddressError};
pub use protocol::IpProtocol;
pub use virtio_net::{
    ChecksumOffload, Gso, GsoKind, Offload, OffloadMalformed, VirtioNetHeader, VirtioNetHeaderMergeable,
};
