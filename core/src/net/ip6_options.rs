//! What a node does with the options of IPv6 extension headers that it reads (RFC 8200 §4.2).
#![forbid(unsafe_code)]

use raddle_plugin_api::wire::{Ip6Header, Ip6Options, IpProtocol};

use super::icmp_field::IcmpRequest;

/// Options that are known: router alert (RFC 2711), which says nothing to a node that looks at every packet anyhow, and
/// the tunnel encapsulation limit (RFC 2473 §4.1.1), which is for those that put packets into tunnels.
const KNOWN: [u8; 2] = [5, 4];

/// Why a packet is not dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionRefusal {
    /// An option is unknown, or reaches beyond its header, and the sender is not told.
    Drop,
    /// The sender is told.
    Tell(IcmpRequest),
}

/// Reads the options of all hop-by-hop and destination options headers of the packet that begins with its IPv6 header, of
/// which [`raddle_plugin_api::wire::Ip6Upper`] has found the upper protocol at `upper_at`.
///
/// # Errors
/// The first option that keeps the packet from being dealt with.
pub fn read_all_options(packet: &[u8], upper_at: usize) -> Result<(), OptionRefusal> {
    let Some((ip, _)) = Ip6Header::parse(packet) else { return Err(OptionRefusal::Drop) };
    let is_multicast = ip.destination().is_multicast();
    let (mut kind, mut at) = (ip.next_header(), Ip6Header::LENGTH);
    while at < upper_at {
        let header = packet.get(at..upper_at).unwrap_or_default();
        let (Some(&next), Some(&length)) = (header.first(), header.get(1)) else {
            return Err(OptionRefusal::Drop);
        };
        let length = if kind == IpProtocol::FRAGMENT { 8 } else { (usize::from(length) + 1) * 8 };
        if matches!(kind, IpProtocol::HOP_BY_HOP | IpProtocol::DESTINATION_OPTIONS) {
            read_options(header.get(..length).ok_or(OptionRefusal::Drop)?, at, is_multicast)?;
        }
        (kind, at) = (IpProtocol(next), at + length);
    }
    Ok(())
}

/// Reads the options of one extension header, which stands at `at` in its packet.
///
/// # Errors
/// As [`read_all_options`].
pub fn read_options(header: &[u8], at: usize, is_multicast: bool) -> Result<(), OptionRefusal> {
    for option in Ip6Options::new(header.get(2..).unwrap_or_default()) {
        let option = option.map_err(|_| OptionRefusal::Drop)?;
        if KNOWN.contains(&option.kind) {
            continue;
        }
        // RFC 8200 §4.2: what to do with an option that is not known stands in its two highest bits.
        let tell = OptionRefusal::Tell(IcmpRequest::new(4, 2, (at + 2 + option.offset) as u32));
        match option.kind >> 6 {
            0 => {}
            1 => return Err(OptionRefusal::Drop),
            2 => return Err(tell),
            _ if is_multicast => return Err(OptionRefusal::Drop),
            _ => return Err(tell),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raddle_plugin_api::wire::{Ip6Address, Ip6Upper};

    use super::*;

    fn tell(at: u32) -> Result<(), OptionRefusal> {
        Err(OptionRefusal::Tell(IcmpRequest::new(4, 2, at)))
    }

    // RFC 8200 §4.2
    #[test]
    fn unknown_options_are_dealt_with_as_their_highest_bits_say() {
        for (kind, to_host, to_group) in [
            (0x05, Ok(()), Ok(())),
            (0x3e, Ok(()), Ok(())),
            (0x7e, Err(OptionRefusal::Drop), Err(OptionRefusal::Drop)),
            (0xbe, tell(44), tell(44)),
            (0xfe, tell(44), Err(OptionRefusal::Drop)),
        ] {
            let header = [59, 0, 1, 0, kind, 2, 0, 0];
            assert_eq!(read_options(&header, 40, false), to_host, "{kind:#x}");
            assert_eq!(read_options(&header, 40, true), to_group, "{kind:#x}");
        }
        assert_eq!(read_options(&[59, 0, 0x3e, 9, 0, 0, 0, 0], 40, false), Err(OptionRefusal::Drop));
    }

    fn packet(first: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let (source, destination) = (Ip6Address::from_bits(1 << 100), Ip6Address::from_bits(2 << 100));
        let mut bytes = vec![0; 40];
        Ip6Header::new(first, source, destination, payload.len()).unwrap().write_to(&mut bytes).unwrap();
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn reads_the_options_of_every_header() {
        let chain = [
            [60, 0, 5, 2, 0, 0, 1, 0],
            [43, 0, 1, 4, 0, 0, 0, 0],
            [60, 0, 0, 0, 0, 0, 0, 0],
            [17, 0, 0x80, 4, 0, 0, 0, 0],
            [0; 8],
        ];
        let bytes = packet(IpProtocol::HOP_BY_HOP, &chain.concat());
        assert_eq!(read_all_options(&bytes, 72), tell(66));
        assert_eq!(read_all_options(&bytes, 64), Ok(()));
    }

    proptest! {
        #[test]
        fn ends_on_whatever_chain_was_found(first in 0u8..61, payload in proptest::collection::vec(0u8..62, 0..200)) {
            let bytes = packet(IpProtocol(first), &payload);
            if let Ok(upper) = Ip6Upper::find_as_destination(&bytes) {
                let _ = read_all_options(&bytes, upper.offset);
            }
        }
    }
}
