//! What an ICMP error quotes of a packet that its sender left unfinished: the packet as it would be on the wire.
//!
//! A packet that came from a host next door may have a partial checksum, and may stand for many (GSO). The error's reader
//! looks for the packet that it sent, so the quote is that of the first one, with its checksum filled in.
#![forbid(unsafe_code)]

use raddle_plugin_api::Packet;
use raddle_plugin_api::wire::checksum::Sum;
use raddle_plugin_api::wire::{GsoKind, Ip4Header, Ip6Header, IpProtocol, TcpFlags, TcpHeader, UdpHeader};

/// Where the checksum is in the header of TCP, and of UDP.
const TCP_CHECKSUM: u16 = 16;
const UDP_CHECKSUM: u16 = 6;
/// Where the flags of TCP are, with the data offset in front.
const TCP_FLAGS: usize = 12;

/// Finishes the quote, which holds the packet's bytes from its IP header on as far as there is room. Returns how many of them are
/// the first packet's.
pub fn finish(packet: &Packet<'_>, quote: &mut [u8]) -> usize {
    if !packet.has_offload() {
        return quote.len();
    }
    finish_as(packet, quote).unwrap_or(quote.len())
}

/// `None`: what is asked of the device makes no sense; the quote is left as it is.
fn finish_as(packet: &Packet<'_>, quote: &mut [u8]) -> Option<usize> {
    let offload = packet.offload();
    let checksum = offload.checksum?;
    let start = usize::from(checksum.start);
    let protocol = match checksum.offset {
        TCP_CHECKSUM => IpProtocol::TCP,
        UDP_CHECKSUM => IpProtocol::UDP,
        _ => return None,
    };
    let mut total = packet.len();
    let mut word_change = None;
    if let Some(gso) = offload.gso.filter(|gso| gso.kind != GsoKind::UdpFragments) {
        let upper = quote.get(start..)?;
        let headers = match protocol {
            IpProtocol::TCP => TcpHeader::parse(upper)?.0.header_length(),
            _ => UdpHeader::LENGTH,
        };
        let first = start + headers + usize::from(gso.size);
        if first < total {
            total = first;
            if protocol == IpProtocol::TCP {
                let word = quote.get_mut(start + TCP_FLAGS..start + TCP_FLAGS + 2)?;
                let old = u16::from_be_bytes([word[0], word[1]]);
                // RFC 9293 §3.1: these belong to the last segment's bytes.
                word[1] &= !TcpFlags::FIN.union(TcpFlags::PSH).0;
                word_change = Some((old, u16::from_be_bytes([word[0], word[1]])));
            }
            if protocol == IpProtocol::UDP {
                let length = u16::try_from(headers + usize::from(gso.size)).ok()?;
                let field = quote.get_mut(start + 4..start + 6)?;
                word_change = Some((u16::from_be_bytes([field[0], field[1]]), length));
                field.copy_from_slice(&length.to_be_bytes());
            }
        }
    }
    let upper_length = u16::try_from(total.checked_sub(start)?).ok()?;
    let pseudo = set_length(quote, total, protocol, upper_length)?;
    let field = start + usize::from(checksum.offset);
    let stored = quote.get(field..field + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))?;
    // What has changed first: behind an odd number of bytes words would not fall in step.
    let mut sum = pseudo.subtract_u16(stored);
    if let Some((old, new)) = word_change {
        sum = sum.subtract_u16(old).add_u16(new);
    }
    let sum = add_range(packet, start, total, sum);
    let finished = if protocol == IpProtocol::UDP { sum.udp_checksum() } else { sum.checksum() };
    quote[field..field + 2].copy_from_slice(&finished.to_be_bytes());
    Some(quote.len().min(total))
}

/// Makes the packet that begins with the quote `total` bytes long, and returns the sum of its pseudo header.
fn set_length(quote: &mut [u8], total: usize, protocol: IpProtocol, upper_length: u16) -> Option<Sum> {
    if quote.first()? >> 4 == 4 {
        let (ip, _) = Ip4Header::parse_mut(quote)?;
        ip.set_total_length(u16::try_from(total).ok()?);
        return Some(ip.pseudo_header(upper_length));
    }
    let (ip, _) = Ip6Header::parse_mut(quote)?;
    ip.set_payload_length(u16::try_from(total.checked_sub(Ip6Header::LENGTH)?).ok()?);
    Some(ip.pseudo_header(protocol, upper_length.into()))
}

/// Adds the packet's bytes from `start` to `end`, over all its buffers.
fn add_range(packet: &Packet<'_>, start: usize, end: usize, sum: Sum) -> Sum {
    let mut chunk = [0; 2048];
    let (mut at, mut sum) = (start, sum);
    while at < end {
        let wanted = chunk.len().min(end - at);
        let count = packet.copy_out(at, &mut chunk[..wanted]);
        if count == 0 {
            break;
        }
        // Every piece but the last is even, so that the words stay in step.
        sum = sum.add_bytes(&chunk[..count]);
        at += count;
    }
    sum
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::prelude::*;
    use raddle_plugin_api::testing::{Harness, Sample};
    use raddle_plugin_api::wire::{Ip4Address, Ip6Address};
    use zerocopy::IntoBytes;

    use super::*;

    /// Finishes the quote of each packet, and puts it in the packet's place.
    struct Finish;

    next! {
        // A node that every engine has: nodes of tests are in those of other tests, too.
        enum FinishNext {
            Out => "interface-output",
        }
    }

    impl Node for Finish {
        const NAME: &'static str = "test-finish-quote";
        type Next = FinishNext;
        type Error = NoError;

        fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
            Ok(Self)
        }

        fn process(&mut self, vector: Vector<'_, Self>) {
            vector.each(|env, packet| {
                let mut quote = [0; 1400];
                let length = packet.copy_out(0, &mut quote);
                let length = finish(packet, &mut quote[..length]);
                if let Some(mut held) = env.worker().allocate() {
                    assert!(env.worker().open(&mut held).append(&quote[..length]));
                    env.send(held, Verdict::Next(FinishNext::Out));
                }
                drop(packet.take());
                Verdict::Next(FinishNext::Out)
            });
        }
    }

    node!(Finish);

    fn finished(sample: Sample) -> Vec<u8> {
        let mut host = Harness::builder().interface("lan", |lan| lan).build();
        host.load_only(&["forwarding"]).unwrap();
        let run = host.run::<Finish>([sample]);
        run.one().packet.bytes().to_vec()
    }

    fn ip(is_ip6: bool, protocol: IpProtocol, length: usize) -> Vec<u8> {
        if is_ip6 {
            let [from, to] = [2, 1].map(|last| Ip6Address::from_bits(0x2001_0db8 << 96 | last));
            Ip6Header::new(protocol, from, to, length).unwrap().as_bytes().to_vec()
        } else {
            let [from, to] = [2, 1].map(|last| Ip4Address([192, 0, 2, last]));
            Ip4Header::new(protocol, from, to, length).unwrap().as_bytes().to_vec()
        }
    }

    /// Whether the transport checksum of a packet that begins with its IP header is right.
    fn is_right(packet: &[u8]) -> bool {
        if packet[0] >> 4 == 6 {
            let ip = Ip6Header::check(packet, packet.len()).unwrap();
            let pseudo = ip.pseudo_header(ip.next_header(), packet.len() as u32 - 40);
            return pseudo.add_bytes(&packet[40..]).is_valid();
        }
        let ip = Ip4Header::check(packet, packet.len()).unwrap();
        ip.pseudo_header(packet.len() as u16 - 20).add_bytes(&packet[20..]).is_valid()
    }

    fn udp(is_ip6: bool, data: usize) -> Vec<u8> {
        let mut packet = ip(is_ip6, IpProtocol::UDP, 8 + data);
        packet.extend(UdpHeader::new(4711, 9, data).unwrap().as_bytes());
        packet.extend((0..data).map(|n| n as u8));
        packet
    }

    fn tcp(is_ip6: bool, data: usize) -> Vec<u8> {
        let mut packet = ip(is_ip6, IpProtocol::TCP, 20 + data);
        let flags = TcpFlags::ACK.union(TcpFlags::PSH).union(TcpFlags::FIN);
        packet.extend(TcpHeader::new(4711, 80, 1000, 77, flags).as_bytes());
        packet.extend((0..data).map(|n| n as u8));
        packet
    }

    #[test]
    fn partial_checksums_are_filled_in() {
        for is_ip6 in [false, true] {
            let start = if is_ip6 { 40 } else { 20 };
            for data in [0, 1, 13, 64] {
                for (mut packet, offset) in [(udp(is_ip6, data), 6), (tcp(is_ip6, data), 16)] {
                    // What a sender leaves there: the sum of its pseudo header, or anything.
                    packet[start + offset..start + offset + 2].copy_from_slice(&[0x12, 0x34]);
                    assert!(!is_right(&packet));
                    let sample = Sample::new(packet.clone());
                    let quote = finished(sample.with_partial_checksum(start as u16, offset as u16));
                    assert!(is_right(&quote) && quote.len() == packet.len(), "{is_ip6} {offset} {data}");
                }
            }
        }
    }

    #[test]
    fn a_packet_that_stands_for_many_is_quoted_as_its_first() {
        for is_ip6 in [false, true] {
            let start = if is_ip6 { 40 } else { 20 };
            let kind = if is_ip6 { 4 } else { 1 };
            let sample = Sample::new(tcp(is_ip6, 3000)).with_partial_checksum(start, 16);
            let quote = finished(sample.with_gso(kind, 1000, start + 20));
            assert!(is_right(&quote));
            assert_eq!(quote.len(), usize::from(start) + 20 + 1000);
            let (header, _) = TcpHeader::parse(&quote[usize::from(start)..]).unwrap();
            assert_eq!(header.flags(), TcpFlags::ACK, "the end of the data is in the last one");
            let sample = Sample::new(udp(is_ip6, 3001)).with_partial_checksum(start, 6);
            let quote = finished(sample.with_gso(5, 999, start + 8));
            assert!(is_right(&quote) && quote.len() == usize::from(start) + 8 + 999);
        }
    }

    #[test]
    fn what_makes_no_sense_is_quoted_as_it_is() {
        let packet = udp(false, 8);
        for (start, offset) in [(20, 7), (4000, 6), (35, 16), (0, 16)] {
            let quote = finished(Sample::new(packet.clone()).with_partial_checksum(start, offset));
            assert_eq!(quote.len(), packet.len(), "{start} {offset}");
        }
        assert_eq!(finished(Sample::new(packet.clone())), packet);
    }
}
