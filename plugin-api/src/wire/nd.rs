//! Neighbour discovery messages as received (RFC 4861), with every check that the RFC asks of a receiver.

use super::{Icmp6Header, Icmp6Kind, Ip6Address, Ip6Header, NdOptions, RouterPreference};

reasons! {
    /// Why a neighbour discovery message is silently dropped.
    pub enum NdMalformed {
        /// Too short for its type.
        Truncated = "nd message truncated",
        /// The checksum is wrong.
        Checksum = "nd checksum wrong",
        /// Not a type of neighbour discovery.
        Kind = "not an nd message",
        /// The code is not 0.
        Code = "nd code is not 0",
        /// The hop limit is not 255: it came through a router.
        HopLimit = "nd hop limit is not 255",
        /// An option of length 0.
        OptionLengthZero = "nd option length is zero",
        /// An option reaches beyond the message.
        OptionTruncated = "nd option truncated",
        /// A target address that is multicast.
        TargetMulticast = "nd target is multicast",
        /// A solicitation for duplicate address detection that does not go to the solicited-node group.
        DuplicateDetectionDestination = "nd solicitation from :: not to solicited-node group",
        /// A solicitation from `::` with the sender's link-layer address.
        UnspecifiedWithLinkLayer = "nd solicitation from :: with link-layer address",
        /// A solicited advertisement that goes to a group.
        SolicitedToMulticast = "nd solicited advertisement to multicast",
        /// A router's message from an address that is not link-local.
        SourceNotLinkLocal = "nd router message from non-link-local source",
        /// A redirect for a multicast destination.
        RedirectDestination = "nd redirect for multicast destination",
        /// A redirect to a target that is neither link-local nor the destination itself.
        RedirectTarget = "nd redirect to invalid target",
    }
}

/// A valid neighbour discovery message.
#[derive(Clone, Debug)]
pub enum NdMessage<'a> {
    /// A host wants to hear from routers (§4.1).
    RouterSolicitation {
        /// Its options.
        options: NdOptions<'a>,
    },
    /// A router is here (§4.2).
    RouterAdvertisement {
        /// The hop limit that hosts should use; 0 says nothing.
        hop_limit: u8,
        /// Where hosts get addresses and other configuration.
        flags: RouterFlags,
        /// How long it is a default router, in seconds; 0: it is none.
        lifetime_seconds: u16,
        /// How long a neighbour is reachable after it was heard, in milliseconds; 0 says nothing.
        reachable_ms: u32,
        /// Time between solicitations, in milliseconds; 0 says nothing.
        retransmit_ms: u32,
        /// Its options.
        options: NdOptions<'a>,
    },
    /// Who has the target (§4.3)?
    NeighborSolicitation {
        /// The address that is asked for.
        target: Ip6Address,
        /// Its options.
        options: NdOptions<'a>,
    },
    /// The sender has the target (§4.4).
    NeighborAdvertisement {
        /// What it says of itself.
        flags: NeighborFlags,
        /// The address that is told of.
        target: Ip6Address,
        /// Its options.
        options: NdOptions<'a>,
    },
    /// A better first hop (§4.5).
    Redirect {
        /// The better hop.
        target: Ip6Address,
        /// For packets to this address.
        destination: Ip6Address,
        /// Its options.
        options: NdOptions<'a>,
    },
}

/// The flags of a neighbour advertisement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NeighborFlags {
    /// The sender is a router.
    pub router: bool,
    /// It answers a solicitation.
    pub solicited: bool,
    /// It replaces what is known.
    pub overrides: bool,
}

impl NeighborFlags {
    pub(super) const fn from_bits(bits: u32) -> Self {
        Self { router: bits >> 31 & 1 != 0, solicited: bits >> 30 & 1 != 0, overrides: bits >> 29 & 1 != 0 }
    }

    pub(super) const fn to_bits(self) -> u32 {
        (self.router as u32) << 31 | (self.solicited as u32) << 30 | (self.overrides as u32) << 29
    }
}

/// The flags of a router advertisement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RouterFlags {
    /// Addresses come from DHCPv6.
    pub managed: bool,
    /// Other configuration comes from DHCPv6.
    pub other: bool,
    /// How much the router is preferred as a default router (RFC 4191 §2.2).
    pub preference: RouterPreference,
}

impl RouterFlags {
    pub(super) const fn from_bits(bits: u8) -> Self {
        // RFC 4191 §2.2: the reserved value counts as medium.
        let preference = match RouterPreference::from_bits(bits >> 3) {
            Some(preference) => preference,
            None => RouterPreference::Medium,
        };
        Self { managed: bits & 0x80 != 0, other: bits & 0x40 != 0, preference }
    }

    pub(super) const fn to_bits(self) -> u8 {
        (self.managed as u8) << 7 | (self.other as u8) << 6 | self.preference.to_bits() << 3
    }
}

impl<'a> NdMessage<'a> {
    /// Reads and checks a whole ICMPv6 message that came under the header `ip` (RFC 4861 §6.1, §7.1, §8.1).
    ///
    /// # Errors
    /// The first check that fails.
    pub fn parse(ip: &Ip6Header, message: &'a [u8]) -> Result<Self, NdMalformed> {
        let (icmp, body) = match Icmp6Header::check(ip, message) {
            Ok(checked) => checked,
            Err(super::IcmpMalformed::Truncated) => return Err(NdMalformed::Truncated),
            Err(super::IcmpMalformed::Checksum) => return Err(NdMalformed::Checksum),
        };
        require(icmp.kind().is_neighbor_discovery(), NdMalformed::Kind)?;
        require(ip.hop_limit() == 255, NdMalformed::HopLimit)?;
        require(icmp.code() == 0, NdMalformed::Code)?;
        match icmp.kind() {
            Icmp6Kind::ROUTER_SOLICITATION => Self::router_solicitation(ip, body),
            Icmp6Kind::ROUTER_ADVERTISEMENT => Self::router_advertisement(ip, icmp.rest(), body),
            Icmp6Kind::NEIGHBOR_SOLICITATION => Self::neighbor_solicitation(ip, body),
            Icmp6Kind::NEIGHBOR_ADVERTISEMENT => Self::neighbor_advertisement(ip, icmp.rest(), body),
            _ => Self::redirect(ip, body),
        }
    }

    /// Its options, which are well-formed.
    pub fn options(&self) -> &NdOptions<'a> {
        match self {
            Self::RouterSolicitation { options }
            | Self::RouterAdvertisement { options, .. }
            | Self::NeighborSolicitation { options, .. }
            | Self::NeighborAdvertisement { options, .. }
            | Self::Redirect { options, .. } => options,
        }
    }

    // §6.1.1
    fn router_solicitation(ip: &Ip6Header, body: &'a [u8]) -> Result<Self, NdMalformed> {
        let options = NdOptions::checked(body)?;
        let anonymous = ip.source().is_unspecified();
        require(!anonymous || options.source_link_layer().is_none(), NdMalformed::UnspecifiedWithLinkLayer)?;
        Ok(Self::RouterSolicitation { options })
    }

    // §6.1.2
    fn router_advertisement(ip: &Ip6Header, rest: u32, body: &'a [u8]) -> Result<Self, NdMalformed> {
        require(ip.source().is_link_local(), NdMalformed::SourceNotLinkLocal)?;
        let Some((timers, options)) = body.split_first_chunk::<8>() else {
            return Err(NdMalformed::Truncated);
        };
        let [hop_limit, flags, lifetime @ ..] = rest.to_be_bytes();
        let [r0, r1, r2, r3, t0, t1, t2, t3] = *timers;
        Ok(Self::RouterAdvertisement {
            hop_limit,
            flags: RouterFlags::from_bits(flags),
            lifetime_seconds: u16::from_be_bytes(lifetime),
            reachable_ms: u32::from_be_bytes([r0, r1, r2, r3]),
            retransmit_ms: u32::from_be_bytes([t0, t1, t2, t3]),
            options: NdOptions::checked(options)?,
        })
    }

    // §7.1.1
    fn neighbor_solicitation(ip: &Ip6Header, body: &'a [u8]) -> Result<Self, NdMalformed> {
        let (target, options) = address(body)?;
        require(!target.is_multicast(), NdMalformed::TargetMulticast)?;
        let options = NdOptions::checked(options)?;
        if ip.source().is_unspecified() {
            require(ip.destination().is_solicited_node(), NdMalformed::DuplicateDetectionDestination)?;
            require(options.source_link_layer().is_none(), NdMalformed::UnspecifiedWithLinkLayer)?;
        }
        Ok(Self::NeighborSolicitation { target, options })
    }

    // §7.1.2
    fn neighbor_advertisement(ip: &Ip6Header, rest: u32, body: &'a [u8]) -> Result<Self, NdMalformed> {
        let (target, options) = address(body)?;
        let flags = NeighborFlags::from_bits(rest);
        require(!target.is_multicast(), NdMalformed::TargetMulticast)?;
        let to_group = ip.destination().is_multicast();
        require(!(to_group && flags.solicited), NdMalformed::SolicitedToMulticast)?;
        Ok(Self::NeighborAdvertisement { flags, target, options: NdOptions::checked(options)? })
    }

    // §8.1
    fn redirect(ip: &Ip6Header, body: &'a [u8]) -> Result<Self, NdMalformed> {
        require(ip.source().is_link_local(), NdMalformed::SourceNotLinkLocal)?;
        let (target, rest) = address(body)?;
        let (destination, options) = address(rest)?;
        require(!destination.is_multicast(), NdMalformed::RedirectDestination)?;
        require(target.is_link_local() || target == destination, NdMalformed::RedirectTarget)?;
        Ok(Self::Redirect { target, destination, options: NdOptions::checked(options)? })
    }
}

fn require(holds: bool, reason: NdMalformed) -> Result<(), NdMalformed> {
    if holds { Ok(()) } else { Err(reason) }
}

fn address(bytes: &[u8]) -> Result<(Ip6Address, &[u8]), NdMalformed> {
    let (address, rest) = bytes.split_first_chunk().ok_or(NdMalformed::Truncated)?;
    Ok((Ip6Address(*address), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    use super::*;
    use crate::wire::{IpProtocol, MacAddress};

    const LINK_LOCAL: Ip6Address = Ip6Address::link_local_from_mac(MacAddress([2, 0, 0, 0, 0, 1]));
    const GLOBAL: Ip6Address = Ip6Address::from_bits(0x2001_0db8 << 96 | 5);
    const SLLA: [u8; 8] = [1, 1, 2, 0, 0, 0, 0, 1];

    fn ip(source: Ip6Address, destination: Ip6Address) -> Ip6Header {
        let mut ip = Ip6Header::new(IpProtocol::ICMP6, source, destination, 0).unwrap();
        ip.set_hop_limit(255);
        ip
    }

    fn message(ip: &Ip6Header, kind: Icmp6Kind, rest: u32, parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        [Icmp6Header::with_checksum(ip, kind, 0, rest, &body).as_bytes(), &body].concat()
    }

    fn fault(ip: Ip6Header, kind: Icmp6Kind, rest: u32, parts: &[&[u8]]) -> Option<NdMalformed> {
        NdMessage::parse(&ip, &message(&ip, kind, rest, parts)).err()
    }

    #[test]
    fn refuses_what_every_message_must_have() {
        let ip = ip(LINK_LOCAL, GLOBAL);
        let good = message(&ip, Icmp6Kind::NEIGHBOR_SOLICITATION, 0, &[&GLOBAL.0, &SLLA]);
        assert!(NdMessage::parse(&ip, &good).is_ok());

        let mut near = ip;
        near.set_hop_limit(254);
        assert_eq!(NdMessage::parse(&near, &good).unwrap_err(), NdMalformed::HopLimit);
        let mut wrong = good.clone();
        wrong[30] ^= 1;
        assert_eq!(NdMessage::parse(&ip, &wrong).unwrap_err(), NdMalformed::Checksum);
        assert_eq!(fault(ip, Icmp6Kind::ECHO_REQUEST, 0, &[]), Some(NdMalformed::Kind));
        let code = Icmp6Header::with_checksum(&ip, Icmp6Kind::ROUTER_SOLICITATION, 1, 0, &[]);
        assert_eq!(NdMessage::parse(&ip, code.as_bytes()).unwrap_err(), NdMalformed::Code);
    }

    #[test]
    fn refuses_every_message_cut_at_every_byte() {
        let ip = ip(LINK_LOCAL, GLOBAL);
        for (kind, fixed) in [
            (Icmp6Kind::ROUTER_SOLICITATION, 0),
            (Icmp6Kind::ROUTER_ADVERTISEMENT, 8),
            (Icmp6Kind::NEIGHBOR_SOLICITATION, 16),
            (Icmp6Kind::NEIGHBOR_ADVERTISEMENT, 16),
            (Icmp6Kind::REDIRECT, 32),
        ] {
            let body = [&[0x20; 32][..fixed], &SLLA].concat();
            assert_eq!(fault(ip, kind, 0, &[&body]), None, "{kind}");
            for length in (0..body.len()).filter(|length| *length != fixed) {
                let expected =
                    if length < fixed { NdMalformed::Truncated } else { NdMalformed::OptionTruncated };
                assert_eq!(fault(ip, kind, 0, &[&body[..length]]), Some(expected), "{kind} {length}");
            }
            let zero = [&body[..fixed], &[1, 0, 0, 0, 0, 0, 0, 0]].concat();
            assert_eq!(fault(ip, kind, 0, &[&zero]), Some(NdMalformed::OptionLengthZero), "{kind}");
        }
        for length in 0..8 {
            assert_eq!(NdMessage::parse(&ip, &[135; 8][..length]).unwrap_err(), NdMalformed::Truncated);
        }
    }

    #[test]
    fn refuses_solicitations_against_rfc_4861_7_1_1() {
        let kind = Icmp6Kind::NEIGHBOR_SOLICITATION;
        let anonymous = |to| ip(Ip6Address::UNSPECIFIED, to);
        assert_eq!(fault(anonymous(GLOBAL.solicited_node()), kind, 0, &[&GLOBAL.0]), None);
        assert_eq!(
            fault(anonymous(GLOBAL), kind, 0, &[&GLOBAL.0]),
            Some(NdMalformed::DuplicateDetectionDestination)
        );
        assert_eq!(
            fault(anonymous(GLOBAL.solicited_node()), kind, 0, &[&GLOBAL.0, &SLLA]),
            Some(NdMalformed::UnspecifiedWithLinkLayer)
        );
        let group = Ip6Address::ALL_NODES;
        assert_eq!(fault(ip(LINK_LOCAL, GLOBAL), kind, 0, &[&group.0]), Some(NdMalformed::TargetMulticast));
        assert_eq!(
            fault(anonymous(Ip6Address::ALL_ROUTERS), Icmp6Kind::ROUTER_SOLICITATION, 0, &[&SLLA]),
            Some(NdMalformed::UnspecifiedWithLinkLayer)
        );
    }

    #[test]
    fn refuses_advertisements_against_rfc_4861_7_1_2() {
        let kind = Icmp6Kind::NEIGHBOR_ADVERTISEMENT;
        let solicited = NeighborFlags { solicited: true, ..NeighborFlags::default() }.to_bits();
        assert_eq!(fault(ip(GLOBAL, LINK_LOCAL), kind, solicited, &[&GLOBAL.0]), None);
        assert_eq!(fault(ip(GLOBAL, Ip6Address::ALL_NODES), kind, 0, &[&GLOBAL.0]), None);
        assert_eq!(
            fault(ip(GLOBAL, Ip6Address::ALL_NODES), kind, solicited, &[&GLOBAL.0]),
            Some(NdMalformed::SolicitedToMulticast)
        );
        let group = Ip6Address::ALL_NODES;
        assert_eq!(fault(ip(GLOBAL, LINK_LOCAL), kind, 0, &[&group.0]), Some(NdMalformed::TargetMulticast));
    }

    #[test]
    fn refuses_router_messages_against_rfc_4861_6_1_2_and_8_1() {
        let (advertisement, redirect) = (Icmp6Kind::ROUTER_ADVERTISEMENT, Icmp6Kind::REDIRECT);
        assert_eq!(
            fault(ip(GLOBAL, Ip6Address::ALL_NODES), advertisement, 0, &[&[0; 8]]),
            Some(NdMalformed::SourceNotLinkLocal)
        );
        let from = ip(LINK_LOCAL, GLOBAL);
        assert_eq!(fault(from, redirect, 0, &[&LINK_LOCAL.0, &GLOBAL.0]), None);
        assert_eq!(fault(from, redirect, 0, &[&GLOBAL.0, &GLOBAL.0]), None);
        assert_eq!(
            fault(ip(GLOBAL, GLOBAL), redirect, 0, &[&GLOBAL.0, &GLOBAL.0]),
            Some(NdMalformed::SourceNotLinkLocal)
        );
        let group = Ip6Address::ALL_NODES;
        assert_eq!(
            fault(from, redirect, 0, &[&LINK_LOCAL.0, &group.0]),
            Some(NdMalformed::RedirectDestination)
        );
        let other = Ip6Address::from_bits(GLOBAL.to_bits() + 1);
        assert_eq!(fault(from, redirect, 0, &[&other.0, &GLOBAL.0]), Some(NdMalformed::RedirectTarget));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(0u8..6, 0..80), kind in 133u8..138, rest: u32) {
            let ip = ip(LINK_LOCAL, GLOBAL);
            let bytes = message(&ip, Icmp6Kind(kind), rest, &[&body]);
            if let Ok(message) = NdMessage::parse(&ip, &bytes) {
                prop_assert!(message.options().clone().all(|option| option.is_ok()));
            }
        }
    }
}
