//! `ip4-virtual-reassembly`, `ip6-virtual-reassembly`, `l2-virtual-reassembly`: note protocol and ports on each fragment, for
//! features that read them; the last one of frames that are switched, behind up to two VLAN tags.
//!
//! Features ask for them by reference: [`raddle_plugin_api::Control::hold_feature`]. What they note is
//! [`raddle_plugin_api::L4Ports`].

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use raddle_plugin_api::L4Ports;
use raddle_plugin_api::prelude::*;
use serde::Serialize;

use super::fragment::{Fragment, Look};
use super::full::Arrival;
use super::reason::ReassemblyError;
use super::service::{Family, Kind, Reassembly};
use super::shallow::Passed;
use super::shard::Lost;
use super::virtual_role::{Virtual4, Virtual6, VirtualL2, VirtualRole};

node!(VirtualReassemblyNode<Virtual4>);
node!(VirtualReassemblyNode<Virtual6>);
node!(VirtualReassemblyNode<VirtualL2>);

feature! {
    "ip4-virtual-reassembly", node: VirtualReassemblyNode<Virtual4>, arc: "ip4-unicast",
    runs_after: ["ip4-reassembly"],
}
feature! {
    "ip6-virtual-reassembly", node: VirtualReassemblyNode<Virtual6>, arc: "ip6-unicast",
    runs_after: ["ip6-reassembly"],
}
feature! { "l2-virtual-reassembly", node: VirtualReassemblyNode<VirtualL2>, arc: "l2-input" }

/// The node.
pub struct VirtualReassemblyNode<R> {
    reassembly: Arc<Reassembly>,
    ports: Field<L4Ports>,
    lost: Lost<HeldPacket>,
    released: Vec<HeldPacket>,
    role: PhantomData<fn() -> R>,
}

/// What a fragment was, and what it did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    identification: u32,
    start: u32,
    end: u32,
    protocol: String,
    ports: Option<(u16, u16)>,
    outcome: &'static str,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identification, start, end, protocol, ports, outcome } = self;
        write!(f, "fragment of {identification:#x}, bytes {start} to {end}, {protocol}")?;
        if let Some((source, destination)) = ports {
            write!(f, " {source} > {destination}")?;
        }
        write!(f, ": {outcome}")
    }
}

impl<R: VirtualRole> Node for VirtualReassemblyNode<R> {
    const NAME: &'static str = R::NAME;
    type Next = NoNext;
    type Error = ReassemblyError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self {
            reassembly: init.resource()?,
            ports: L4Ports::field(init)?,
            lost: Vec::new(),
            released: Vec::new(),
            role: PhantomData,
        })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let Some(found) = R::look(packet) else { return Verdict::Continue };
            match found.look {
                Look::Whole => Verdict::Continue,
                Look::Fragment(fragment) => self.pass(env, packet, &fragment, (found.family, found.ip_at)),
                Look::Drop(why) => Verdict::Drop(why),
                // It is for its destination to tell the sender.
                Look::Tell(_) => Verdict::Drop(ReassemblyError::Malformed),
            }
        });
    }
}

impl<R: VirtualRole> VirtualReassemblyNode<R> {
    #[cold]
    fn pass(
        &mut self,
        env: &Env<'_, Self>,
        packet: &mut Packet<'_>,
        fragment: &Fragment,
        (family, ip_at): (Family, usize),
    ) -> Verdict<NoNext, ReassemblyError> {
        let ports = (fragment.start == 0).then(|| {
            let header = packet.bytes().get(ip_at + usize::from(fragment.upper_at)..).unwrap_or_default();
            L4Ports::of_first(fragment.protocol, header)
        });
        // Neither the record nor the packet outlive the fragment's being kept.
        let record = |outcome, known: Option<L4Ports>| Record {
            identification: fragment.key.identification,
            start: fragment.start,
            end: fragment.end,
            protocol: known.map_or(fragment.protocol, |ports| ports.protocol()).to_string(),
            ports: known.and_then(|ports| ports.ports()),
            outcome,
        };
        let arrival = Arrival {
            fragment,
            interface: packet.rx_interface(),
            buffers: packet.segments().count(),
            now_ns: env.now_ns(),
        };
        let passed = {
            let mut shard = self.reassembly.table(family, Kind::Virtual).shard(&fragment.key);
            shard.set_pool(env.worker().buffer_count());
            let take = || {
                env.trace(packet, || record("kept until the first fragment comes", None));
                packet.take()
            };
            shard.pass(&arrival, ports, take, &mut self.released, &mut self.lost)
        };
        for (held, why) in self.lost.drain(..) {
            env.send(held, Verdict::Drop(why));
        }
        match passed {
            Passed::On(ports) => {
                let own = if fragment.start == 0 { ports } else { ports.of_later() };
                packet.set_field(&self.ports, own);
                env.trace(packet, || record("passes", Some(own)));
                if !self.released.is_empty() {
                    // The first goes first.
                    env.send(packet.take(), Verdict::Continue);
                }
                for mut held in self.released.drain(..) {
                    env.worker().open(&mut held).set_field(&self.ports, ports.of_later());
                    env.send(held, Verdict::Continue);
                }
                Verdict::Continue
            }
            // It was taken: this counts for nothing.
            Passed::Kept => Verdict::Continue,
            Passed::Refused(why) => Verdict::Drop(why),
        }
    }
}
