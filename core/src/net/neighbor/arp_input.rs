//! `arp-input`: answers for own addresses, and what ARP packets say of neighbours (RFC 826, RFC 5227).

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::punt::PuntReason;
use raddle_plugin_api::wire::{ArpMalformed, ArpOperation, ArpPacket, EtherType, EthernetHeader, Ip4Address};
use serde::Serialize;
use zerocopy::IntoBytes;

use super::dad::Word;
use super::proxied::Proxied;
use super::{Heard, NeighborKey, Neighbors};
use crate::net::local::{OwnAddresses, OwnTable};
use crate::net::punt::PuntOffer;
use crate::net::rate_limit::TokenBucket;

arc! { "arp", end: "arp-input" }

next! {
    /// Where replies go.
    pub enum ArpInputNext {
        Interface => "interface-output",
        /// A copy, for the host.
        Punt => "punt",
    }
}

error! {
    /// Why packets are dropped.
    pub enum ArpInputError {
        Truncated => "truncated": "shorter than an ARP packet",
        HardwareType => "hardware-type": "the hardware type is not Ethernet",
        ProtocolType => "protocol-type": "the protocol type is not IPv4",
        AddressLengths => "address-lengths": "the address lengths are not 6 and 4",
        Operation => "operation": "neither request nor reply",
        SenderMac => "sender-mac": "the sender's MAC address is not a station's",
        SenderIp => "sender-ip": "the sender's IP address is not a host's on this link",
        Conflict => "address-conflict": "another station uses an own address, or tries it too (RFC 5227)",
        Looped => "looped": "sent by ourselves",
        NotForUs => "not-for-us": "request for, or reply to, an address that is not ours",
        NoRoom => "no-room": "no room for an Ethernet header in front of the reply",
        RateLimited => "rate-limited": "more said of neighbours than the main thread is told",
    }
}

/// What each worker tells the main thread a second: of requests and replies to us, and of all others.
const TO_US: TokenBucket = TokenBucket::new(4096, 1024);
const TO_OTHERS: TokenBucket = TokenBucket::new(512, 128);

/// The node.
pub struct ArpInput {
    own: Arc<OwnTable>,
    neighbors: Arc<Neighbors>,
    proxied: Proxied,
    to_us: TokenBucket,
    to_others: TokenBucket,
    punt: PuntOffer,
}

/// What is done with an ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    /// Answer it, and learn from it where the sender tells who it is.
    Answer { learn: bool },
    /// Answer it if its target is one that is answered for, and learn from it where the sender tells who it is.
    Proxy { learn: bool },
    /// It uses an own address, or one that is being tried, or (`Word::Probe`) tries that one too.
    Claim { address: Ip4Address, word: Word },
    /// It answers us.
    Learn,
    /// It is not for us: an entry that exists may change.
    Update,
    /// Nothing.
    Refuse(ArpInputError),
}

impl Judgement {
    /// Whether the host learns from the packet, or may answer it: what raddle answers itself, and what is wrong, apart.
    fn is_of_interest_to_the_host(self) -> bool {
        match self {
            Self::Answer { .. } => false,
            Self::Refuse(error) => matches!(error, ArpInputError::NotForUs | ArpInputError::SenderIp),
            Self::Proxy { .. } | Self::Claim { .. } | Self::Learn | Self::Update => true,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    request: bool,
    sender_ip: String,
    sender_mac: String,
    target_ip: String,
    judgement: String,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, sender_ip, sender_mac, target_ip, judgement } = self;
        if *request {
            write!(f, "Request who-has {target_ip} tell {sender_ip} ({sender_mac}): {judgement}")
        } else {
            write!(f, "Reply {sender_ip} is-at {sender_mac}: {judgement}")
        }
    }
}

impl Node for ArpInput {
    const NAME: &'static str = "arp-input";
    type Next = ArpInputNext;
    type Error = ArpInputError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self {
            own: init.resource()?,
            neighbors: init.resource()?,
            proxied: Proxied::new(init)?,
            to_us: TO_US,
            to_others: TO_OTHERS,
            punt: PuntOffer::new(init)?,
        })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        self.proxied.renew(vector.env().worker());
        vector.each(|env, packet| self.input(env, packet));
    }
}

impl ArpInput {
    fn input(
        &mut self,
        env: &Env<'_, Self>,
        packet: &mut Packet<'_>,
    ) -> Verdict<ArpInputNext, ArpInputError> {
        let arp = match ArpPacket::parse(packet.bytes()) {
            Ok(arp) => *arp,
            Err(malformed) => return Verdict::Drop(malformed.into()),
        };
        let interface = packet.rx_interface();
        let own_mac = env.worker().interface(interface).map_or(MacAddress::ZERO, |row| row.mac());
        let own = self.own.read(env.worker());
        let judgement = match judge(&arp, interface, own_mac, own) {
            Judgement::Proxy { learn } => {
                let target = arp.target_ip.to_std().into();
                match self.proxied.covers(env.worker(), own, interface, target) {
                    true => Judgement::Answer { learn },
                    false if learn => Judgement::Update,
                    false => Judgement::Refuse(ArpInputError::SenderIp),
                }
            }
            other => other,
        };
        env.trace(packet, || Record {
            request: arp.operation() == ArpOperation::REQUEST,
            sender_ip: arp.sender_ip.to_string(),
            sender_mac: arp.sender_mac.to_string(),
            target_ip: arp.target_ip.to_string(),
            judgement: judgement.to_string(),
        });
        if judgement.is_of_interest_to_the_host() {
            self.punt.copy(env, packet, PuntReason::ARP, ArpInputNext::Punt);
        }
        let (key, now_ns) = (NeighborKey { interface, address: arp.sender_ip.to_std().into() }, env.now_ns());
        let mac = arp.sender_mac;
        let answer = |solicited| Heard::Answer { mac: Some(mac), solicited, overrides: true, router: None };
        match judgement {
            Judgement::Refuse(error) => return Verdict::Drop(error),
            Judgement::Proxy { .. } => return Verdict::Drop(ArpInputError::NotForUs),
            Judgement::Claim { address, word } => {
                if self.to_us.take(now_ns) {
                    let key = NeighborKey { interface, address: address.to_std().into() };
                    self.neighbors.report_claim(key, word, Some(mac));
                }
                return Verdict::Drop(ArpInputError::Conflict);
            }
            Judgement::Answer { learn } => {
                if learn && self.to_us.take(now_ns) {
                    self.neighbors.report_heard(key, Heard::Request { mac });
                }
                return match write_reply(packet, &arp.reply(own_mac)) {
                    true => Verdict::Next(ArpInputNext::Interface),
                    false => Verdict::Drop(ArpInputError::NoRoom),
                };
            }
            Judgement::Learn if self.to_us.take(now_ns) => self.neighbors.report_heard(key, answer(true)),
            Judgement::Update if self.to_others.take(now_ns) => {
                self.neighbors.report_heard(key, answer(false));
                return Verdict::Drop(ArpInputError::NotForUs);
            }
            Judgement::Learn | Judgement::Update => return Verdict::Drop(ArpInputError::RateLimited),
        }
        // It has served its purpose, and is not counted as a drop.
        drop(packet.take());
        Verdict::Drop(ArpInputError::NotForUs)
    }
}

/// RFC 826 "Packet Reception", with RFC 5227's cases.
fn judge(arp: &ArpPacket, interface: InterfaceIndex, own_mac: MacAddress, own: &OwnAddresses) -> Judgement {
    let (sender, target) = (arp.sender_ip, arp.target_ip);
    if !matches!(arp.operation(), ArpOperation::REQUEST | ArpOperation::REPLY) {
        return Judgement::Refuse(ArpInputError::Operation);
    }
    if !arp.sender_mac.is_unicast() {
        return Judgement::Refuse(ArpInputError::SenderMac);
    }
    if arp.sender_mac == own_mac {
        return Judgement::Refuse(ArpInputError::Looped);
    }
    let is_tried = |address: Ip4Address| own.is_tentative_on(interface, address.to_std().into());
    if own.is_own_on4(interface, sender) || is_tried(sender) {
        return Judgement::Claim { address: sender, word: Word::Claim };
    }
    let is_request = arp.operation() == ArpOperation::REQUEST;
    let for_us = own.is_own_on4(interface, target);
    // RFC 5227 §2.1.1: a probe is answered, so that its sender keeps off our address; there is nothing to learn from it.
    if sender == Ip4Address::UNSPECIFIED {
        if is_request && is_tried(target) {
            return Judgement::Claim { address: target, word: Word::Probe(None) };
        }
        return match is_request && for_us {
            true => Judgement::Answer { learn: false },
            false => Judgement::Refuse(ArpInputError::NotForUs),
        };
    }
    let on_link = own.is_on_link4(interface, sender);
    match (is_request, for_us) {
        (true, true) => Judgement::Answer { learn: on_link },
        // RFC 5227 §2.3: an announcement asks for nobody.
        (true, false) if sender != target && own.proxy(interface).is_some() => {
            Judgement::Proxy { learn: on_link }
        }
        _ if !on_link => Judgement::Refuse(ArpInputError::SenderIp),
        (false, true) if arp.target_mac == own_mac => Judgement::Learn,
        _ => Judgement::Update,
    }
}

/// Turns the packet, which begins with its ARP header, into the reply in its Ethernet frame. `false` if there is no room.
fn write_reply(packet: &mut Packet<'_>, reply: &ArpPacket) -> bool {
    packet.truncate(ArpPacket::LENGTH);
    reply.write_to(packet.bytes_mut());
    let ethernet = EthernetHeader::new(reply.target_mac, reply.sender_mac, EtherType::ARP);
    let Some(front) = packet.prepend(EthernetHeader::LENGTH) else { return false };
    front[..EthernetHeader::LENGTH].copy_from_slice(ethernet.as_bytes());
    packet.set_local(true);
    packet.set_tx_interface(packet.rx_interface());
    true
}

impl From<ArpMalformed> for ArpInputError {
    fn from(malformed: ArpMalformed) -> Self {
        match malformed {
            ArpMalformed::Truncated => Self::Truncated,
            ArpMalformed::HardwareType => Self::HardwareType,
            ArpMalformed::ProtocolType => Self::ProtocolType,
            ArpMalformed::AddressLengths => Self::AddressLengths,
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { learn: true } => f.write_str("answered, sender learned"),
            Self::Answer { learn: false } => f.write_str("answered"),
            Self::Proxy { .. } => f.write_str("perhaps answered for another"),
            Self::Claim { address, .. } => write!(f, "dropped (claims {address})"),
            Self::Learn => f.write_str("learned"),
            Self::Update => f.write_str("not for us"),
            Self::Refuse(error) => write!(f, "dropped ({error:?})"),
        }
    }
}

node!(ArpInput);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::local::Proxy;

    const ETH: InterfaceIndex = InterfaceIndex(1);
    const OTHER: InterfaceIndex = InterfaceIndex(2);
    const OWN_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
    const OWN: Ip4Address = Ip4Address([192, 0, 2, 1]);
    const PEER: Ip4Address = Ip4Address([192, 0, 2, 2]);
    const THIRD: Ip4Address = Ip4Address([192, 0, 2, 3]);
    const FAR: Ip4Address = Ip4Address([203, 0, 113, 1]);

    fn judged(interface: InterfaceIndex, arp: &ArpPacket) -> Judgement {
        let own = OwnAddresses::new([(ETH, "192.0.2.1/24".parse().unwrap())]);
        judge(arp, interface, OWN_MAC, &own)
    }

    // RFC 826, RFC 5227 §2.1.1, §2.3, §2.4
    #[test]
    fn judges_requests() {
        let request = |ip, target| ArpPacket::request(PEER_MAC, ip, target);
        for (arp, expected) in [
            (request(PEER, OWN), Judgement::Answer { learn: true }),
            (request(FAR, OWN), Judgement::Answer { learn: false }),
            (ArpPacket::probe(PEER_MAC, OWN), Judgement::Answer { learn: false }),
            (ArpPacket::probe(PEER_MAC, THIRD), Judgement::Refuse(ArpInputError::NotForUs)),
            (ArpPacket::announcement(PEER_MAC, PEER), Judgement::Update),
            (request(PEER, THIRD), Judgement::Update),
            (request(FAR, THIRD), Judgement::Refuse(ArpInputError::SenderIp)),
            (request(Ip4Address([192, 0, 2, 255]), THIRD), Judgement::Refuse(ArpInputError::SenderIp)),
            (ArpPacket::announcement(PEER_MAC, OWN), Judgement::Claim { address: OWN, word: Word::Claim }),
            (request(OWN, PEER), Judgement::Claim { address: OWN, word: Word::Claim }),
            (ArpPacket::announcement(OWN_MAC, OWN), Judgement::Refuse(ArpInputError::Looped)),
            (
                ArpPacket::request(MacAddress::BROADCAST, PEER, OWN),
                Judgement::Refuse(ArpInputError::SenderMac),
            ),
            (ArpPacket::request(MacAddress::ZERO, PEER, OWN), Judgement::Refuse(ArpInputError::SenderMac)),
        ] {
            assert_eq!(judged(ETH, &arp), expected, "{arp:?}");
        }
    }

    // RFC 5227 §2.1.1
    #[test]
    fn word_of_an_address_that_is_tried_is_a_claim() {
        let own = OwnAddresses::new([(ETH, "192.0.2.1/24".parse().unwrap())])
            .with_tentative([(ETH, THIRD.to_std().into())]);
        for (arp, expected) in [
            (
                ArpPacket::announcement(PEER_MAC, THIRD),
                Judgement::Claim { address: THIRD, word: Word::Claim },
            ),
            (
                ArpPacket::request(OWN_MAC, OWN, THIRD).reply(PEER_MAC),
                Judgement::Claim { address: THIRD, word: Word::Claim },
            ),
            (ArpPacket::probe(PEER_MAC, THIRD), Judgement::Claim { address: THIRD, word: Word::Probe(None) }),
            (ArpPacket::probe(OWN_MAC, THIRD), Judgement::Refuse(ArpInputError::Looped)),
            (ArpPacket::request(PEER_MAC, PEER, THIRD), Judgement::Update),
        ] {
            assert_eq!(judge(&arp, ETH, OWN_MAC, &own), expected, "{arp:?}");
        }
    }

    // RFC 1027, RFC 5227 §2.1.1: never a probe, or nobody could have an address on the link.
    #[test]
    fn asks_of_a_proxy_only_what_a_host_asks() {
        let proxy = Proxy { routed: true, ..Proxy::default() };
        let own = OwnAddresses::new([(ETH, "192.0.2.1/24".parse().unwrap())]).with_proxies([(ETH, proxy)]);
        for (arp, expected) in [
            (ArpPacket::request(PEER_MAC, PEER, FAR), Judgement::Proxy { learn: true }),
            (ArpPacket::request(PEER_MAC, FAR, THIRD), Judgement::Proxy { learn: false }),
            (ArpPacket::request(PEER_MAC, PEER, OWN), Judgement::Answer { learn: true }),
            (ArpPacket::probe(PEER_MAC, FAR), Judgement::Refuse(ArpInputError::NotForUs)),
            (ArpPacket::announcement(PEER_MAC, PEER), Judgement::Update),
        ] {
            assert_eq!(judge(&arp, ETH, OWN_MAC, &own), expected, "{arp:?}");
        }
    }

    #[test]
    fn does_not_answer_for_the_address_of_another_interface() {
        let request = ArpPacket::request(PEER_MAC, PEER, OWN);
        assert_eq!(judged(OTHER, &request), Judgement::Refuse(ArpInputError::SenderIp));
    }

    // RFC 826: a reply to us is learned from, one to others may only correct what is known.
    #[test]
    fn judges_replies() {
        let to_us = ArpPacket::request(OWN_MAC, OWN, PEER).reply(PEER_MAC);
        assert_eq!(judged(ETH, &to_us), Judgement::Learn);
        let to_another = ArpPacket::request(OWN_MAC, THIRD, PEER).reply(PEER_MAC);
        assert_eq!(judged(ETH, &to_another), Judgement::Update);
        let wrong_mac = ArpPacket::request(PEER_MAC, OWN, PEER).reply(PEER_MAC);
        assert_eq!(judged(ETH, &wrong_mac), Judgement::Update);
        let from_far = ArpPacket::request(OWN_MAC, OWN, FAR).reply(PEER_MAC);
        assert_eq!(judged(ETH, &from_far), Judgement::Refuse(ArpInputError::SenderIp));
    }
}
