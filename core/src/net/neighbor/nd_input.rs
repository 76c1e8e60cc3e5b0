//! `nd-input`: neighbour discovery: answers for own addresses, and what messages say of neighbours (RFC 4861 §7).

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Ip6Address, Ip6Header, Ip6Upper, NdMalformed, NdMessage};
use serde::Serialize;

use super::message::{advertisement, ethernet_frame, group_mac};
use super::{Heard, NeighborKey, Neighbors};
use crate::net::local::{OwnAddresses, OwnTable};
use crate::net::rate_limit::TokenBucket;

next! {
    /// Where answers go.
    pub enum NdInputNext {
        /// With an Ethernet header, where the asker told its MAC address.
        Interface => "interface-output",
        Lookup => "ip6-lookup",
    }
}

error! {
    /// Why messages are dropped.
    pub enum NdInputError {
        Truncated => "truncated": "message cut short or not in one buffer",
        Checksum => "bad-checksum": "the ICMPv6 checksum is wrong",
        HopLimit => "hop-limit": "the hop limit is not 255: it came through a router",
        Code => "code": "the code is not 0",
        Option => "option": "an option of length 0 or beyond the message",
        Target => "target": "the target address is multicast",
        Invalid => "invalid": "a message that RFC 4861 sections 6.1, 7.1 and 8.1 forbid",
        Conflict => "address-conflict": "another node uses an own address",
        NotForUs => "not-for-us": "solicitation for an address that is not ours",
        NoRoom => "no-room": "no room for the answer",
        RateLimited => "rate-limited": "more said of neighbours than the main thread is told",
        RouterSolicitation => "router-solicitation": "router solicitation: no advertisements are sent",
        RouterAdvertisement => "router-advertisement": "router advertisement: a router ignores it",
        Redirect => "redirect": "redirect: a router ignores it (RFC 4861 section 8.2)",
    }
}

/// What each worker tells the main thread a second.
const REPORTS: TokenBucket = TokenBucket::new(4096, 1024);

/// The node.
pub struct NdInput {
    own: Arc<OwnTable>,
    neighbors: Arc<Neighbors>,
    reports: TokenBucket,
}

/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    /// Tell the asker (or, of a probe for a duplicate, everyone) that the target is here, and learn where the asker is.
    Answer { target: Ip6Address, asker: Option<Ip6Address>, at: Option<MacAddress>, learn: bool },
    /// A neighbour told of itself.
    Learn { target: Ip6Address, heard: Heard },
    /// Nothing.
    Refuse(NdInputError),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    source: String,
    destination: String,
    message: String,
    outcome: String,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, message, outcome } = self;
        write!(f, "{source} > {destination}: ICMP6, {message}: {outcome}")
    }
}

impl Node for NdInput {
    const NAME: &'static str = "nd-input";
    type Next = NdInputNext;
    type Error = NdInputError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { own: init.resource()?, neighbors: init.resource()?, reports: REPORTS })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| self.input(env, packet));
    }
}

impl NdInput {
    fn input(&mut self, env: &Env<'_, Self>, packet: &mut Packet<'_>) -> Verdict<NdInputNext, NdInputError> {
        let interface = packet.rx_interface();
        let Some((ip, parsed)) = parse(packet) else {
            return Verdict::Drop(NdInputError::Truncated);
        };
        let judgement = match &parsed {
            Ok(message) => judge(&ip, message, interface, self.own.read(env.worker())),
            Err(malformed) => Judgement::Refuse((*malformed).into()),
        };
        env.trace(packet, || Record {
            source: ip.source().to_string(),
            destination: ip.destination().to_string(),
            message: describe(&parsed),
            outcome: judgement.to_string(),
        });
        let now_ns = env.now_ns();
        match judgement {
            Judgement::Refuse(error) => Verdict::Drop(error),
            Judgement::Learn { target, heard } => {
                if !self.reports.take(now_ns) {
                    return Verdict::Drop(NdInputError::RateLimited);
                }
                let key = NeighborKey { interface, address: target.to_std().into() };
                self.neighbors.report_heard(key, heard);
                // It has served its purpose, and is not counted as a drop.
                drop(packet.take());
                Verdict::Drop(NdInputError::NotForUs)
            }
            Judgement::Answer { target, asker, at, learn } => {
                if let (true, Some(asker), Some(mac)) = (learn, asker, at)
                    && self.reports.take(now_ns)
                {
                    let key = NeighborKey { interface, address: asker.to_std().into() };
                    self.neighbors.report_heard(key, Heard::Request { mac });
                }
                let own_mac = env.worker().interface(interface).map(|row| row.mac());
                let next = own_mac.and_then(|mac| write_answer(packet, mac, target, asker, at));
                next.map_or(Verdict::Drop(NdInputError::NoRoom), Verdict::Next)
            }
        }
    }
}

/// The message behind the packet's IPv6 headers; `None` if they are cut short or the packet has several buffers, which no
/// message of neighbour discovery needs.
fn parse<'p>(packet: &'p Packet<'_>) -> Option<(Ip6Header, Result<NdMessage<'p>, NdMalformed>)> {
    let bytes = packet.bytes();
    let (ip, _) = Ip6Header::parse(bytes)?;
    let upper = Ip6Upper::find(bytes).ok().filter(|_| !packet.is_chained())?;
    let message = bytes.get(upper.offset..ip.total_length())?;
    // RFC 6980 §5: no fragments, not even atomic ones.
    if upper.fragment.is_some() {
        return None;
    }
    Some((*ip, NdMessage::parse(ip, message)))
}

fn judge(
    ip: &Ip6Header,
    message: &NdMessage<'_>,
    interface: InterfaceIndex,
    own: &OwnAddresses,
) -> Judgement {
    match message {
        NdMessage::NeighborSolicitation { target, options } => {
            if !own.is_own_on6(interface, *target) {
                return Judgement::Refuse(NdInputError::NotForUs);
            }
            // RFC 4862 §5.4.3: a node that tries whether the address is free hears from its owner.
            let asker = (!ip.source().is_unspecified()).then(|| ip.source());
            let at = options.source_link_layer().filter(|mac| mac.is_unicast());
            let learn = asker.is_some_and(|asker| own.is_on_link6(interface, asker));
            Judgement::Answer { target: *target, asker, at, learn }
        }
        NdMessage::NeighborAdvertisement { flags, target, options } => {
            if own.is_own_on6(interface, *target) {
                return Judgement::Refuse(NdInputError::Conflict);
            }
            let mac = options.target_link_layer();
            if mac.is_some_and(|mac| !mac.is_unicast()) {
                return Judgement::Refuse(NdInputError::Invalid);
            }
            let heard = Heard::Answer {
                mac,
                solicited: flags.solicited,
                overrides: flags.overrides,
                router: Some(flags.router),
            };
            Judgement::Learn { target: *target, heard }
        }
        NdMessage::RouterSolicitation { .. } => Judgement::Refuse(NdInputError::RouterSolicitation),
        NdMessage::RouterAdvertisement { .. } => Judgement::Refuse(NdInputError::RouterAdvertisement),
        NdMessage::Redirect { .. } => Judgement::Refuse(NdInputError::Redirect),
    }
}

/// Makes the packet the advertisement that answers it (RFC 4861 §7.2.4).
fn write_answer(
    packet: &mut Packet<'_>,
    mac: MacAddress,
    target: Ip6Address,
    asker: Option<Ip6Address>,
    at: Option<MacAddress>,
) -> Option<NdInputNext> {
    let answer = advertisement(mac, target, target, asker)?;
    let at = match asker {
        None => Some(group_mac(Ip6Address::ALL_NODES)),
        Some(_) => at,
    };
    packet.truncate(0);
    packet.set_local(true);
    packet.set_tx_interface(packet.rx_interface());
    match at {
        Some(at) => packet.append(&ethernet_frame(mac, at, &answer)).then_some(NdInputNext::Interface),
        // The asker did not say where it is: it may have to be asked itself.
        None => packet.append(&answer).then_some(NdInputNext::Lookup),
    }
}

impl From<NdMalformed> for NdInputError {
    fn from(malformed: NdMalformed) -> Self {
        match malformed {
            NdMalformed::Truncated => Self::Truncated,
            NdMalformed::Checksum => Self::Checksum,
            NdMalformed::HopLimit => Self::HopLimit,
            NdMalformed::Code => Self::Code,
            NdMalformed::OptionLengthZero | NdMalformed::OptionTruncated => Self::Option,
            NdMalformed::TargetMulticast => Self::Target,
            _ => Self::Invalid,
        }
    }
}

fn describe(message: &Result<NdMessage<'_>, NdMalformed>) -> String {
    match message {
        Ok(NdMessage::NeighborSolicitation { target, .. }) => {
            format!("neighbor solicitation, who has {target}")
        }
        Ok(NdMessage::NeighborAdvertisement { target, options, .. }) => match options.target_link_layer() {
            Some(mac) => format!("neighbor advertisement, tgt is {target} at {mac}"),
            None => format!("neighbor advertisement, tgt is {target}"),
        },
        Ok(NdMessage::RouterSolicitation { .. }) => "router solicitation".into(),
        Ok(NdMessage::RouterAdvertisement { .. }) => "router advertisement".into(),
        Ok(NdMessage::Redirect { target, .. }) => format!("redirect to {target}"),
        Err(malformed) => malformed.to_string(),
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { .. } => f.write_str("answered"),
            Self::Learn { .. } => f.write_str("learned"),
            Self::Refuse(error) => write!(f, "dropped ({error:?})"),
        }
    }
}

node!(NdInput);

#[cfg(test)]
mod tests {
    use raddle_plugin_api::wire::{
        IpProtocol, NeighborFlags, write_neighbor_advertisement, write_neighbor_solicitation,
    };

    use super::*;

    const ETH: InterfaceIndex = InterfaceIndex(1);
    const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
    const OWN: Ip6Address = Ip6Address::from_bits(0xfe80 << 112 | 1);
    const PEER: Ip6Address = Ip6Address::from_bits(0xfe80 << 112 | 2);
    const FAR: Ip6Address = Ip6Address::from_bits(0x2001_0db8 << 96 | 9);

    fn judged(
        source: Ip6Address,
        to: Ip6Address,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Judgement {
        let mut message = [0; 64];
        let length = write(&mut message).unwrap();
        let mut ip = Ip6Header::new(IpProtocol::ICMP6, source, to, length).unwrap();
        ip.set_hop_limit(255);
        let parsed = NdMessage::parse(&ip, &message[..length]).unwrap();
        judge(&ip, &parsed, ETH, &OwnAddresses::new([(ETH, "fe80::1/64".parse().unwrap())]))
    }

    // RFC 4861 §7.2.3, §7.2.4; RFC 4862 §5.4.3
    #[test]
    fn answers_solicitations_for_own_addresses() {
        let unspecified = Ip6Address::UNSPECIFIED;
        for (source, target, mac, expected) in [
            (
                PEER,
                OWN,
                Some(PEER_MAC),
                Judgement::Answer { target: OWN, asker: Some(PEER), at: Some(PEER_MAC), learn: true },
            ),
            (PEER, OWN, None, Judgement::Answer { target: OWN, asker: Some(PEER), at: None, learn: true }),
            (
                FAR,
                OWN,
                Some(PEER_MAC),
                Judgement::Answer { target: OWN, asker: Some(FAR), at: Some(PEER_MAC), learn: false },
            ),
            (unspecified, OWN, None, Judgement::Answer { target: OWN, asker: None, at: None, learn: false }),
            (PEER, FAR, Some(PEER_MAC), Judgement::Refuse(NdInputError::NotForUs)),
        ] {
            let group = target.solicited_node();
            let judgement =
                judged(source, group, |out| write_neighbor_solicitation(out, source, group, target, mac));
            assert_eq!(judgement, expected, "{source} {target}");
        }
    }

    // RFC 4861 §7.2.5, RFC 4862 §5.4.4
    #[test]
    fn learns_from_advertisements_but_not_for_own_addresses() {
        let flags = NeighborFlags { router: true, solicited: true, overrides: false };
        let advertise = |target, mac| {
            judged(PEER, OWN, |out| write_neighbor_advertisement(out, PEER, OWN, flags, target, mac))
        };
        let heard =
            Heard::Answer { mac: Some(PEER_MAC), solicited: true, overrides: false, router: Some(true) };
        assert_eq!(advertise(PEER, Some(PEER_MAC)), Judgement::Learn { target: PEER, heard });
        assert_eq!(advertise(OWN, Some(PEER_MAC)), Judgement::Refuse(NdInputError::Conflict));
        let group = Some(MacAddress::BROADCAST);
        assert_eq!(advertise(PEER, group), Judgement::Refuse(NdInputError::Invalid));
    }
}
