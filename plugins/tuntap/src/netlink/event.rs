//! What an event asks for.

use netlink_packet_route::RouteNetlinkMessage;

use super::kernel::{is_of_permanent, parse};
use super::next_hop_object;
use super::route::{Change, Edit, RouteReader};
use super::socket::Received;
use crate::mirror::Object;

/// Groups of events (`RTMGRP_…`; the last is `RTNLGRP_NEXTHOP`): links, neighbours, addresses and routes of both families, next hops.
pub const GROUPS: u32 = 1 | 1 << 2 | 1 << 4 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 31;

/// `RTM_NEWROUTE`, `RTM_DELROUTE`.
pub const NEW_ROUTE: u16 = 24;
/// See [`NEW_ROUTE`].
pub const DEL_ROUTE: u16 = 25;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A route came, changed or went.
    Route(Change, Edit),
    /// A next-hop object came or changed, or (`None`) went.
    Object(u32, Option<Object>),
    /// Links, addresses or fixed neighbours are others: they are to be listed. `lost`: the kernel may have changed routes with them, of
    /// which it does not tell.
    Listed {
        /// Something went, or a link came up.
        lost: bool,
        /// The kernel's number of the link that is down, if it is about one.
        down: Option<u32>,
    },
}

/// Something is to be listed, and nothing went.
const SEEN: Event = Event::Listed { lost: false, down: None };

/// The event of a message; `None`: nothing that anybody here waits for.
pub fn event(received: Received<'_>, reader: &mut RouteReader) -> Option<Event> {
    match received.kind {
        NEW_ROUTE => Some(Event::Route(reader.read(received.payload)?, Edit::of(true, received.flags))),
        DEL_ROUTE => Some(Event::Route(reader.read(received.payload)?, Edit::Remove)),
        next_hop_object::NEW => next_hop_object::parse(received.payload)
            .map(|(number, object)| Event::Object(number, Some(object))),
        next_hop_object::DEL => {
            next_hop_object::parse(received.payload).map(|(number, _)| Event::Object(number, None))
        }
        _ => match parse(received)? {
            RouteNetlinkMessage::NewLink(message) => {
                let up = netlink_packet_route::link::LinkFlags::Up;
                let is_down = !message.header.flags.contains(up);
                // Next hops on one that is up again are alive again.
                let lost = is_down || message.header.change_mask.contains(up);
                Some(Event::Listed { lost, down: is_down.then_some(message.header.index) })
            }
            RouteNetlinkMessage::DelLink(_) | RouteNetlinkMessage::DelAddress(_) => {
                Some(Event::Listed { lost: true, down: None })
            }
            RouteNetlinkMessage::NewAddress(_) => Some(SEEN),
            RouteNetlinkMessage::NewNeighbour(message) => is_of_permanent(&message, false).then_some(SEEN),
            RouteNetlinkMessage::DelNeighbour(message) => is_of_permanent(&message, true).then_some(SEEN),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable;
    use netlink_packet_route::link::{LinkFlags, LinkMessage};

    use super::*;

    // Linux takes next hops along with a link, and brings them back with it (`fib_sync_down_dev`, `fib_sync_up`).
    #[test]
    fn a_link_that_goes_down_or_comes_up_has_routes_read_again() {
        let listed = |flags: LinkFlags, change_mask: LinkFlags| {
            let mut message = LinkMessage::default();
            (message.header.index, message.header.flags, message.header.change_mask) =
                (7, flags, change_mask);
            let mut bytes = vec![0; message.buffer_len()];
            message.emit(&mut bytes);
            event(Received { kind: 16, flags: 0, whole: &[], payload: &bytes }, &mut RouteReader::default())
        };
        let (none, up) = (LinkFlags::empty(), LinkFlags::Up);
        assert_eq!(listed(none, up), Some(Event::Listed { lost: true, down: Some(7) }));
        assert_eq!(listed(up, up), Some(Event::Listed { lost: true, down: None }));
        assert_eq!(listed(up, none), Some(SEEN));
    }
}
