//! `nd-input`: neighbour discovery: answers for own addresses, and what messages say of neighbours (RFC 4861 §7).

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::punt::PuntReason;
use raddle_plugin_api::wire::{Ip6Address, Ip6Header, Ip6Upper, NdMalformed, NdMessage, NdOptions};
use serde::Serialize;

use super::dad::Word;
use super::message::{advertisement, ethernet_frame, group_mac};
use super::proxied::Proxied;
use super::{Heard, NeighborKey, Neighbors};
use crate::net::local::{OwnAddresses, OwnTable};
use crate::net::punt::PuntOffer;
use crate::net::rate_limit::TokenBucket;
use crate::net::router_advertisement;

next! {
    /// Where answers go.
    pub enum NdInputNext {
        /// With an Ethernet header, where the asker told its MAC address.
        Interface => "interface-output",
        Lookup => "ip6-lookup",
        /// A copy, for the host.
        Punt => "punt",
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
        Looped => "looped": "sent by ourselves",
        Conflict => "address-conflict": "another node uses an own address, or tries it too (RFC 4862)",
        NotForUs => "not-for-us": "solicitation for an address that is not ours",
        NoRoom => "no-room": "no room for the answer",
        RateLimited => "rate-limited": "more said of neighbours than the main thread is told",
        Redirect => "redirect": "redirect: a router ignores it (RFC 4861 section 8.2)",
    }
}

/// What each worker tells the main thread a second.
const REPORTS: TokenBucket = TokenBucket::new(4096, 1024);

/// The node.
pub struct NdInput {
    own: Arc<OwnTable>,
    neighbors: Arc<Neighbors>,
    proxied: Proxied,
    reports: TokenBucket,
    punt: PuntOffer,
}

/// What is done with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Judgement {
    /// Tell the asker (or, of a probe for a duplicate, everyone) that the target is here, and learn where the asker is.
    Answer { target: Ip6Address, asker: Option<Ip6Address>, at: Option<MacAddress>, learn: bool },
    /// Tell the asker so of an address that other routers have too (RFC 4861 §7.2.7).
    Anycast { target: Ip6Address, asker: Ip6Address, at: Option<MacAddress>, learn: bool },
    /// Tell the asker so if the target is one that is answered for (RFC 4861 §7.2.8).
    Proxy { target: Ip6Address, asker: Ip6Address, at: Option<MacAddress>, learn: bool },
    /// It has an own address, in use or being tried, or (`Word::Probe`) tries it too.
    Claim { address: Ip6Address, word: Word, at: Option<MacAddress> },
    /// A neighbour told of itself.
    Learn { target: Ip6Address, heard: Heard },
    /// A host wants to hear from routers; it is at `at`, if it told (RFC 4861 §6.2.6).
    AskedAsRouter { asker: Option<Ip6Address>, at: Option<MacAddress> },
    /// Another router told of itself (RFC 4861 §6.2.7).
    OtherRouter(router_advertisement::Heard),
    /// Nothing.
    Refuse(NdInputError),
}

impl Judgement {
    /// Whether the host learns from the message, or may answer it: what raddle answers itself, and what is wrong, apart.
    fn is_of_interest_to_the_host(&self) -> bool {
        match self {
            Self::Answer { .. } | Self::Anycast { .. } | Self::Proxy { .. } => false,
            Self::Refuse(error) => matches!(error, NdInputError::NotForUs),
            Self::Claim { .. } | Self::Learn { .. } | Self::AskedAsRouter { .. } | Self::OtherRouter(_) => {
                true
            }
        }
    }
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
        Ok(Self {
            own: init.resource()?,
            neighbors: init.resource()?,
            proxied: Proxied::new(init)?,
            reports: REPORTS,
            punt: PuntOffer::new(init)?,
        })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        self.proxied.renew(vector.env().worker());
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
            Ok(message) => {
                let own_mac = env.worker().interface(interface).map_or(MacAddress::ZERO, |row| row.mac());
                judge(&ip, message, interface, own_mac, self.own.read(env.worker()))
            }
            Err(malformed) => Judgement::Refuse((*malformed).into()),
        };
        env.trace(packet, || Record {
            source: ip.source().to_string(),
            destination: ip.destination().to_string(),
            message: describe(&parsed),
            outcome: judgement.to_string(),
        });
        if judgement.is_of_interest_to_the_host() {
            self.punt.copy(env, packet, PuntReason::ND, NdInputNext::Punt);
        }
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
            Judgement::Claim { address, word, at } => {
                if self.reports.take(now_ns) {
                    let key = NeighborKey { interface, address: address.to_std().into() };
                    self.neighbors.report_claim(key, word, at);
                }
                Verdict::Drop(NdInputError::Conflict)
            }
            Judgement::AskedAsRouter { asker, at } => {
                if !self.reports.take(now_ns) {
                    return Verdict::Drop(NdInputError::RateLimited);
                }
                self.neighbors.report_router_solicitation(interface);
                if let Some((asker, mac)) = asker.zip(at) {
                    let key = NeighborKey { interface, address: asker.to_std().into() };
                    self.neighbors.report_heard(key, Heard::Request { mac });
                }
                drop(packet.take());
                Verdict::Drop(NdInputError::NotForUs)
            }
            Judgement::OtherRouter(heard) => {
                if !self.reports.take(now_ns) {
                    return Verdict::Drop(NdInputError::RateLimited);
                }
                self.neighbors.report_router(interface, heard);
                drop(packet.take());
                Verdict::Drop(NdInputError::NotForUs)
            }
            Judgement::Proxy { target, asker, at, learn } => {
                let own = self.own.read(env.worker());
                if !self.proxied.covers(env.worker(), own, interface, target.to_std().into()) {
                    return Verdict::Drop(NdInputError::NotForUs);
                }
                self.answer(env, packet, Answer { target, asker: Some(asker), at, learn, overrides: false })
            }
            Judgement::Anycast { target, asker, at, learn } => {
                self.answer(env, packet, Answer { target, asker: Some(asker), at, learn, overrides: false })
            }
            Judgement::Answer { target, asker, at, learn } => {
                self.answer(env, packet, Answer { target, asker, at, learn, overrides: true })
            }
        }
    }

    fn answer(
        &mut self,
        env: &Env<'_, Self>,
        packet: &mut Packet<'_>,
        answer: Answer,
    ) -> Verdict<NdInputNext, NdInputError> {
        let interface = packet.rx_interface();
        if let (true, Some(asker), Some(mac)) = (answer.learn, answer.asker, answer.at)
            && self.reports.take(env.now_ns())
        {
            let key = NeighborKey { interface, address: asker.to_std().into() };
            self.neighbors.report_heard(key, Heard::Request { mac });
        }
        let own_mac = env.worker().interface(interface).map(|row| row.mac());
        let next = own_mac.and_then(|mac| write_answer(packet, mac, answer));
        next.map_or(Verdict::Drop(NdInputError::NoRoom), Verdict::Next)
    }
}

/// An advertisement to be sent.
#[derive(Clone, Copy)]
struct Answer {
    target: Ip6Address,
    asker: Option<Ip6Address>,
    at: Option<MacAddress>,
    /// Where the asker is, is learned.
    learn: bool,
    overrides: bool,
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
    own_mac: MacAddress,
    own: &OwnAddresses,
) -> Judgement {
    let is_tried = |address: Ip6Address| own.is_tentative_on(interface, address.to_std().into());
    match message {
        NdMessage::NeighborSolicitation { target, options } => {
            let asker = (!ip.source().is_unspecified()).then(|| ip.source());
            if is_tried(*target) {
                // RFC 4862 §5.4.3: who asks from an address of its own is not answered yet.
                return match asker {
                    Some(_) => Judgement::Refuse(NdInputError::NotForUs),
                    None => Judgement::Claim { address: *target, word: probe(options), at: None },
                };
            }
            // RFC 4862 §5.4.3: a node that tries whether the address is free hears from its owner.
            let at = options.source_link_layer().filter(|mac| mac.is_unicast());
            let learn = asker.is_some_and(|asker| own.is_on_link6(interface, asker));
            match asker {
                _ if own.is_own_on6(interface, *target) => {
                    Judgement::Answer { target: *target, asker, at, learn }
                }
                Some(asker) if own.is_anycast_on(interface, *target) => {
                    Judgement::Anycast { target: *target, asker, at, learn }
                }
                // Never to one that tries an address, or nobody could have one on the link.
                Some(asker) if own.proxy(interface).is_some() => {
                    Judgement::Proxy { target: *target, asker, at, learn }
                }
                _ => Judgement::Refuse(NdInputError::NotForUs),
            }
        }
        NdMessage::NeighborAdvertisement { flags, target, options } => {
            let mac = options.target_link_layer();
            if own.is_own_on6(interface, *target) || is_tried(*target) {
                // RFC 4862 §5.4.4
                return match mac == Some(own_mac) {
                    true => Judgement::Refuse(NdInputError::Looped),
                    false => Judgement::Claim { address: *target, word: Word::Claim, at: mac },
                };
            }
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
        NdMessage::RouterSolicitation { options } => {
            let asker = Some(ip.source()).filter(|asker| own.is_on_link6(interface, *asker));
            let at = options.source_link_layer().filter(|mac| mac.is_unicast());
            Judgement::AskedAsRouter { asker, at }
        }
        NdMessage::RouterAdvertisement { .. } => {
            match router_advertisement::Heard::of(ip.source(), message) {
                Some(heard) if !own.is_own_on6(interface, ip.source()) => Judgement::OtherRouter(heard),
                _ => Judgement::Refuse(NdInputError::Looped),
            }
        }
        NdMessage::Redirect { .. } => Judgement::Refuse(NdInputError::Redirect),
    }
}

/// The word of a solicitation from `::`: by its nonce the sender knows it again (RFC 7527 §4.1).
fn probe(options: &NdOptions<'_>) -> Word {
    Word::Probe(options.nonce().and_then(|nonce| nonce.first_chunk().copied()))
}

/// Makes the packet the advertisement that answers it (RFC 4861 §7.2.4).
fn write_answer(
    packet: &mut Packet<'_>,
    mac: MacAddress,
    Answer { target, asker, at, overrides, .. }: Answer,
) -> Option<NdInputNext> {
    let answer = advertisement(mac, target, target, asker, overrides)?;
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
            Self::Answer { .. } | Self::Anycast { .. } => f.write_str("answered"),
            Self::Proxy { .. } => f.write_str("answered, if it is answered for"),
            Self::Claim { address, .. } => write!(f, "dropped (claims {address})"),
            Self::Learn { .. } => f.write_str("learned"),
            Self::AskedAsRouter { .. } => f.write_str("to be advertised"),
            Self::OtherRouter(_) => f.write_str("compared"),
            Self::Refuse(error) => write!(f, "dropped ({error:?})"),
        }
    }
}

node!(NdInput);

#[cfg(test)]
mod tests {
    use raddle_plugin_api::wire::{
        IpProtocol, NeighborFlags, write_duplicate_detection, write_neighbor_advertisement,
        write_neighbor_solicitation,
    };

    use super::*;

    const ETH: InterfaceIndex = InterfaceIndex(1);
    const OWN_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
    const OWN: Ip6Address = Ip6Address::from_bits(0xfe80 << 112 | 1);
    const PEER: Ip6Address = Ip6Address::from_bits(0xfe80 << 112 | 2);
    const TRIED: Ip6Address = Ip6Address::from_bits(0xfe80 << 112 | 3);
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
        let own = OwnAddresses::new([(ETH, "fe80::1/64".parse().unwrap())]);
        judge(&ip, &parsed, ETH, OWN_MAC, &own.with_tentative([(ETH, TRIED.to_std().into())]))
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

    // RFC 4862 §5.4.3, RFC 7527 §4.2
    #[test]
    fn solicitations_for_an_address_that_is_tried_are_claims_or_not_for_us() {
        let group = TRIED.solicited_node();
        let asked = judged(PEER, group, |out| write_neighbor_solicitation(out, PEER, group, TRIED, None));
        assert_eq!(asked, Judgement::Refuse(NdInputError::NotForUs));
        let unspecified = Ip6Address::UNSPECIFIED;
        let old = judged(unspecified, group, |out| {
            write_neighbor_solicitation(out, unspecified, group, TRIED, None)
        });
        assert_eq!(old, Judgement::Claim { address: TRIED, word: Word::Probe(None), at: None });
        let new = judged(unspecified, group, |out| write_duplicate_detection(out, TRIED, [7; 6]));
        assert_eq!(new, Judgement::Claim { address: TRIED, word: Word::Probe(Some([7; 6])), at: None });
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
        let claim = |address, at| Judgement::Claim { address, word: Word::Claim, at };
        assert_eq!(advertise(OWN, Some(PEER_MAC)), claim(OWN, Some(PEER_MAC)));
        assert_eq!(advertise(OWN, Some(OWN_MAC)), Judgement::Refuse(NdInputError::Looped));
        assert_eq!(advertise(TRIED, None), claim(TRIED, None));
        let group = Some(MacAddress::BROADCAST);
        assert_eq!(advertise(PEER, group), Judgement::Refuse(NdInputError::Invalid));
    }
}
