//! `ethernet-input`: from the link-layer header to the protocol behind it, to the sub-interface that a VLAN tag names, or
//! unread to where an interface is switched.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use raddle_plugin_api::abi::InterfaceFlags;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{EtherType, EthernetHeader};
use serde::Serialize;

use super::mac_filter::{MacFilters, MacTable, word};
use super::vlan::{TagRun, VlanTables, Vlans, first_tag, take_tags};

next! {
    /// Where frames go.
    pub enum EthernetNext {
        Ip4 => "ip4-input",
        Ip6 => "ip6-input",
        Arp => "arp-input",
        Xconnect => "l2-xconnect",
        Bridge => "l2-bridge",
        Rewrite => "l2-rewrite-input",
    }
}

error! {
    /// Why frames are dropped.
    pub enum EthernetError {
        Runt => "runt": "shorter than an Ethernet header",
        InterfaceDown => "interface-down": "the interface is down",
        NotForUs => "not-for-us": "the destination MAC address is another's",
        GroupNotJoined => "group-not-joined": "the destination is a group that was not joined, and groups are filtered",
        VlanTagged => "vlan-tagged": "VLAN tag on an interface without VLANs",
        UnknownVlan => "unknown-vlan": "no sub-interface for the VLAN",
        Llc => "llc": "802.3 frame with a length instead of a type",
        UnknownEthertype => "unknown-ethertype": "no protocol for the ethertype",
    }
}

/// The six bytes of a MAC address in a word that was read little-endian.
const MAC_MASK: u64 = 0xffff_ffff_ffff;
/// The group bit of the first octet in such a word.
const GROUP_BIT: u64 = 1;
/// The first of the sixteen groups that no bridge forwards (IEEE 802.1Q §8.6.3), and the bits by which they differ.
const LINK_GROUPS: u64 = word(MacAddress([0x01, 0x80, 0xc2, 0, 0, 0]));
const LINK_GROUP_BITS: u64 = 0x0f << 40;

type EthernetVerdict = Verdict<EthernetNext, EthernetError>;

/// The node.
pub struct EthernetInput {
    vlans: Arc<VlanTables>,
    macs: Arc<MacTable>,
    received: Tally,
    /// The arc that frames of switched interfaces go.
    switched: ArcIndex,
    arp: ArcIndex,
}

impl Node for EthernetInput {
    const NAME: &'static str = "ethernet-input";
    type Next = EthernetNext;
    type Error = EthernetError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self {
            vlans: Arc::clone(init.resource::<Vlans>()?.tables()),
            macs: Arc::clone(init.resource::<MacFilters>()?.table()),
            received: Tally::received(),
            switched: init.arc("l2-input")?,
            arp: init.arc("arp")?,
        })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let mut port = Port::of(vector.env().worker(), vector.interface().unwrap_or(InterfaceIndex::NONE));
        let one_interface = vector.interface().is_some();
        let end = |worker: &Worker<'_>, state: &mut Self| state.received.flush(worker);
        if one_interface && port.is_plain() && port.has_sub_interfaces() {
            return self.trunk(vector, &port);
        }
        if one_interface && port.is_plain() {
            let mac = port.mac_if_up();
            return vector.each_plain_then(
                self,
                #[inline(always)]
                |_, packet| plain(packet, mac),
                |env, packet, state| state.input(env, packet, &port),
                end,
            );
        }
        if one_interface
            && !port.has_sub_interfaces()
            && let Some(next) = port.switched()
            && vector.env().arc_mask(self.switched, port.interface) == 0
        {
            return vector.forward(next);
        }
        vector.each_then(
            self,
            |env, packet, state| {
                if packet.rx_interface() != port.interface {
                    port = Port::of(env.worker(), packet.rx_interface());
                }
                state.sort(env, packet, &port)
            },
            end,
        );
    }
}

node!(EthernetInput);

/// What an interface's frames are judged by.
#[derive(Clone, Copy)]
struct Port {
    interface: InterfaceIndex,
    /// As the first six bytes of a frame read as a little-endian word.
    mac: u64,
    /// [`InterfaceFlags`].
    flags: u32,
}

impl Port {
    fn of(worker: &Worker<'_>, interface: InterfaceIndex) -> Self {
        match worker.interface(interface) {
            Some(row) => Self {
                interface,
                mac: row.row().mac.load(Ordering::Relaxed) & MAC_MASK,
                flags: row.row().flags.load(Ordering::Relaxed),
            },
            None => Self { interface, mac: 0, flags: 0 },
        }
    }

    #[inline(always)]
    fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    #[inline(always)]
    fn is_up(&self) -> bool {
        self.flags & InterfaceFlags::UP == InterfaceFlags::UP
    }

    /// Its address, or what is no frame's destination.
    fn mac_if_up(&self) -> u64 {
        if self.is_up() { self.mac } else { u64::MAX }
    }

    fn has_sub_interfaces(&self) -> bool {
        self.is(InterfaceFlags::HAS_SUB_INTERFACES)
    }

    /// Whether frames are for this host unless their header says otherwise.
    fn is_plain(&self) -> bool {
        !self.is(InterfaceFlags::SWITCHED | InterfaceFlags::HAS_UNTAGGED_SUB_INTERFACE)
    }

    /// Where frames go unread.
    fn switched(&self) -> Option<EthernetNext> {
        match self.flags & InterfaceFlags::SWITCHED {
            0 => None,
            _ if !self.is_up() => None,
            _ if self.is(InterfaceFlags::TAG_REWRITE) => Some(EthernetNext::Rewrite),
            InterfaceFlags::BRIDGED => Some(EthernetNext::Bridge),
            _ => Some(EthernetNext::Xconnect),
        }
    }
}

/// An IP packet for this host by its address, as nearly all are. `None` of all others, and of those that are traced.
#[inline(always)]
fn plain(packet: &mut Packet<'_>, mac: u64) -> Option<EthernetVerdict> {
    let header = packet.bytes().first_chunk::<{ EthernetHeader::LENGTH }>()?;
    let (destination, ethertype) = addressed(header);
    let next = ip(ethertype)?;
    if destination != mac || packet.is_traced() {
        return None;
    }
    packet.advance(EthernetHeader::LENGTH);
    Some(Verdict::Next(next))
}

/// Where an ethertype leads that is one of IP's.
#[inline(always)]
const fn ip(ethertype: EtherType) -> Option<EthernetNext> {
    match ethertype {
        EtherType::IP4 => Some(EthernetNext::Ip4),
        EtherType::IP6 => Some(EthernetNext::Ip6),
        _ => None,
    }
}

/// Destination, as the first six bytes read as a little-endian word, and ethertype.
#[inline(always)]
fn addressed(header: &[u8; EthernetHeader::LENGTH]) -> (u64, EtherType) {
    let [a, b, c, d, e, f, g, h, ..] = *header;
    let destination = u64::from_le_bytes([a, b, c, d, e, f, g, h]) & MAC_MASK;
    (destination, EtherType(u16::from_be_bytes([header[12], header[13]])))
}

impl EthernetInput {
    /// Frames of one interface, tagged and untagged, that has sub-interfaces and is a station itself.
    fn trunk(&mut self, vector: Vector<'_, Self>, port: &Port) {
        let (mac, run) = (port.mac_if_up(), TagRun::default());
        vector.each_plain_then(
            self,
            #[inline(always)]
            |env, packet| {
                if let Some(verdict) = plain(packet, mac) {
                    return Some(verdict);
                }
                let (tag, behind) = TagRun::tag_of(packet.bytes())?;
                let next = ip(EtherType(u16::from_be_bytes(behind)))?;
                let (destination, _) = addressed(packet.bytes().first_chunk()?);
                if !run.knows(tag, destination) || packet.is_traced() {
                    return None;
                }
                run.receive(env, packet);
                Some(Verdict::Next(next))
            },
            |env, packet, state| {
                let tag = TagRun::tag_of(packet.bytes());
                let verdict = state.input(env, packet, port);
                let taker = packet.rx_interface();
                // One tag with IP behind it led to a sub-interface: it will for the next frame, too.
                if let Some((tag, behind)) = tag
                    && ip(EtherType(u16::from_be_bytes(behind))).is_some()
                    && matches!(verdict, Verdict::Next(EthernetNext::Ip4 | EthernetNext::Ip6))
                    && taker != port.interface
                {
                    let mac = Port::of(env.worker(), taker).mac_if_up();
                    run.learn(env.worker(), &mut state.received, tag, mac, taker);
                }
                verdict
            },
            |worker, state| {
                run.flush(worker, &mut state.received);
                state.received.flush(worker);
            },
        );
    }

    /// A frame of an interface that is not plain, or one of a mixed vector.
    fn sort(&mut self, env: &Env<'_, Self>, packet: &mut Packet<'_>, port: &Port) -> EthernetVerdict {
        if port.is_plain() || !port.is_up() {
            return self.input(env, packet, port);
        }
        let is_tagged = first_tag(packet.bytes()).is_some();
        if is_tagged && port.has_sub_interfaces() {
            return self.tagged(env, packet, port);
        }
        if !is_tagged && port.is(InterfaceFlags::HAS_UNTAGGED_SUB_INTERFACE) {
            return self.untagged(env, packet, port);
        }
        match port.switched() {
            Some(next) => self.switch(env, packet, port, next),
            None => self.input(env, packet, port),
        }
    }

    /// A frame of an interface that is switched: unread to `next`, or to the features that its interface has in front of
    /// that.
    #[inline(always)]
    fn switch(
        &self,
        env: &Env<'_, Self>,
        packet: &mut Packet<'_>,
        port: &Port,
        next: EthernetNext,
    ) -> EthernetVerdict {
        env.enter_arc(self.switched, port.interface, packet, Verdict::Next(next))
    }

    fn input(&mut self, env: &Env<'_, Self>, packet: &mut Packet<'_>, port: &Port) -> EthernetVerdict {
        env.trace(packet, || EthernetTrace::of(packet.bytes()));
        let Some(header) = packet.bytes().first_chunk::<{ EthernetHeader::LENGTH }>() else {
            return Verdict::Drop(EthernetError::Runt);
        };
        let (destination, ethertype) = addressed(header);
        if destination != port.mac || !port.is_up() {
            if !port.is_up() {
                return Verdict::Drop(EthernetError::InterfaceDown);
            }
            if destination & GROUP_BIT != 0 {
                // What has a tag is judged by its sub-interface.
                if port.is(InterfaceFlags::FILTERS_GROUPS)
                    && !ethertype.is_tag()
                    && !self.takes_group(env.worker(), port, destination)
                {
                    return Verdict::Drop(EthernetError::GroupNotJoined);
                }
                packet.set_l2_multicast(true);
            } else if !port.is(InterfaceFlags::PROMISCUOUS) {
                // A sub-interface may have an address of its own.
                if ethertype.is_tag() {
                    return self.tagged(env, packet, port);
                }
                if !port.is(InterfaceFlags::HAS_MORE_ADDRESSES)
                    || !self.macs.contains(env.worker(), port.interface, destination)
                {
                    return Verdict::Drop(EthernetError::NotForUs);
                }
            }
        }
        let next = match ethertype {
            EtherType::IP4 => EthernetNext::Ip4,
            EtherType::IP6 => EthernetNext::Ip6,
            EtherType::ARP => EthernetNext::Arp,
            other if other.is_tag() => return self.tagged(env, packet, port),
            other if other.is_length() => return Verdict::Drop(EthernetError::Llc),
            _ => return Verdict::Drop(EthernetError::UnknownEthertype),
        };
        // The header was seen.
        packet.advance(EthernetHeader::LENGTH);
        match next {
            EthernetNext::Arp => env.enter_arc(self.arp, port.interface, packet, Verdict::Next(next)),
            _ => Verdict::Next(next),
        }
    }

    /// Whether an interface that filters groups takes frames for this one.
    #[inline(never)]
    fn takes_group(&self, worker: &Worker<'_>, port: &Port, group: u64) -> bool {
        group == MAC_MASK
            || port.is(InterfaceFlags::PROMISCUOUS)
            || group & !LINK_GROUP_BITS == LINK_GROUPS
            || self.macs.contains(worker, port.interface, group)
    }

    /// A frame with a tag: it belongs to a sub-interface, which goes on with it as if it had come in there.
    #[inline(never)]
    fn tagged(&mut self, env: &Env<'_, Self>, packet: &mut Packet<'_>, port: &Port) -> EthernetVerdict {
        let bytes = packet.bytes();
        let Some(first) = first_tag(bytes) else { return Verdict::Drop(EthernetError::Runt) };
        // The second tag stands where the first one would without it.
        let second = first.2.is_tag().then(|| bytes.get(18..20)).flatten();
        let second = second.map(|control| u16::from_be_bytes([control[0], control[1]]));
        let Some(received) = self.vlans.receive(env.worker(), port.interface, first, second) else {
            return match port.switched() {
                Some(next) => self.switch(env, packet, port, next),
                None if port.has_sub_interfaces() => Verdict::Drop(EthernetError::UnknownVlan),
                None => Verdict::Drop(EthernetError::VlanTagged),
            };
        };
        if received.tags > 0 && !take_tags(packet, received.tags) {
            return Verdict::Drop(EthernetError::Runt);
        }
        match received.interface {
            Some(interface) => self.at_sub_interface(env, packet, interface),
            // No more than a priority: as without.
            None => match port.switched() {
                Some(next) => self.switch(env, packet, port, next),
                None => self.behind_tags(env, packet, port),
            },
        }
    }

    /// A frame without a tag, of an interface one of whose sub-interfaces takes those.
    fn untagged(&mut self, env: &Env<'_, Self>, packet: &mut Packet<'_>, port: &Port) -> EthernetVerdict {
        match self.vlans.untagged(env.worker(), port.interface) {
            Some(interface) => self.at_sub_interface(env, packet, interface),
            // The flag is of another moment than the table.
            None => self.input(env, packet, port),
        }
    }

    fn at_sub_interface(
        &mut self,
        env: &Env<'_, Self>,
        packet: &mut Packet<'_>,
        interface: InterfaceIndex,
    ) -> EthernetVerdict {
        let port = Port::of(env.worker(), interface);
        if !port.is_up() {
            return Verdict::Drop(EthernetError::InterfaceDown);
        }
        env.receive_on(packet, interface);
        self.received.add(env.worker(), interface, packet.len());
        match port.switched() {
            Some(next) => self.switch(env, packet, &port, next),
            None => self.behind_tags(env, packet, &port),
        }
    }

    /// A frame whose tags were looked at. What still has one is for nobody here.
    fn behind_tags(&mut self, env: &Env<'_, Self>, packet: &mut Packet<'_>, port: &Port) -> EthernetVerdict {
        if first_tag(packet.bytes()).is_some() {
            return Verdict::Drop(EthernetError::VlanTagged);
        }
        self.input(env, packet, port)
    }
}

/// What `ethernet-input` notes of a traced packet.
#[derive(Debug, Serialize)]
pub struct EthernetTrace {
    source: MacAddress,
    destination: MacAddress,
    ethertype: String,
}

impl EthernetTrace {
    fn of(bytes: &[u8]) -> Self {
        match EthernetHeader::parse(bytes) {
            Some((header, _)) => Self {
                source: header.source,
                destination: header.destination,
                ethertype: header.ethertype().to_string(),
            },
            None => {
                Self { source: MacAddress::ZERO, destination: MacAddress::ZERO, ethertype: "runt".into() }
            }
        }
    }
}

impl fmt::Display for EthernetTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {}", self.source, self.destination, self.ethertype)
    }
}
