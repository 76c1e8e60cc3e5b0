//! What is asked of the kernel: lists, and changes of links and addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE, NetlinkDeserializable, NetlinkHeader};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoVrf, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteHeader, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use raddle_plugin_api::namespace::Namespace;
use raddle_plugin_api::wire::{InterfaceAddress, MacAddress};
use rustix::io::Errno;

use super::next_hop_object;
use super::snapshot::{LinkState, PermanentNeighbor, Snapshot};
use super::socket::{NetlinkError, Received, Socket};
use crate::mirror::Objects;

/// Requests to one namespace.
pub struct Kernel {
    socket: Socket,
}

impl Kernel {
    /// A socket for requests.
    ///
    /// # Errors
    /// The namespace cannot be entered, or there is no socket for us.
    pub fn open(namespace: &Namespace) -> Result<Self, NetlinkError> {
        Ok(Self { socket: Socket::open(namespace, 0)? })
    }

    /// Links, addresses and fixed neighbours.
    ///
    /// # Errors
    /// The kernel refuses, or they never rest.
    pub fn snapshot(&mut self) -> Result<Snapshot, NetlinkError> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let mut links: BTreeMap<u32, LinkState> =
            self.socket.list("list the links", &request, BTreeMap::new, |links, received| {
                if let Some(RouteNetlinkMessage::NewLink(message)) = parse(received) {
                    let link = link(&message);
                    links.insert(link.index, link);
                }
            })?;
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let addresses = self.socket.list("list the addresses", &request, Vec::new, |list, received| {
            if let Some(RouteNetlinkMessage::NewAddress(message)) = parse(received) {
                list.extend(address(&message).map(|address| (message.header.index, address)));
            }
        })?;
        for (index, address) in addresses {
            if let Some(link) = links.get_mut(&index) {
                link.addresses.insert(address);
            }
        }
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let neighbors =
            self.socket.list("list the neighbours", &request, BTreeSet::new, |list, received| {
                if let Some(RouteNetlinkMessage::NewNeighbour(message)) = parse(received) {
                    list.extend(permanent(&message));
                }
            })?;
        let links = links.into_values().map(|link| (link.name.clone(), link)).collect();
        Ok(Snapshot { done: 0, links, neighbors })
    }

    /// All next-hop objects; none from a kernel without (before 5.3).
    ///
    /// # Errors
    /// The kernel refuses for another reason, or they never rest.
    pub fn objects(&mut self) -> Result<Objects, NetlinkError> {
        let request = (next_hop_object::GET, &[0; next_hop_object::HEADER_BYTES][..]);
        let listed =
            self.socket.list_raw("list the next-hop objects", request, Objects::new, |objects, received| {
                objects.extend(next_hop_object::parse(received.payload));
            });
        match listed {
            Err(NetlinkError::Refused { source: Errno::OPNOTSUPP | Errno::INVAL, .. }) => Ok(Objects::new()),
            listed => listed,
        }
    }

    /// Reads the routes of one family, of all tables. `begin` is called before each reading, of which there may be several, and makes what
    /// `take` gets with what was read.
    ///
    /// # Errors
    /// The kernel refuses, or they never rest.
    pub fn routes<S>(
        &mut self,
        is_ip6: bool,
        begin: impl Fn() -> S,
        take: impl FnMut(&mut S, Received<'_>),
    ) -> Result<S, NetlinkError> {
        let address_family = if is_ip6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let mut request = RouteMessage::default();
        request.header = RouteHeader { address_family, ..RouteHeader::default() };
        self.socket.list("list the routes", &RouteNetlinkMessage::GetRoute(request), begin, take)
    }

    /// Gives a link an address, which is not tried for duplicates: raddle does so. One that it has stays.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add_address(&mut self, link: u32, address: InterfaceAddress) -> Result<(), NetlinkError> {
        let message = address_message(link, address);
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.socket.change(
            "give the host's side its address",
            RouteNetlinkMessage::NewAddress(message),
            flags,
        )
    }

    /// Takes an address from a link; one that it has not is gone already.
    ///
    /// # Errors
    /// The kernel refuses for another reason.
    pub fn remove_address(&mut self, link: u32, address: InterfaceAddress) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::DelAddress(address_message(link, address));
        match self.socket.change("take the address from the host's side", message, 0) {
            Err(NetlinkError::Refused { source: Errno::ADDRNOTAVAIL | Errno::NODEV, .. }) => Ok(()),
            outcome => outcome,
        }
    }

    /// Changes a link: its MAC address, whether it is up, and (once) that the kernel gives it no link-local address of its own.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_link(
        &mut self,
        link: u32,
        mac: Option<MacAddress>,
        up: Option<bool>,
        no_own_link_local: bool,
    ) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = link;
        if let Some(up) = up {
            message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
            message.header.change_mask = LinkFlags::Up;
        }
        message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
        if no_own_link_local {
            let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
            message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]));
        }
        self.socket.change("set the host's side", RouteNetlinkMessage::SetLink(message), 0)
    }
}

/// The message, if the crate knows it.
pub(super) fn parse(received: Received<'_>) -> Option<RouteNetlinkMessage> {
    let mut header = NetlinkHeader::default();
    header.message_type = received.kind;
    RouteNetlinkMessage::deserialize(&header, received.payload).ok()
}

fn link(message: &LinkMessage) -> LinkState {
    let mut link = LinkState {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        ..LinkState::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = <[u8; 6]>::try_from(&bytes[..]).ok().map(MacAddress),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                link.vrf_table = infos.iter().find_map(|info| match info {
                    LinkInfo::Data(InfoData::Vrf(vrf)) => vrf.iter().find_map(|vrf| match vrf {
                        InfoVrf::TableId(table) => Some(*table),
                        _ => None,
                    }),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    link
}

fn address(message: &AddressMessage) -> Option<InterfaceAddress> {
    // Of a point-to-point link `Local` is ours; IPv6 has `Address` alone.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let ip = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
    })?;
    InterfaceAddress::new(ip, message.header.prefix_len).ok()
}

fn address_message(link: u32, address: InterfaceAddress) -> AddressMessage {
    let ip = address.address();
    let mut message = AddressMessage::default();
    message.header.index = link;
    message.header.prefix_len = address.length();
    message.header.family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    if let IpAddr::V6(ip) = ip {
        message.header.flags = AddressHeaderFlags::Nodad;
        if ip.is_unicast_link_local() {
            message.header.scope = AddressScope::Link;
        }
    }
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    message
}

fn permanent(message: &NeighbourMessage) -> Option<PermanentNeighbor> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some(IpAddr::from(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some(IpAddr::from(*ip)),
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = <[u8; 6]>::try_from(&bytes[..]).ok().map(MacAddress)
            }
            _ => {}
        }
    }
    Some(PermanentNeighbor { device: message.header.ifindex, address: address?, mac: mac? })
}

/// Whether a message about a neighbour is of one that the operator has fixed, or of one that is gone.
pub(super) fn is_of_permanent(message: &NeighbourMessage, is_gone: bool) -> bool {
    is_gone || message.header.state == NeighbourState::Permanent
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::InfoKind;

    use super::*;

    #[test]
    fn a_link_tells_of_its_vrf_table() {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.flags = LinkFlags::Up;
        let vrf = InfoData::Vrf(vec![InfoVrf::TableId(100)]);
        message.attributes = vec![
            LinkAttribute::IfName("blue".into()),
            LinkAttribute::Mtu(65_575),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vrf), LinkInfo::Data(vrf)]),
        ];
        // As another program writes it, so that the kernel's numbers are those that are read.
        let mut bytes = vec![0; netlink_packet_core::Emitable::buffer_len(&message)];
        netlink_packet_core::Emitable::emit(&message, &mut bytes);
        let received = Received { kind: 16, flags: 0, whole: &[], payload: &bytes };
        let Some(RouteNetlinkMessage::NewLink(read)) = parse(received) else { panic!("a link") };
        let link = link(&read);
        assert_eq!((link.index, link.up, link.vrf_table), (7, true, Some(100)));
        assert_eq!((link.name.as_str(), link.mtu, link.mac), ("blue", 65_575, None));
    }
}
