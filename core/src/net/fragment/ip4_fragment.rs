//! `ip4-fragment`: cuts packets that are larger than the MTU of their adjacency, and may be cut (RFC 791, RFC 1812 §5.2.7.2).
//!
//! Packets come from `ip4-rewrite` as they came there, and their fragments go back to it: hop, header and the features on
//! the way out are each fragment's own. A GSO packet is cut into its segments first, and those into fragments.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::L4Ports;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip4Header;
use serde::Serialize;

use super::ip4_plan::{Ip4FragmentRefusal, Ip4Fragments};
use crate::net::forwarding::ForwardingTables;
use crate::net::offload::{Checksums, SegmentRefusal, part, segment, whole};

next! {
    /// Where fragments go.
    pub enum Ip4FragmentNext { Rewrite => "ip4-rewrite" }
}

error! {
    /// Why packets are not cut.
    pub enum Ip4FragmentError {
        Malformed => "malformed": "header or options are not as they should be",
        MtuTooSmall => "mtu-too-small": "not even eight bytes fit behind the header",
        BeyondPacket => "beyond-packet": "a fragment that ends where no IPv4 packet reaches",
        Checksum => "checksum-beyond": "the checksum to be filled in lies outside of the packet",
        Segments => "bad-segments": "a GSO packet whose headers contradict what it is said to be",
        NoBuffer => "no-buffer": "no buffers left for the fragments",
    }
}

/// The node.
pub struct Ip4Fragment {
    tables: Arc<ForwardingTables>,
    ports: Field<L4Ports>,
    segments: Vec<HeldPacket>,
    fragments: Vec<HeldPacket>,
}

/// How a packet was cut.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    length: usize,
    mtu: usize,
    fragments: usize,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { length, mtu, fragments } = self;
        write!(f, "{length} bytes in {fragments} fragments, mtu {mtu}")
    }
}

impl From<Ip4FragmentRefusal> for Ip4FragmentError {
    fn from(refusal: Ip4FragmentRefusal) -> Self {
        match refusal {
            Ip4FragmentRefusal::Malformed => Self::Malformed,
            Ip4FragmentRefusal::MtuTooSmall => Self::MtuTooSmall,
            Ip4FragmentRefusal::BeyondPacket => Self::BeyondPacket,
        }
    }
}

impl From<SegmentRefusal> for Ip4FragmentError {
    fn from(refusal: SegmentRefusal) -> Self {
        match refusal {
            SegmentRefusal::NoBuffer => Self::NoBuffer,
            _ => Self::Segments,
        }
    }
}

impl Node for Ip4Fragment {
    const NAME: &'static str = "ip4-fragment";
    type Next = Ip4FragmentNext;
    type Error = Ip4FragmentError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self {
            tables: init.resource()?,
            ports: L4Ports::field(init)?,
            segments: Vec::new(),
            fragments: Vec::new(),
        })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let mtu = self.tables.adjacencies.get(packet.adjacency()).mtu();
            let outcome = self.cut_whole(env.worker(), packet, mtu);
            self.segments.drain(..).for_each(|held| env.worker().free(held));
            if let Err(error) = outcome {
                self.fragments.drain(..).for_each(|held| env.worker().free(held));
                return Verdict::Drop(error);
            }
            let fragments = self.fragments.len();
            env.trace(packet, || Record { length: packet.len(), mtu, fragments });
            // What was a fragment before has had this noted already.
            let noted = ports_of_whole(packet);
            for (at, mut held) in self.fragments.drain(..).enumerate() {
                if let Some(first) = noted {
                    let own = if at == 0 { first } else { first.of_later() };
                    env.worker().open(&mut held).set_field(&self.ports, own);
                }
                env.send(held, Verdict::Next(Ip4FragmentNext::Rewrite));
            }
            env.worker().free(packet.take());
            Verdict::Next(Ip4FragmentNext::Rewrite)
        });
    }
}

node!(Ip4Fragment);

/// What features on the way out are to know of each fragment of a packet that comes whole.
fn ports_of_whole(packet: &Packet<'_>) -> Option<L4Ports> {
    let (header, _) = Ip4Header::parse(packet.bytes()).filter(|(header, _)| !header.is_fragment())?;
    let behind = packet.bytes().get(header.header_length()..).unwrap_or_default();
    Some(L4Ports::of_first(header.protocol(), behind))
}

impl Ip4Fragment {
    /// Cuts the packet, whose first byte is that of its IPv4 header, into `self.fragments`. After an error some may be there.
    fn cut_whole(
        &mut self,
        worker: &Worker<'_>,
        packet: &mut Packet<'_>,
        mtu: usize,
    ) -> Result<(), Ip4FragmentError> {
        if packet.is_gso() {
            segment(worker, packet, 0, Checksums::Complete, &mut self.segments)?;
            for held in &mut self.segments {
                cut(worker, &worker.open(held), mtu, &mut self.fragments)?;
            }
            return Ok(());
        }
        // A checksum that is left to the device would be filled in over a fragment.
        if packet.has_offload() && packet.is_shared() {
            self.segments.push(whole(worker, packet).ok_or(Ip4FragmentError::NoBuffer)?);
            // It was just pushed.
            let Some(held) = self.segments.last_mut() else { return Err(Ip4FragmentError::NoBuffer) };
            let mut copy = worker.open(held);
            if !copy.complete_checksum() {
                return Err(Ip4FragmentError::Checksum);
            }
            return cut(worker, &copy, mtu, &mut self.fragments);
        }
        if !packet.complete_checksum() {
            return Err(Ip4FragmentError::Checksum);
        }
        cut(worker, packet, mtu, &mut self.fragments)
    }
}

fn cut(
    worker: &Worker<'_>,
    packet: &Packet<'_>,
    mtu: usize,
    into: &mut Vec<HeldPacket>,
) -> Result<(), Ip4FragmentError> {
    let fragments = Ip4Fragments::new(packet.bytes(), mtu)?;
    let mut reader = packet.reader();
    let mut at = 0;
    for (header, payload) in fragments {
        if !reader.skip(payload.start - at) {
            return Err(Ip4FragmentError::Malformed);
        }
        let held = part(worker, packet, header.bytes(), &mut reader, payload.len());
        into.push(held.ok_or(Ip4FragmentError::NoBuffer)?);
        at = payload.end;
    }
    Ok(())
}
