//! Protocol headers as they lie on the wire: checked views over bytes, with accessors that cannot panic.
//!
//! A header type is a `#[repr(C)]` struct without alignment, read in place: `parse` gives a reference to it
//! and the bytes behind it, or says that there are too few. Big-endian lives inside these types only:
//! accessors take and give host order. What a peer can get wrong beyond being too short is found by a `check`
//! or `parse` that returns a small reason, fit to index a counter.
//!
//! ```
//! use raddle_plugin_api::wire::{EtherType, EthernetHeader, Ip4Header};
//!
//! let frame = [
//!     0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x00, // ethernet
//!     0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0x66, 0xd7, 10, 0, 0, 1, 10, 0, 0, 2, // ip4
//! ];
//! let (ethernet, payload) = EthernetHeader::parse(&frame).unwrap();
//! assert_eq!(ethernet.ethertype(), EtherType::IP4);
//! let ip = Ip4Header::check(payload, payload.len()).unwrap();
//! assert_eq!(ip.ttl(), 64);
//! ```
#![forbid(unsafe_code)]

#[macro_use]
mod header;

mod addresses;
mod arp;
pub mod checksum;
mod ethernet;
mod icmp4;
mod icmp6;
mod ip4;
mod ip6;
mod ip6_extension;
mod nd;
mod nd_build;
mod nd_option;
mod nd_router;
mod options;
mod prefix;
mod protocol;
mod tcp;
mod udp;
mod virtio_net;

pub use addresses::{Ip4Address, Ip6Address, MacAddress, MacAddressError};
pub use arp::{ArpMalformed, ArpOperation, ArpPacket};
pub use ethernet::{EtherType, EthernetHeader, Tagged, VlanTag};
pub use icmp4::{Icmp4Error, Icmp4Header, Icmp4Kind, IcmpMalformed};
pub use icmp6::{Icmp6Error, Icmp6Header, Icmp6Kind};
pub use ip4::{Ip4Header, Ip4Malformed};
pub use ip6::{Ip6Header, Ip6Malformed};
pub use ip6_extension::{
    ExtensionMalformed, Ip6Fragment, Ip6FragmentHeader, Ip6Routing, Ip6Upper, MAX_EXTENSION_BYTES,
    MAX_EXTENSION_HEADERS,
};
pub use nd::{NdMalformed, NdMessage, NeighborFlags, RouterFlags};
pub use nd_build::{
    RouterAdvertisement, write_duplicate_detection, write_neighbor_advertisement, write_neighbor_solicitation,
};
pub use nd_option::{NdOption, NdOptions, NdPrefix};
pub use nd_router::{NdDnsServers, NdPref64, NdRoute, NdSearchList, RouterPreference, write_domain_name};
pub use options::{HeaderOption, HeaderOptions, Ip6Options, OptionMalformed};
pub use prefix::{InterfaceAddress, Ip4Prefix, Ip6Prefix, IpPrefix, PrefixError};
pub use protocol::IpProtocol;
pub use tcp::{TcpFlags, TcpHeader, TcpMalformed, TcpOption};
pub use udp::{UdpHeader, UdpMalformed};
pub use virtio_net::{
    ChecksumOffload, Gso, GsoKind, Offload, OffloadMalformed, VirtioNetHeader, VirtioNetHeaderMergeable,
};
