//! `ip6-fragment`: cuts packets of our own that are larger than the MTU of their adjacency (RFC 8200 §4.5). Routers on the
//! way do not: others' packets are answered with "packet too big", but those whose fragments were put together here, which
//! leave in fragments as they came.
//!
//! Packets come from `ip6-rewrite` as they came there, and their fragments go back to it.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::L4Ports;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip6Upper;
use serde::Serialize;

use super::identification::{IdentificationKey, Identifications};
use super::ip6_plan::{Ip6FragmentRefusal, Ip6Fragments};
use crate::net::forwarding::ForwardingTables;
use crate::net::offload::part;
use crate::net::reassembly::{Joined, joined_field};

next! {
    /// Where fragments go.
    pub enum Ip6FragmentNext { Rewrite => "ip6-rewrite" }
}

error! {
    /// Why packets are not cut.
    pub enum Ip6FragmentError {
        Malformed => "malformed": "a header is cut short or not in the first buffer",
        AlreadyFragment => "already-fragment": "a fragment, which is not cut once more",
        MtuTooSmall => "mtu-too-small": "not even eight bytes fit behind the headers",
        Offload => "offload": "a packet that a device was to cut up, or whose checksum lies outside of it",
        NoBuffer => "no-buffer": "no buffers left for the fragments",
    }
}

/// The node.
pub struct Ip6Fragment {
    tables: Arc<ForwardingTables>,
    identifications: Identifications,
    joined: Field<Joined>,
    ports: Field<L4Ports>,
    fragments: Vec<HeldPacket>,
}

/// How a packet was cut.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    length: usize,
    mtu: usize,
    fragments: usize,
    identification: u32,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { length, mtu, fragments, identification } = self;
        write!(f, "{length} bytes in {fragments} fragments, mtu {mtu}, id {identification:#x}")
    }
}

impl From<Ip6FragmentRefusal> for Ip6FragmentError {
    fn from(refusal: Ip6FragmentRefusal) -> Self {
        match refusal {
            Ip6FragmentRefusal::Malformed => Self::Malformed,
            Ip6FragmentRefusal::AlreadyFragment => Self::AlreadyFragment,
            Ip6FragmentRefusal::MtuTooSmall => Self::MtuTooSmall,
        }
    }
}

impl Node for Ip6Fragment {
    const NAME: &'static str = "ip6-fragment";
    type Next = Ip6FragmentNext;
    type Error = Ip6FragmentError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let key = init.resource::<IdentificationKey>()?;
        let identifications = Identifications::new(key, init.thread_index());
        Ok(Self {
            tables: init.resource()?,
            identifications,
            joined: joined_field(init)?,
            ports: L4Ports::field(init)?,
            fragments: Vec::new(),
        })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let link = self.tables.adjacencies.get(packet.adjacency()).mtu();
            let (mtu, identification) = self.bound(packet, link);
            if let Err(error) = cut(env.worker(), packet, mtu, identification, &mut self.fragments) {
                self.fragments.drain(..).for_each(|held| env.worker().free(held));
                return Verdict::Drop(error);
            }
            let fragments = self.fragments.len();
            env.trace(packet, || Record { length: packet.len(), mtu, fragments, identification });
            let noted = ports_of_whole(packet);
            for (at, mut held) in self.fragments.drain(..).enumerate() {
                if let Some(first) = noted {
                    let own = if at == 0 { first } else { first.of_later() };
                    env.worker().open(&mut held).set_field(&self.ports, own);
                }
                env.send(held, Verdict::Next(Ip6FragmentNext::Rewrite));
            }
            env.worker().free(packet.take());
            Verdict::Next(Ip6FragmentNext::Rewrite)
        });
    }
}

node!(Ip6Fragment);

/// What features on the way out are to know of each fragment.
fn ports_of_whole(packet: &Packet<'_>) -> Option<L4Ports> {
    let upper = Ip6Upper::find(packet.bytes()).ok()?;
    let behind = packet.bytes().get(upper.offset..).unwrap_or_default();
    Some(L4Ports::of_first(upper.protocol, behind))
}

impl Ip6Fragment {
    /// How large the packet's fragments may be on a link with this MTU, and their identification.
    fn bound(&mut self, packet: &Packet<'_>, mtu: usize) -> (usize, u32) {
        let joined = packet.field(&self.joined);
        let bound = joined.bound(packet.len(), mtu).filter(|_| packet.is_reassembled() && !packet.is_local());
        match bound {
            Some(largest) => (largest, joined.identification),
            None => (mtu, self.identifications.take()),
        }
    }
}

/// Cuts the packet, whose first byte is that of its IPv6 header. After an error some fragments may be there.
fn cut(
    worker: &Worker<'_>,
    packet: &mut Packet<'_>,
    mtu: usize,
    identification: u32,
    into: &mut Vec<HeldPacket>,
) -> Result<(), Ip6FragmentError> {
    // What is made or put together here is nobody else's, and no GSO packet.
    if packet.is_gso() || packet.is_shared() || !packet.complete_checksum() {
        return Err(Ip6FragmentError::Offload);
    }
    let fragments = Ip6Fragments::new(packet.bytes(), mtu, identification)?;
    let mut reader = packet.reader();
    let mut at = 0;
    for (headers, payload) in fragments {
        if !reader.skip(payload.start - at) {
            return Err(Ip6FragmentError::Malformed);
        }
        let held = part(worker, packet, &headers, &mut reader, payload.len());
        into.push(held.ok_or(Ip6FragmentError::NoBuffer)?);
        at = payload.end;
    }
    Ok(())
}
