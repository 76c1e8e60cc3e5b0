//! What an event asks for.

use netlink_packet_route::RouteNetlinkMessage;

use super::kernel::{is_of_permanent, parse};
use super::next_hop_object;
use super::route::{Change, Edit, parse_route};
use super::socket::Received;
use crate::mirror::Object;

/// Groups of events (`RTMGRP_…`; the last is `RTNLGRP_NEXTHOP`): links, neighbours, addresses and routes of both families, next hops.
pub const GROUPS: u32 = 1 | 1 << 2 | 1 << 4 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 31;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A route came, changed or went.
    Route(Change, Edit),
    /// A next-hop object came or changed, or (`None`) went.
    Object(u32, Option<Object>),
    /// Links, addresses or fixed neighbours are others: they are to be listed. `lost`: the kernel may have taken routes with them, of
    /// which it does not tell.
    Listed {
        /// Something went.
        lost: bool,
    },
}

/// The event of a message; `None`: nothing that anybody here waits for.
pub fn event(received: Received<'_>) -> Option<Event> {
    match received.kind {
        next_hop_object::NEW => next_hop_object::parse(received.payload)
            .map(|(number, object)| Event::Object(number, Some(object))),
        next_hop_object::DEL => {
            next_hop_object::parse(received.payload).map(|(number, _)| Event::Object(number, None))
        }
        _ => match parse(received)? {
            RouteNetlinkMessage::NewRoute(message) => {
                Some(Event::Route(parse_route(&message)?, Edit::of(true, received.flags)))
            }
            RouteNetlinkMessage::DelRoute(message) => {
                Some(Event::Route(parse_route(&message)?, Edit::Remove))
            }
            RouteNetlinkMessage::NewLink(message) => {
                let up = netlink_packet_route::link::LinkFlags::Up;
                Some(Event::Listed { lost: !message.header.flags.contains(up) })
            }
            RouteNetlinkMessage::DelLink(_) | RouteNetlinkMessage::DelAddress(_) => {
                Some(Event::Listed { lost: true })
            }
            RouteNetlinkMessage::NewAddress(_) => Some(Event::Listed { lost: false }),
            RouteNetlinkMessage::NewNeighbour(message) => {
                is_of_permanent(&message, false).then_some(Event::Listed { lost: false })
            }
            RouteNetlinkMessage::DelNeighbour(message) => {
                is_of_permanent(&message, true).then_some(Event::Listed { lost: false })
            }
            _ => None,
        },
    }
}
