//! `ip4-gro` and `ip6-gro`: merge TCP segments that came in one frame into one packet that stands for them (feature `gro`).
//!
//! Worth its while for bulk transfers whose sender or device does not leave segmentation to others: all nodes behind, and
//! the receiver, then see one packet for many. Only what is in one frame is merged: nothing waits.
#![forbid(unsafe_code)]

use std::fmt;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{
    ChecksumOffload, Gso, GsoKind, Ip4Header, Ip6Header, IpProtocol, Offload, TcpFlags, TcpHeader,
};
use serde::Serialize;

use super::gro_rules::{GroSegment, pseudo_header};

/// Connections that are merged at a time in one frame.
const MAX_FLOWS: usize = 16;
/// The largest packet that IP has a length for, in bytes.
const MAX_PACKET_BYTES: usize = 65_535;

/// The node of a family.
pub struct Gro<const IP6: bool> {
    heads: Vec<Head>,
}

/// `ip4-gro`.
pub type Ip4Gro = Gro<false>;
/// `ip6-gro`.
pub type Ip6Gro = Gro<true>;

/// What was merged so far, and what may follow.
struct Head {
    held: HeldPacket,
    first: GroSegment,
    last: GroSegment,
    payload: usize,
    count: usize,
}

/// What was merged.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    length: usize,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, not merged", self.length)
    }
}

impl<const IP6: bool> Node for Gro<IP6> {
    const NAME: &'static str = if IP6 { "ip6-gro" } else { "ip4-gro" };
    type Next = NoNext;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { heads: Vec::with_capacity(MAX_FLOWS) })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let count = vector.len();
        vector.each_at(|env, position, packet| {
            env.trace(packet, || Record { length: packet.len() });
            // What is taken goes on before what is not: all of TCP is taken, so that no connection loses its order.
            if is_tcp(packet) {
                self.sort_in(env, packet);
            }
            if position + 1 == count {
                self.heads.drain(..).for_each(|head| head.send(env));
            }
            Verdict::Continue
        });
    }
}

node!(Ip4Gro);
node!(Ip6Gro);
feature! { "gro", node: Ip4Gro, arc: "ip4-unicast" }
feature! { "gro", node: Ip6Gro, arc: "ip6-unicast" }

fn is_tcp(packet: &Packet<'_>) -> bool {
    let bytes = packet.bytes();
    let protocol = match bytes.first().map(|first| first >> 4) {
        Some(4) => bytes.get(9),
        Some(6) => bytes.get(6),
        _ => None,
    };
    protocol.is_some_and(|protocol| *protocol == IpProtocol::TCP.0)
}

impl<const IP6: bool> Gro<IP6> {
    fn sort_in(&mut self, env: &Env<'_, Self>, packet: &mut Packet<'_>) {
        let segment = GroSegment::read(packet).filter(|segment| segment.is_checksum_right(packet));
        let Some(segment) = segment else {
            // It may be of any of the connections, and must not overtake what came before it.
            self.heads.drain(..).for_each(|head| head.send(env));
            return env.send(packet.take(), Verdict::Continue);
        };
        let held = packet.take();
        let flow = self.heads.iter().position(|head| head.first.is_same_flow(&segment));
        let held = match flow {
            Some(at) => match self.heads[at].append(env.worker(), held, &segment) {
                Ok(true) => return,
                // Nothing can follow any more.
                Ok(false) => return self.heads.remove(at).send(env),
                Err(held) => {
                    self.heads.remove(at).send(env);
                    held
                }
            },
            None => held,
        };
        let head = Head { held, first: segment, last: segment, payload: segment.payload, count: 1 };
        if segment.push {
            return head.send(env);
        }
        if self.heads.len() == MAX_FLOWS {
            self.heads.remove(0).send(env);
        }
        self.heads.push(head);
    }
}

impl Head {
    /// Puts a segment of the connection behind what there is; says whether another may follow. Gives the packet back if it
    /// does not belong there.
    fn append(
        &mut self,
        worker: &Worker<'_>,
        mut held: HeldPacket,
        segment: &GroSegment,
    ) -> Result<bool, HeldPacket> {
        let payload = self.payload + segment.payload;
        let follows = segment.sequence == self.first.sequence.wrapping_add(self.payload as u32)
            && self.first.has_same_headers(segment)
            && self.last.is_identified_by(segment)
            && segment.payload <= self.first.payload
            && self.first.payload_at + payload <= MAX_PACKET_BYTES;
        if !follows || worker.open(&mut held).is_shared() {
            return Err(held);
        }
        worker.open(&mut held).advance(segment.payload_at);
        if let Err(mut held) = worker.append_packet(&mut worker.open(&mut self.held), held) {
            // The headers are where they were.
            let _ = worker.open(&mut held).prepend(segment.payload_at);
            return Err(held);
        }
        (self.payload, self.last, self.count) = (payload, *segment, self.count + 1);
        Ok(segment.payload == self.first.payload && !segment.push)
    }

    /// Sends what there is: a packet that stands for many, or one alone as it came.
    fn send<const IP6: bool>(self, env: &Env<'_, Gro<IP6>>) {
        let Self { mut held, first, last, payload, count } = self;
        if count > 1 {
            // The headers were read before.
            let finished = finish(&mut env.worker().open(&mut held), &first, &last, payload);
            debug_assert!(finished.is_some());
        }
        env.send(held, Verdict::Continue);
    }
}

/// Makes the headers say what the packet has become: `payload` bytes from `first` to `last`.
fn finish(packet: &mut Packet<'_>, first: &GroSegment, last: &GroSegment, payload: usize) -> Option<()> {
    let GroSegment { transport_at, payload_at, .. } = *first;
    // At most `MAX_PACKET_BYTES`.
    let total = payload_at + payload;
    let kind = if transport_at == Ip4Header::LENGTH {
        Ip4Header::parse_mut(packet.bytes_mut())?.0.set_total_length(total as u16);
        GsoKind::Tcp4
    } else {
        let behind = total - Ip6Header::LENGTH;
        Ip6Header::parse_mut(packet.bytes_mut())?.0.set_payload_length(behind as u16);
        GsoKind::Tcp6
    };
    let pseudo = pseudo_header(packet.bytes())?;
    let (tcp, _) = TcpHeader::parse_mut(packet.bytes_mut().get_mut(transport_at..)?)?;
    if last.push {
        tcp.set_flags(tcp.flags().union(TcpFlags::PSH));
    }
    tcp.set_checksum(pseudo.partial());
    // Both positions are within the headers.
    let checksum = ChecksumOffload { start: transport_at as u16, offset: 16 };
    let gso = Gso { kind, size: first.payload as u16, header_length: payload_at as u16, ecn: false };
    packet.set_offload(&Offload { checksum: Some(checksum), data_valid: false, gso: Some(gso) });
    Some(())
}
