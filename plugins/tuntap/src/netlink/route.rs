//! Messages about routes (Linux `include/uapi/linux/rtnetlink.h`), as far as a mirror is interested.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_REPLACE, NlasIterator};
use raddle_plugin_api::wire::IpPrefix;

use crate::mirror::{Hop, KernelRoute, KernelTarget, KernelTargets};

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

/// Reads messages about routes: by hand, since there may be a million, of which most say the same of where they lead.
#[derive(Default)]
pub struct RouteReader {
    targets: KernelTargets,
    hops: Vec<Hop>,
}

/// Bytes of `struct rtmsg` and `struct rtnexthop`.
const HEADER_BYTES: usize = 12;
const HOP_BYTES: usize = 8;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Routes that the kernel makes itself (`RTPROT_KERNEL`).
const OF_THE_KERNEL: u8 = 2;
/// A copy for one destination (`RTM_F_CLONED`).
const CLONED: u32 = 0x200;
/// The next hop's device is down (`RTNH_F_DEAD`).
const DEAD: u8 = 1;

const RTN_UNICAST: u8 = 1;
const RTN_BLACKHOLE: u8 = 6;
const RTN_UNREACHABLE: u8 = 7;
const RTN_PROHIBIT: u8 = 8;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
const RTA_FLOW: u16 = 11;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_NEWDST: u16 = 19;
const RTA_ENCAP_TYPE: u16 = 21;
const RTA_ENCAP: u16 = 22;
const RTA_NH_ID: u16 = 30;

impl RouteReader {
    /// The route of a message behind its netlink header; `None` of one that has no place in a mirror: the kernel's own (those of
    /// addresses and groups), cached ones, by source or type of service, through encapsulations, or cut short.
    pub fn read(&mut self, payload: &[u8]) -> Option<Change> {
        let (header, attributes) = payload.split_first_chunk::<HEADER_BYTES>()?;
        let [family, length, source_length, tos, table, protocol, scope, kind, a, b, c, d] = *header;
        let flags = u32::from_ne_bytes([a, b, c, d]);
        let mut destination: IpAddr = match family {
            AF_INET => Ipv4Addr::UNSPECIFIED.into(),
            AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        if protocol == OF_THE_KERNEL || source_length != 0 || tos != 0 || flags & CLONED != 0 {
            return None;
        }
        let (mut table, mut metric, mut variant) = (u32::from(table), 0, u16::from(scope));
        let (mut gateway, mut device, mut object, mut several) = (None, None, None, false);
        self.hops.clear();
        for attribute in NlasIterator::new(attributes) {
            let attribute = attribute.ok()?;
            let value = attribute.value();
            match attribute.kind() {
                RTA_DST => destination = ip(value)?,
                RTA_TABLE => table = number(value)?,
                RTA_PRIORITY => metric = number(value)?,
                RTA_GATEWAY => gateway = Some(ip(value)?),
                RTA_VIA => gateway = Some(ip_via(value)?),
                RTA_OIF => device = Some(number(value)?),
                RTA_NH_ID => object = Some(number(value)?),
                RTA_MULTIPATH => {
                    self.read_hops(value)?;
                    several = true;
                }
                kind @ (RTA_PREFSRC | RTA_METRICS | RTA_FLOW) => variant ^= hash(kind, value),
                RTA_ENCAP_TYPE | RTA_ENCAP | RTA_NEWDST => return None,
                _ => {}
            }
        }
        let target = match (kind, object, several, device) {
            (RTN_BLACKHOLE, ..) => self.targets.share(KernelTarget::Blackhole),
            (RTN_UNREACHABLE, ..) => self.targets.share(KernelTarget::Unreachable),
            (RTN_PROHIBIT, ..) => self.targets.share(KernelTarget::Prohibit),
            (RTN_UNICAST, Some(object), ..) => self.targets.share(KernelTarget::Object(object)),
            (RTN_UNICAST, None, several, device) => {
                match device {
                    _ if several || flags & u32::from(DEAD) != 0 => {}
                    Some(device) => self.hops.push(Hop { gateway, device, weight: 1 }),
                    None => return None,
                }
                self.targets.via(&self.hops)
            }
            _ => return None,
        };
        let prefix = IpPrefix::containing(destination, length).ok()?;
        Some(Change { table, prefix, route: KernelRoute { metric, protocol, variant, target } })
    }

    /// Next hops, of which the dead ones are left out.
    fn read_hops(&mut self, mut bytes: &[u8]) -> Option<()> {
        while let Some((&[low, high, flags, hops, a, b, c, d], _)) = bytes.split_first_chunk::<HOP_BYTES>() {
            let length = usize::from(u16::from_ne_bytes([low, high]));
            let mut gateway = None;
            for attribute in NlasIterator::new(bytes.get(HOP_BYTES..length)?) {
                let attribute = attribute.ok()?;
                match attribute.kind() {
                    RTA_GATEWAY => gateway = Some(ip(attribute.value())?),
                    RTA_VIA => gateway = Some(ip_via(attribute.value())?),
                    RTA_ENCAP_TYPE | RTA_ENCAP => return None,
                    _ => {}
                }
            }
            if flags & DEAD == 0 {
                // The kernel's number is one less than the weight.
                let weight = u16::from(hops) + 1;
                self.hops.push(Hop { gateway, device: u32::from_ne_bytes([a, b, c, d]), weight });
            }
            // They begin at multiples of four.
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Some(())
    }
}

fn hash(kind: u16, value: &[u8]) -> u16 {
    let mut hasher = DefaultHasher::new();
    (kind, value).hash(&mut hasher);
    // Any of its bits.
    hasher.finish() as u16
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}

/// `struct rtvia`: a family, and an address of it.
fn ip_via(value: &[u8]) -> Option<IpAddr> {
    ip(value.get(2..)?)
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable;
    use netlink_packet_route::AddressFamily;
    use netlink_packet_route::route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop, RouteNextHopFlags,
        RouteProtocol, RouteType, RouteVia,
    };

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

    /// What is read of a message as another program writes it.
    fn read(message: &RouteMessage) -> Option<Change> {
        RouteReader::default().read(&bytes(message))
    }

    fn bytes(message: &RouteMessage) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    fn gateway(text: &str) -> RouteAttribute {
        RouteAttribute::Gateway(RouteAddress::Inet(text.parse().unwrap()))
    }

    #[test]
    fn routes_are_read_with_their_targets() {
        let (one, priority) = (gateway("10.0.0.1"), RouteAttribute::Priority(32));
        let target = |message: &RouteMessage| KernelTarget::clone(&read(message).unwrap().route.target);
        let plain = message(RouteType::Unicast, vec![one.clone(), RouteAttribute::Oif(3), priority]);
        let change = read(&plain).unwrap();
        assert_eq!(
            (change.table, change.prefix.to_string(), change.route.metric, change.route.protocol),
            (254, "192.0.2.0/24".into(), 32, 12)
        );
        let hop = Hop { gateway: Some("10.0.0.1".parse().unwrap()), device: 3, weight: 1 };
        assert_eq!(target(&plain), KernelTarget::Hops(vec![hop]));
        let mut dead = RouteNextHop::default();
        (dead.interface_index, dead.flags) = (4, RouteNextHopFlags::Dead);
        let mut alive = RouteNextHop::default();
        (alive.interface_index, alive.hops, alive.attributes) = (3, 4, vec![one.clone()]);
        let mut via = RouteNextHop::default();
        let six = "2001:db8::1".parse().unwrap();
        (via.interface_index, via.attributes) = (5, vec![RouteAttribute::Via(RouteVia::Inet6(six))]);
        let several = vec![RouteAttribute::MultiPath(vec![dead, alive, via])];
        let via = Hop { gateway: Some(six.into()), device: 5, weight: 1 };
        let expected = KernelTarget::Hops(vec![Hop { weight: 5, ..hop }, via]);
        assert_eq!(target(&message(RouteType::Unicast, several)), expected);
        let object = message(RouteType::Unicast, vec![RouteAttribute::NhId(9), RouteAttribute::Oif(3)]);
        assert_eq!(target(&object), KernelTarget::Object(9));
        assert_eq!(target(&message(RouteType::BlackHole, vec![])), KernelTarget::Blackhole);
        assert_eq!(target(&message(RouteType::Unreachable, vec![])), KernelTarget::Unreachable);
        let far = message(RouteType::Prohibit, vec![RouteAttribute::Table(4000)]);
        assert_eq!((read(&far).unwrap().table, target(&far)), (4000, KernelTarget::Prohibit));
        let mut down = message(RouteType::Unicast, vec![one, RouteAttribute::Oif(3)]);
        down.header.flags = RouteFlags::Dead;
        assert_eq!(target(&down), KernelTarget::Hops(Vec::new()));
    }

    // Linux has both side by side (`fib_find_info`).
    #[test]
    fn routes_that_differ_in_their_preferred_source_are_two() {
        let by = |source: &str| {
            let source = RouteAttribute::PrefSource(RouteAddress::Inet(source.parse().unwrap()));
            read(&message(RouteType::Unicast, vec![gateway("10.0.0.1"), RouteAttribute::Oif(3), source]))
        };
        assert_eq!(by("10.0.0.3"), by("10.0.0.3"));
        assert_ne!(by("10.0.0.3"), by("10.0.0.4"));
        assert_eq!(size_of::<KernelRoute>(), 16, "a million of them cost no more for it");
    }

    #[test]
    fn a_default_route_has_no_destination_in_its_message() {
        let mut six = message(RouteType::Unicast, vec![RouteAttribute::Oif(3)]);
        six.attributes.remove(0);
        (six.header.address_family, six.header.destination_prefix_length) = (AddressFamily::Inet6, 0);
        assert_eq!(read(&six).unwrap().prefix.to_string(), "::/0");
    }

    #[test]
    fn routes_that_lead_to_the_same_share_it() {
        let mut reader = RouteReader::default();
        let by =
            |text: &str| bytes(&message(RouteType::Unicast, vec![gateway(text), RouteAttribute::Oif(3)]));
        let [a, b, again] = ["10.0.0.1", "10.0.0.2", "10.0.0.1"].map(|text| reader.read(&by(text)).unwrap());
        assert!(std::sync::Arc::ptr_eq(&a.route.target, &again.route.target) && a.route != b.route);
    }

    #[test]
    fn what_has_no_place_in_a_mirror_is_left_out() {
        let mut own = message(RouteType::Unicast, vec![RouteAttribute::Oif(3)]);
        own.header.protocol = RouteProtocol::Kernel;
        let mut by_service = message(RouteType::Unicast, vec![RouteAttribute::Oif(3)]);
        by_service.header.tos = 16;
        let mut by_source = message(RouteType::Unicast, vec![RouteAttribute::Oif(3)]);
        by_source.header.source_prefix_length = 8;
        let mut cached = message(RouteType::Unicast, vec![RouteAttribute::Oif(3)]);
        cached.header.flags = RouteFlags::Cloned;
        let mut too_long = message(RouteType::Unicast, vec![RouteAttribute::Oif(3)]);
        too_long.header.destination_prefix_length = 33;
        for message in [
            own,
            by_service,
            by_source,
            cached,
            too_long,
            message(RouteType::Local, vec![RouteAttribute::Oif(1)]),
            message(RouteType::Multicast, vec![RouteAttribute::Oif(1)]),
            message(RouteType::Unicast, vec![]),
        ] {
            assert_eq!(read(&message), None, "{message:?}");
        }
    }

    #[test]
    fn what_is_cut_short_is_none_or_less() {
        let mut hop = RouteNextHop::default();
        (hop.interface_index, hop.attributes) = (3, vec![gateway("10.0.0.1")]);
        let whole =
            bytes(&message(RouteType::Unicast, vec![RouteAttribute::MultiPath(vec![hop.clone(), hop])]));
        for length in 0..whole.len() {
            // Whatever comes of it: nothing is read beyond the end.
            let _ = RouteReader::default().read(&whole[..length]);
        }
        let mut liar = whole.clone();
        // The first hop's length is beyond its attribute, then nothing at all.
        let at = whole.len() - 32;
        for length in [200_u16, 0, 7] {
            liar[at..at + 2].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(RouteReader::default().read(&liar), None, "{length}");
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
