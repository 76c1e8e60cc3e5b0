//! `ip4-reassembly`, `ip6-reassembly`: put fragments together, for own addresses; and, as features of the arcs `ip4-unicast`
//! and `ip6-unicast`, for features that want whole packets.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use raddle_plugin_api::Next;
use raddle_plugin_api::prelude::*;
use serde::Serialize;

use super::datagram::{Datagram, Piece};
use super::fragment::{Fragment, Look, look4, look6};
use super::full::{Arrival, Incoming, Offered};
use super::join::{is_same_data, join4, join6};
use super::joined::{Joined, joined_field};
use super::key::Scope;
use super::reason::ReassemblyError;
use super::service::{Family, Kind, Reassembly};
use super::shard::Lost;
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::offload::whole;

next! {
    /// Where packets go.
    pub enum Ip4ReassemblyNext {
        Local => "ip4-local",
        IcmpError => "ip4-icmp-error",
    }
}

next! {
    /// Where packets go.
    pub enum Ip6ReassemblyNext {
        Local => "ip6-local",
        IcmpError => "ip6-icmp-error",
    }
}

/// What one of the nodes is.
pub trait Role: Send + 'static {
    /// Name of the node.
    const NAME: &'static str;
    /// Its packets.
    const FAMILY: Family;
    /// For whom it works.
    const SCOPE: Scope;
    /// Where its packets go.
    type Next: Next;
    /// Where whole packets go.
    const WHOLE: Verdict<Self::Next, ReassemblyError>;
    /// Where packets go whose senders are told.
    const TELL: Verdict<Self::Next, ReassemblyError>;
}

macro_rules! role {
    ($(#[$meta:meta])* $role:ident, $name:literal, $family:ident, $scope:ident, $next:ident, $whole:expr) => {
        $(#[$meta])*
        pub struct $role;

        impl Role for $role {
            const NAME: &'static str = $name;
            const FAMILY: Family = Family::$family;
            const SCOPE: Scope = Scope::$scope;
            type Next = $next;
            const WHOLE: Verdict<$next, ReassemblyError> = $whole;
            const TELL: Verdict<$next, ReassemblyError> = Verdict::Next($next::IcmpError);
        }

        node!(ReassemblyNode<$role>);
    };
}

role! {
    /// Of IPv4 fragments for own addresses.
    Local4, "ip4-reassembly", Ip4, Local, Ip4ReassemblyNext, Verdict::Next(Ip4ReassemblyNext::Local)
}
role! {
    /// Of IPv6 fragments for own addresses.
    Local6, "ip6-reassembly", Ip6, Local, Ip6ReassemblyNext, Verdict::Next(Ip6ReassemblyNext::Local)
}
role! {
    /// Of all IPv4 fragments on an interface.
    Feature4, "ip4-reassembly-feature", Ip4, Feature, Ip4ReassemblyNext, Verdict::Continue
}
role! {
    /// Of all IPv6 fragments on an interface.
    Feature6, "ip6-reassembly-feature", Ip6, Feature, Ip6ReassemblyNext, Verdict::Continue
}

feature! { "ip4-reassembly", node: ReassemblyNode<Feature4>, arc: "ip4-unicast" }
feature! { "ip6-reassembly", node: ReassemblyNode<Feature6>, arc: "ip6-unicast" }

/// The node.
pub struct ReassemblyNode<R> {
    reassembly: Arc<Reassembly>,
    icmp: Field<IcmpRequest>,
    joined: Field<Joined>,
    lost: Lost<HeldPacket>,
    role: PhantomData<fn() -> R>,
}

/// What a fragment was, and what it did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Record {
    identification: u32,
    start: u32,
    end: u32,
    last: bool,
    /// Length of the whole datagram, if this was what it still wanted.
    completes: Option<usize>,
}

impl Record {
    pub(super) fn of(fragment: &Fragment, completes: Option<usize>) -> Self {
        let Fragment { key, start, end, last, .. } = *fragment;
        Self { identification: key.identification, start, end, last, completes }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identification, start, end, last, completes } = self;
        write!(f, "fragment of {identification:#x}, bytes {start} to {end}")?;
        if *last {
            f.write_str(", the last")?;
        }
        match completes {
            Some(length) => write!(f, "; completes a packet of {length} bytes"),
            None => Ok(()),
        }
    }
}

impl<R: Role> Node for ReassemblyNode<R> {
    const NAME: &'static str = R::NAME;
    type Next = R::Next;
    type Error = ReassemblyError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self {
            reassembly: init.resource()?,
            icmp: icmp_field(init)?,
            joined: joined_field(init)?,
            lost: Vec::new(),
            role: PhantomData,
        })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let look = match R::FAMILY {
                Family::Ip4 => look4(packet, R::SCOPE),
                Family::Ip6 => look6(packet, R::SCOPE),
            };
            match look {
                Look::Whole => R::WHOLE,
                Look::Fragment(fragment) => self.take_in(env, packet, &fragment),
                Look::Drop(why) => Verdict::Drop(why),
                Look::Tell(request) => {
                    packet.set_field(&self.icmp, request);
                    R::TELL
                }
            }
        });
    }
}

impl<R: Role> ReassemblyNode<R> {
    /// Takes a fragment in; if it completes its datagram, that is sent on.
    #[cold]
    fn take_in(
        &mut self,
        env: &Env<'_, Self>,
        packet: &mut Packet<'_>,
        fragment: &Fragment,
    ) -> Verdict<R::Next, ReassemblyError> {
        let worker = env.worker();
        env.trace(packet, || Record::of(fragment, None));
        packet.truncate(fragment.length as usize);
        // Its headers will be changed, and its buffers linked to others.
        let copy = if packet.is_shared() {
            let Some(copy) = whole(worker, packet) else {
                return Verdict::Drop(ReassemblyError::NoBuffer);
            };
            Some(copy)
        } else {
            None
        };
        let buffers = packet.segments().count();
        let arrival = Arrival { fragment, interface: packet.rx_interface(), buffers, now_ns: env.now_ns() };
        let mut incoming = IncomingPacket { worker, fragment, packet, copy };
        let offered = {
            let mut shard = self.reassembly.table(R::FAMILY, Kind::Full).shard(&fragment.key);
            shard.set_pool(worker.buffer_count());
            shard.offer(&arrival, &mut incoming, &mut self.lost)
        };
        for (held, why) in self.lost.drain(..) {
            env.send(held, Verdict::Drop(why));
        }
        match offered {
            Offered::Kept => {}
            Offered::Complete(datagram) => self.send_whole(env, fragment, datagram),
            Offered::Refused(why) => return Verdict::Drop(why),
        }
        // It was taken: this counts for nothing.
        Verdict::Drop(ReassemblyError::NoBuffer)
    }

    fn send_whole(&self, env: &Env<'_, Self>, fragment: &Fragment, datagram: Datagram<HeldPacket>) {
        let largest = datagram.largest;
        let joined = match R::FAMILY {
            Family::Ip4 => join4(env.worker(), datagram, R::SCOPE),
            Family::Ip6 => join6(env.worker(), datagram, R::SCOPE),
        };
        match joined {
            Ok(mut joined) => {
                let mut packet = env.worker().open(&mut joined);
                if R::FAMILY == Family::Ip6 && R::SCOPE == Scope::Feature {
                    packet.set_reassembled(true);
                    packet.set_field(&self.joined, Joined::new(largest, fragment.key.identification));
                }
                let length = packet.len();
                env.trace(&packet, || Record::of(fragment, Some(length)));
                env.send(joined, R::WHOLE);
            }
            Err((why, packets)) => packets.into_iter().for_each(|held| env.send(held, Verdict::Drop(why))),
        }
    }
}

/// The packet of a fragment, and a copy of it if it shares its buffers with others.
pub(super) struct IncomingPacket<'a, 'p> {
    pub(super) worker: &'a Worker<'a>,
    pub(super) fragment: &'a Fragment,
    pub(super) packet: &'a mut Packet<'p>,
    pub(super) copy: Option<HeldPacket>,
}

impl Incoming<HeldPacket> for IncomingPacket<'_, '_> {
    fn is_same(&mut self, piece: &mut Piece<HeldPacket>) -> bool {
        let (data_at, length) = (piece.data_at, self.fragment.end - self.fragment.start);
        let known = self.worker.open(&mut piece.packet);
        is_same_data((&known, data_at.into()), (self.packet, self.fragment.data_at.into()), length as usize)
    }

    fn take(&mut self) -> HeldPacket {
        let held = self.packet.take();
        let Some(copy) = self.copy.take() else { return held };
        self.worker.free(held);
        copy
    }
}
