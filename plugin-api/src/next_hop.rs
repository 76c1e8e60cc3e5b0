//! Policy routing: features that choose a packet's way in place of the routing table of its interface.
//!
//! A feature on the arc `ip4-unicast` or `ip6-unicast` sees packets before their destination is looked up. It has two ways to
//! choose:
//!
//! - *another table*: [`Packet::set_fib_index`](crate::Packet::set_fib_index), then
//!   [`Verdict::Continue`](crate::Verdict::Continue). The lookup uses that table; so do the features behind it that look
//!   addresses up.
//! - *a next hop*: a [`NextHop`] that was acquired beforehand, [`NextHop::choose`], then the packet goes to the node
//!   [`NextHop::IP4_NODE`] or [`NextHop::IP6_NODE`] instead of going on. There is no lookup, and no feature behind this one on
//!   the arc sees the packet. Hops are counted, MTU, redirects and the output arcs are as for any packet.
//!
//! While the next hop's link-layer address is not known yet, a few packets wait for it. Those go by the routing table when it is:
//! who cannot have that drops packets until [`Control::acquire_next_hop`] has been followed by traffic of its own, such as a
//! ping.
//!
//! ```
//! use std::sync::Arc;
//!
//! use raddle_plugin_api::NextHop;
//! use raddle_plugin_api::prelude::*;
//!
//! next! {
//!     enum DivertNext { Adjacency => "ip4-adjacency" }
//! }
//!
//! /// Sends everything to one next hop.
//! struct Divert {
//!     to: Arc<NextHop>,
//! }
//!
//! impl Node for Divert {
//!     const NAME: &'static str = "divert";
//!     type Next = DivertNext;
//!     type Error = NoError;
//!
//!     fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
//!         Ok(Self { to: init.resource()? })
//!     }
//!
//!     fn process(&mut self, vector: Vector<'_, Self>) {
//!         vector.each(|_, packet| {
//!             self.to.choose(packet);
//!             Verdict::Next(DivertNext::Adjacency)
//!         });
//!     }
//! }
//!
//! node!(Divert);
//! feature! { "divert", node: Divert, arc: "ip4-unicast" }
//! # fn main() {}
//! ```

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Control, Failure, InterfaceIndex, Packet};

/// A neighbour to which features can send packets. Given back by [`Control::release_next_hop`].
#[derive(Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NextHop {
    adjacency: u32,
}

#[derive(Serialize)]
struct Wanted {
    interface: InterfaceIndex,
    address: IpAddr,
}

impl NextHop {
    /// The node for IPv4 packets whose next hop was chosen.
    pub const IP4_NODE: &'static str = "ip4-adjacency";
    /// The node for IPv6 packets whose next hop was chosen.
    pub const IP6_NODE: &'static str = "ip6-adjacency";

    /// Has the packet, whose first byte is that of its IP header, go to this next hop. It is to be sent to the node of its
    /// family.
    #[inline(always)]
    pub fn choose(&self, packet: &mut Packet<'_>) {
        packet.set_adjacency(self.adjacency);
    }
}

impl Control<'_> {
    /// A next hop on the link of an interface, for [`NextHop::choose`].
    ///
    /// # Errors
    /// There is no such interface, the address is no host's, or there are too many.
    pub fn acquire_next_hop(&self, interface: InterfaceIndex, address: IpAddr) -> Result<NextHop, Failure> {
        self.call("next-hop.acquire", &Wanted { interface, address })
    }

    /// Gives a next hop back. Nodes must not choose it any more: they have been told before, by
    /// [`Published`](crate::sync::Published) state or another way, and what they had read is forgotten in a deferred call.
    ///
    /// # Errors
    /// The host does not answer as it should.
    pub fn release_next_hop(&self, next_hop: NextHop) -> Result<(), Failure> {
        self.call("next-hop.release", &next_hop)
    }
}
