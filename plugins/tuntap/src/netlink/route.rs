//! Messages about routes, as far as a mirror is interested.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteNextHopFlags, RouteProtocol,
    RouteType, RouteVia,
};
use raddle_plugin_api::wire::IpPrefix;

use crate::mirror::{Hop, KernelRoute, KernelTarget};

/// What becomes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// In the place of one of its prefix and metric.
    Replace,
    /// Behind others of its prefix and metric.
    Append,
    /// In front of them.
    Prepend,
    /// It is gone.
    Remove,
}

impl Edit {
    /// What a message says by its kind and flags.
    pub fn of(is_new: bool, flags: u16) -> Self {
        match is_new {
            false => Self::Remove,
            true if flags & NLM_F_REPLACE != 0 => Self::Replace,
            true if flags & NLM_F_APPEND != 0 => Self::Append,
            true => Self::Prepend,
        }
    }
}

/// A route of one table of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The kernel's table.
    pub table: u32,
    /// The destination.
    pub prefix: IpPrefix,
    /// The rest.
    pub route: KernelRoute,
}

/// The route of a message; `None` of one that has no place in a mirror: the kernel's own (those of addresses and groups), cached ones,
/// by source or type of service, or through encapsulations.
pub fn parse_route(message: &RouteMessage) -> Option<Change> {
    let header = &message.header;
    let ip4 = match header.address_family {
        AddressFamily::Inet => true,
        AddressFamily::Inet6 => false,
        _ => return None,
    };
    if header.protocol == RouteProtocol::Kernel
        || header.source_prefix_length != 0
        || header.tos != 0
        || header.flags.contains(RouteFlags::Cloned)
    {
        return None;
    }
    let mut destination =
        if ip4 { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
    let (mut table, mut metric) = (u32::from(header.table), 0);
    let (mut gateway, mut device, mut object, mut hops) = (None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Gateway(address) => gateway = Some(ip(address)?),
            RouteAttribute::Via(via) => gateway = Some(ip_via(via)?),
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::NhId(number) => object = Some(*number),
            RouteAttribute::MultiPath(list) => {
                hops =
                    Some(list.iter().map(hop).collect::<Option<Vec<_>>>()?.into_iter().flatten().collect());
            }
            RouteAttribute::EncapType(_) | RouteAttribute::Encap(_) | RouteAttribute::NewDestination(_) => {
                return None;
            }
            _ => {}
        }
    }
    let target = match header.kind {
        RouteType::BlackHole => KernelTarget::Blackhole,
        RouteType::Unreachable => KernelTarget::Unreachable,
        RouteType::Prohibit => KernelTarget::Prohibit,
        RouteType::Unicast => match (object, hops, device) {
            (Some(object), _, _) => KernelTarget::Object(object),
            (None, Some(hops), _) => KernelTarget::Hops(hops),
            (None, None, _) if header.flags.contains(RouteFlags::Dead) => KernelTarget::Hops(Vec::new()),
            (None, None, Some(device)) => KernelTarget::Hops(vec![Hop { gateway, device, weight: 1 }]),
            (None, None, None) => return None,
        },
        _ => return None,
    };
    let prefix = IpPrefix::containing(destination, header.destination_prefix_length).ok()?;
    Some(Change { table, prefix, route: KernelRoute { metric, protocol: header.protocol.into(), target } })
}

/// A next hop of several; `Some(None)`: it is dead.
fn hop(hop: &RouteNextHop) -> Option<Option<Hop>> {
    if hop.flags.contains(RouteNextHopFlags::Dead) {
        return Some(None);
    }
    let mut gateway = None;
    for attribute in &hop.attributes {
        match attribute {
            RouteAttribute::Gateway(address) => gateway = Some(ip(address)?),
            RouteAttribute::Via(via) => gateway = Some(ip_via(via)?),
            RouteAttribute::EncapType(_) | RouteAttribute::Encap(_) => return None,
            _ => {}
        }
    }
    // The kernel's number is one less than the weight.
    Some(Some(Hop { gateway, device: hop.interface_index, weight: u16::from(hop.hops) + 1 }))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn ip_via(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(ip) => Some((*ip).into()),
        RouteVia::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::route::RouteHeader;

    use super::*;

    fn message(kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: AddressFamily::Inet,
            destination_prefix_length: 24,
            table: 254,
            protocol: RouteProtocol::Bird,
            kind,
            ..RouteHeader::default()
        };
        message.attributes =
            vec![RouteAttribute::Destination(RouteAddress::Inet("192.0.2.0".parse().unwrap()))];
        message.attributes.extend(attributes);
        message
    }

    fn gateway(text: &str) -> RouteAttribute {
        RouteAttribute::Gateway(RouteAddress::Inet(text.parse().unwrap()))
    }

    #[test]
    fn routes_are_read_with_their_targets() {
        let (one, priority) = (gateway("10.0.0.1"), RouteAttribute::Priority(32));
        let hops = |route: Option<Change>| route.unwrap().route.target;
        let plain = message(RouteType::Unicast, vec![one.clone(), RouteAttribute::Oif(3), priority]);
        let change = parse_route(&plain).unwrap();
        assert_eq!(
            (change.table, change.prefix.to_string(), change.route.metric),
            (254, "192.0.2.0/24".into(), 32)
        );
        let hop = Hop { gateway: Some("10.0.0.1".parse().unwrap()), device: 3, weight: 1 };
        assert_eq!(change.route.target, KernelTarget::Hops(vec![hop]));
        let mut dead = RouteNextHop::default();
        (dead.interface_index, dead.flags) = (4, RouteNextHopFlags::Dead);
        let mut alive = RouteNextHop::default();
        (alive.interface_index, alive.hops, alive.attributes) = (3, 4, vec![one]);
        let several = message(RouteType::Unicast, vec![RouteAttribute::MultiPath(vec![dead, alive])]);
        assert_eq!(hops(parse_route(&several)), KernelTarget::Hops(vec![Hop { weight: 5, ..hop }]));
        let object = message(RouteType::Unicast, vec![RouteAttribute::NhId(9), RouteAttribute::Oif(3)]);
        assert_eq!(hops(parse_route(&object)), KernelTarget::Object(9));
        assert_eq!(hops(parse_route(&message(RouteType::BlackHole, vec![]))), KernelTarget::Blackhole);
        let far = message(RouteType::Prohibit, vec![RouteAttribute::Table(4000)]);
        assert_eq!(parse_route(&far).unwrap().table, 4000);
    }

    #[test]
    fn what_has_no_place_in_a_mirror_is_left_out() {
        let mut own = message(RouteType::Unicast, vec![RouteAttribute::Oif(3)]);
        own.header.protocol = RouteProtocol::Kernel;
        let mut by_service = message(RouteType::Unicast, vec![RouteAttribute::Oif(3)]);
        by_service.header.tos = 16;
        let mut too_long = message(RouteType::Unicast, vec![RouteAttribute::Oif(3)]);
        too_long.header.destination_prefix_length = 33;
        for message in [
            own,
            by_service,
            too_long,
            message(RouteType::Local, vec![RouteAttribute::Oif(1)]),
            message(RouteType::Multicast, vec![RouteAttribute::Oif(1)]),
            message(RouteType::Unicast, vec![]),
        ] {
            assert_eq!(parse_route(&message), None, "{message:?}");
        }
    }

    #[test]
    fn flags_say_what_becomes_of_a_route() {
        assert_eq!(Edit::of(false, NLM_F_REPLACE), Edit::Remove);
        assert_eq!(Edit::of(true, NLM_F_REPLACE), Edit::Replace);
        assert_eq!(Edit::of(true, NLM_F_APPEND), Edit::Append);
        assert_eq!(Edit::of(true, 0), Edit::Prepend);
    }
}
