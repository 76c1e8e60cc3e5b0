//! `tcp-reset`: answers TCP segments for own addresses where nobody listens (RFC 9293 §3.10.7.1).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::checksum::Sum;
use raddle_plugin_api::wire::{Ip4Header, Ip6Header, Ip6Upper, IpProtocol, TcpFlags, TcpHeader};
use serde::Serialize;
use zerocopy::IntoBytes;

use super::{OwnAddresses, OwnTable};
use crate::net::icmp_limits::{IcmpClass, PortBuckets};

next! {
    /// Where resets go.
    pub enum TcpResetNext {
        Ip4Lookup => "ip4-lookup",
        Ip6Lookup => "ip6-lookup",
    }
}

error! {
    /// What became of the segments.
    pub enum TcpResetReason {
        Sent => "reset-sent": "nobody listens: the sender was told by a reset",
        IsReset => "is-reset": "a reset, which is never answered",
        Malformed => "malformed": "headers cut short or not TCP",
        NotUnicast => "not-unicast": "not from one host to one own address",
        RateLimited => "rate-limited": "too many resets on account of one interface",
        NoBuffer => "no-buffer": "no buffer left for a reset",
    }
}

/// The longest reset: the headers of IPv6 and TCP.
const MAX_RESET_BYTES: usize = Ip6Header::LENGTH + TcpHeader::LENGTH;

/// The node.
pub struct TcpReset {
    own: Arc<OwnTable>,
    buckets: PortBuckets,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    source: IpAddr,
    source_port: u16,
    destination: IpAddr,
    destination_port: u16,
    flags: String,
    reset: bool,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, source_port, destination, destination_port, flags, reset } = self;
        write!(f, "{source}.{source_port} > {destination}.{destination_port}: tcp {flags}")?;
        f.write_str(if *reset { ", reset" } else { "" })
    }
}

impl Node for TcpReset {
    const NAME: &'static str = "tcp-reset";
    type Next = TcpResetNext;
    type Error = TcpResetReason;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let buckets = PortBuckets::new(init.resource()?, IcmpClass::Reset);
        Ok(Self { own: init.resource()?, buckets })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let answered = self.answer(env, packet);
            Verdict::Drop(answered.err().unwrap_or(TcpResetReason::Sent))
        });
    }
}

node!(TcpReset);

/// What a reset is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Segment {
    source: IpAddr,
    destination: IpAddr,
    tcp: TcpHeader,
    /// SEG.LEN: bytes of data, and one for SYN and FIN each.
    length: u32,
}

impl TcpReset {
    fn answer(&mut self, env: &Env<'_, Self>, packet: &Packet<'_>) -> Result<(), TcpResetReason> {
        let segment = Segment::parse(packet.bytes()).ok_or(TcpResetReason::Malformed)?;
        let interface = packet.rx_interface();
        let judged = judge(&segment, self.own.read(env.worker()), packet);
        env.trace(packet, || Record {
            source: segment.source,
            source_port: segment.tcp.source_port(),
            destination: segment.destination,
            destination_port: segment.tcp.destination_port(),
            flags: segment.tcp.flags().to_string(),
            reset: judged.is_ok(),
        });
        judged?;
        if !self.buckets.take(interface, env.now_ns()) {
            return Err(TcpResetReason::RateLimited);
        }
        let mut bytes = [0; MAX_RESET_BYTES];
        let reset = segment.write_reset(&mut bytes).ok_or(TcpResetReason::Malformed)?;
        let mut held = env.worker().allocate().ok_or(TcpResetReason::NoBuffer)?;
        let mut made = env.worker().open(&mut held);
        if !made.append(reset) {
            return Err(TcpResetReason::NoBuffer);
        }
        made.mark_l3();
        made.set_local(true);
        made.set_fib_index(packet.fib_index());
        // A link-local sender is on the link that its segment came in by.
        made.set_tx_interface(interface);
        let next = if segment.source.is_ipv4() { TcpResetNext::Ip4Lookup } else { TcpResetNext::Ip6Lookup };
        env.send(held, Verdict::Next(next));
        Ok(())
    }
}

/// RFC 9293 §3.10.7.1, §3.9.2.3: a reset is not answered, nor is what is for many or from nobody.
fn judge(segment: &Segment, own: &OwnAddresses, packet: &Packet<'_>) -> Result<(), TcpResetReason> {
    if segment.tcp.flags().contains(TcpFlags::RST) {
        return Err(TcpResetReason::IsReset);
    }
    let from_one = match segment.source {
        IpAddr::V4(source) => {
            !source.is_multicast()
                && !source.is_unspecified()
                && !own.is_broadcast(packet.rx_interface(), source.into())
        }
        IpAddr::V6(source) => !source.is_multicast() && !source.is_unspecified(),
    };
    let to_one = own.is_own(segment.destination) && !packet.is_l2_multicast();
    if from_one && to_one { Ok(()) } else { Err(TcpResetReason::NotUnicast) }
}

impl Segment {
    /// The segment of the packet that begins with its IP header; `None` if there is none.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (source, destination, offset, total) = match bytes.first()? >> 4 {
            4 => {
                let (ip, _) = Ip4Header::parse(bytes)?;
                if ip.protocol() != IpProtocol::TCP {
                    return None;
                }
                let (source, destination) = (ip.source().to_std(), ip.destination().to_std());
                (source.into(), destination.into(), ip.header_length(), usize::from(ip.total_length()))
            }
            6 => {
                let (ip, _) = Ip6Header::parse(bytes)?;
                let upper = Ip6Upper::find_as_destination(bytes)
                    .ok()
                    .filter(|upper| upper.protocol == IpProtocol::TCP)?;
                let (source, destination) = (ip.source().to_std(), ip.destination().to_std());
                (source.into(), destination.into(), upper.offset, ip.total_length())
            }
            _ => return None,
        };
        let (tcp, _) = TcpHeader::parse(bytes.get(offset..)?)?;
        let data = total.checked_sub(offset + tcp.header_length().max(TcpHeader::LENGTH))?;
        let counts = |flag| u32::from(tcp.flags().contains(flag));
        // A packet is 64 KiB at most.
        let length = data as u32 + counts(TcpFlags::SYN) + counts(TcpFlags::FIN);
        Some(Self { source, destination, tcp: *tcp, length })
    }

    /// The reset's numbers: what the sender acknowledged is where we are; without that, we are at 0 and acknowledge
    /// what it sent (RFC 9293 §3.10.7.1).
    fn reset(&self) -> TcpHeader {
        let (from, to) = (self.tcp.destination_port(), self.tcp.source_port());
        if self.tcp.flags().contains(TcpFlags::ACK) {
            return TcpHeader::new(from, to, self.tcp.acknowledgement(), 0, TcpFlags::RST);
        }
        let acknowledged = self.tcp.sequence().wrapping_add(self.length);
        TcpHeader::new(from, to, 0, acknowledged, TcpFlags::RST.union(TcpFlags::ACK))
    }

    /// Writes the reset with its IP header, and returns its bytes.
    fn write_reset<'o>(&self, out: &'o mut [u8; MAX_RESET_BYTES]) -> Option<&'o [u8]> {
        let mut tcp = self.reset();
        let (from, to) = (self.destination, self.source);
        let (pseudo, offset): (Sum, usize) = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut ip = Ip4Header::new(IpProtocol::TCP, from.into(), to.into(), TcpHeader::LENGTH)?;
                ip.set_dont_fragment(true);
                ip.write_to(out)?;
                (ip.pseudo_header(TcpHeader::LENGTH as u16), Ip4Header::LENGTH)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let ip = Ip6Header::new(IpProtocol::TCP, from.into(), to.into(), TcpHeader::LENGTH)?;
                ip.write_to(out)?;
                (ip.pseudo_header(IpProtocol::TCP, TcpHeader::LENGTH as u32), Ip6Header::LENGTH)
            }
            _ => return None,
        };
        tcp.fill_checksum(pseudo, &[]);
        let end = offset + TcpHeader::LENGTH;
        out.get_mut(offset..end)?.copy_from_slice(tcp.as_bytes());
        out.get(..end)
    }
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::wire::{Ip4Address, Ip6Address};

    use super::*;

    fn packet(is_ip6: bool, tcp: TcpHeader, data: usize) -> Vec<u8> {
        let mut bytes = if is_ip6 {
            let [from, to] = [2, 1].map(|last| Ip6Address::from_bits(0x2001_0db8 << 96 | last));
            Ip6Header::new(IpProtocol::TCP, from, to, 20 + data).unwrap().as_bytes().to_vec()
        } else {
            let [from, to] = [2, 1].map(|last| Ip4Address([192, 0, 2, last]));
            Ip4Header::new(IpProtocol::TCP, from, to, 20 + data).unwrap().as_bytes().to_vec()
        };
        bytes.extend(tcp.as_bytes());
        bytes.extend(vec![0x5a; data]);
        bytes
    }

    // RFC 9293 §3.10.7.1
    #[test]
    fn numbers_are_those_that_the_sender_will_accept() {
        let (syn, ack, fin) = (TcpFlags::SYN, TcpFlags::ACK, TcpFlags::FIN);
        let rst = TcpFlags::RST;
        for (flags, data, expected) in [
            (syn, 0, (0, 1001, rst.union(ack))),
            (syn, 10, (0, 1011, rst.union(ack))),
            (syn.union(fin), 0, (0, 1002, rst.union(ack))),
            (TcpFlags(0), 5, (0, 1005, rst.union(ack))),
            (ack, 100, (77, 0, rst)),
            (syn.union(ack), 0, (77, 0, rst)),
            (fin.union(ack), 0, (77, 0, rst)),
        ] {
            for is_ip6 in [false, true] {
                let bytes = packet(is_ip6, TcpHeader::new(4711, 80, 1000, 77, flags), data);
                let mut out = [0; MAX_RESET_BYTES];
                let reset = Segment::parse(&bytes).unwrap().write_reset(&mut out).unwrap();
                let answer = Segment::parse(reset).unwrap();
                let tcp = answer.tcp;
                assert_eq!((tcp.sequence(), tcp.acknowledgement(), tcp.flags()), expected, "{flags}");
                assert_eq!((tcp.source_port(), tcp.destination_port(), tcp.window()), (80, 4711, 0));
                let asked = Segment::parse(&bytes).unwrap();
                assert_eq!((answer.source, answer.destination), (asked.destination, asked.source));
                let (ip_length, pseudo) = if is_ip6 {
                    let ip = Ip6Header::check(reset, reset.len()).unwrap();
                    (40, ip.pseudo_header(IpProtocol::TCP, 20))
                } else {
                    (20, Ip4Header::check(reset, reset.len()).unwrap().pseudo_header(20))
                };
                assert!(TcpHeader::is_checksum_valid(pseudo, &reset[ip_length..]));
            }
        }
    }

    #[test]
    fn sequence_numbers_wrap() {
        let bytes = packet(false, TcpHeader::new(1, 2, u32::MAX, 0, TcpFlags::SYN), 1);
        assert_eq!(Segment::parse(&bytes).unwrap().reset().acknowledgement(), 1);
    }

    #[test]
    fn nothing_is_made_of_what_is_cut_short() {
        for is_ip6 in [false, true] {
            let bytes = packet(is_ip6, TcpHeader::new(1, 2, 3, 4, TcpFlags::SYN), 0);
            for length in 0..bytes.len() {
                assert_eq!(Segment::parse(&bytes[..length]), None, "{length}");
            }
        }
        let mut long_header = packet(false, TcpHeader::new(1, 2, 3, 4, TcpFlags::SYN), 0);
        long_header[32] = 0xf0;
        assert_eq!(Segment::parse(&long_header), None, "the options reach beyond the packet");
    }
}
