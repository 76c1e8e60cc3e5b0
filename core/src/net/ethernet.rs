//! `ethernet-input`: from the link-layer header to the protocol behind it.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::atomic::Ordering;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{EtherType, EthernetHeader};
use serde::Serialize;

next! {
    /// Where frames go.
    pub enum EthernetNext {
        Ip4 => "ip4-input",
        Ip6 => "ip6-input",
        Arp => "arp-input",
        Xconnect => "l2-xconnect",
    }
}

error! {
    /// Why frames are dropped.
    pub enum EthernetError {
        Runt => "runt": "shorter than an Ethernet header",
        InterfaceDown => "interface-down": "the interface is down",
        NotForUs => "not-for-us": "the destination MAC address is another's",
        VlanTagged => "vlan-tagged": "VLAN tag on an interface without VLANs",
        Llc => "llc": "802.3 frame with a length instead of a type",
        UnknownEthertype => "unknown-ethertype": "no protocol for the ethertype",
    }
}

/// The six bytes of a MAC address in a word that was read little-endian.
const MAC_MASK: u64 = 0xffff_ffff_ffff;
/// The group bit of the first octet in such a word.
const GROUP_BIT: u64 = 1;

type EthernetVerdict = Verdict<EthernetNext, EthernetError>;

/// The node.
pub struct EthernetInput;

impl Node for EthernetInput {
    const NAME: &'static str = "ethernet-input";
    type Next = EthernetNext;
    type Error = EthernetError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let mut port = Port::of(vector.env().worker(), vector.interface().unwrap_or(InterfaceIndex::NONE));
        if vector.interface().is_none() {
            vector.each(|env, packet| {
                if packet.rx_interface() != port.interface {
                    port = Port::of(env.worker(), packet.rx_interface());
                }
                if port.xconnect { Verdict::Next(EthernetNext::Xconnect) } else { input(env, packet, &port) }
            });
        } else if port.xconnect {
            vector.forward(EthernetNext::Xconnect);
        } else {
            vector.each(
                #[inline(always)]
                |env, packet| input(env, packet, &port),
            );
        }
    }
}

node!(EthernetInput);

/// What a frame's packets are judged by.
struct Port {
    interface: InterfaceIndex,
    /// As the first six bytes of a frame read as a little-endian word.
    mac: u64,
    is_up: bool,
    promiscuous: bool,
    xconnect: bool,
}

impl Port {
    fn of(worker: &Worker<'_>, interface: InterfaceIndex) -> Self {
        match worker.interface(interface) {
            Some(row) => Self {
                interface,
                mac: row.row().mac.load(Ordering::Relaxed) & MAC_MASK,
                is_up: row.is_up(),
                promiscuous: row.is_promiscuous(),
                xconnect: row.is_up() && row.xconnect().is_some(),
            },
            None => Self { interface, mac: 0, is_up: false, promiscuous: false, xconnect: false },
        }
    }
}

#[inline(always)]
fn input(env: &Env<'_, EthernetInput>, packet: &mut Packet<'_>, port: &Port) -> EthernetVerdict {
    let verdict = judge(packet, port);
    env.trace(packet, || EthernetTrace::of(packet.bytes()));
    if let Verdict::Next(_) = verdict {
        // `judge` has seen the header.
        packet.advance(EthernetHeader::LENGTH);
    }
    verdict
}

#[inline(always)]
fn judge(packet: &mut Packet<'_>, port: &Port) -> EthernetVerdict {
    let Some(header) = packet.bytes().first_chunk::<{ EthernetHeader::LENGTH }>() else {
        return Verdict::Drop(EthernetError::Runt);
    };
    let [a, b, c, d, e, f, g, h, ..] = *header;
    let destination = u64::from_le_bytes([a, b, c, d, e, f, g, h]) & MAC_MASK;
    let ethertype = EtherType(u16::from_be_bytes([header[12], header[13]]));
    if destination != port.mac || !port.is_up {
        if !port.is_up {
            return Verdict::Drop(EthernetError::InterfaceDown);
        }
        if destination & GROUP_BIT != 0 {
            packet.set_l2_multicast(true);
        } else if !port.promiscuous {
            return Verdict::Drop(EthernetError::NotForUs);
        }
    }
    match ethertype {
        EtherType::IP4 => Verdict::Next(EthernetNext::Ip4),
        EtherType::IP6 => Verdict::Next(EthernetNext::Ip6),
        EtherType::ARP => Verdict::Next(EthernetNext::Arp),
        other if other.is_tag() => Verdict::Drop(EthernetError::VlanTagged),
        other if other.is_length() => Verdict::Drop(EthernetError::Llc),
        _ => Verdict::Drop(EthernetError::UnknownEthertype),
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
