//! `acl-ip4-in`, `acl-ip4-out`, `acl-ip6-in`, `acl-ip6-out`: packets that are routed, judged a frame at a time.
//!
//! A frame whose packets are of one interface, as most are, goes the short way: see [`Lanes`]. What that leaves open, and
//! traced frames, are judged packet by packet.

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{EtherType, EthernetHeader};
use raddle_plugin_api::{InterfaceIndex, L4Ports};

use crate::acl::{Acl, acl};
use crate::compile::{WORDS4, WORDS6};
use crate::direction::Direction;
use crate::family::{Family, Ip4, Ip6};
use crate::judge::{Judge, Judgement, Subject, flow_look};
use crate::lanes::{Lanes, Scope, view};
use crate::log::{LogLimit, LogLine};
use crate::node_aging::LOOK_NS;
use crate::policy::Attachments;
use crate::trace::{AclTrace, FlowText};
use crate::verdict::AclError;

/// A version of IP, and which way its packets go.
pub trait Role<const W: usize>: Family<W> {
    /// Name of the node for packets that came in.
    const IN: &'static str;
    /// Name of the node for packets that leave.
    const OUT: &'static str;
    /// The ethertype.
    const ETHERTYPE: EtherType;
}

impl Role<WORDS4> for Ip4 {
    const IN: &'static str = "acl-ip4-in";
    const OUT: &'static str = "acl-ip4-out";
    const ETHERTYPE: EtherType = EtherType::IP4;
}

impl Role<WORDS6> for Ip6 {
    const IN: &'static str = "acl-ip6-in";
    const OUT: &'static str = "acl-ip6-out";
    const ETHERTYPE: EtherType = EtherType::IP6;
}

node!(AclNode<Ip4, WORDS4, false>);
node!(AclNode<Ip4, WORDS4, true>);
node!(AclNode<Ip6, WORDS6, false>);
node!(AclNode<Ip6, WORDS6, true>);

/// The node.
pub struct AclNode<F: Family<W>, const W: usize, const OUT: bool> {
    acl: Arc<Acl>,
    ports: Field<L4Ports>,
    lanes: Lanes<F, W>,
    log: LogLimit,
}

impl<F: Role<W>, const W: usize, const OUT: bool> Node for AclNode<F, W, OUT>
where
    F::FlowKey: Copy,
{
    const NAME: &'static str = if OUT { F::OUT } else { F::IN };
    type Next = NoNext;
    type Error = AclError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self {
            acl: acl(init)?,
            ports: L4Ports::field(init)?,
            lanes: Lanes::default(),
            log: LogLimit::default(),
        })
    }

    fn process(&mut self, mut vector: Vector<'_, Self>) {
        let Self { acl, ports, lanes, log } = self;
        let worker = vector.worker();
        let attachments = acl.attachments.read(&worker);
        let first = vector.at(0, |packet| view(packet, Self::DIRECTION).1);
        let interface = first.unwrap_or(InterfaceIndex::NONE);
        let attachment = attachments.of(interface).filter(|attachment| OUT || attachment.link.is_none());
        let Some(attachment) = attachment.filter(|_| !vector.is_traced()) else {
            return vector.each(|env, packet| pass_one(acl, attachments, ports, log, env, packet, None));
        };
        let scope = Scope {
            acl,
            worker: &worker,
            interface,
            direction: Self::DIRECTION,
            attachment,
            timeouts: &attachments.timeouts,
            now_ns: worker.now_ns(),
        };
        if lanes.pass(&mut vector, &scope, ports) == 0 {
            return vector.continue_all();
        }
        vector.each_plain(
            #[inline(always)]
            |_, position, _| lanes.outcome(position).verdict(),
            // The lists that the place is of, not those that may have come since.
            |env, position, packet| {
                pass_one(acl, attachments, ports, log, env, packet, lanes.place(position))
            },
        );
    }
}

impl<F: Family<W>, const W: usize, const OUT: bool> AclNode<F, W, OUT> {
    const DIRECTION: Direction = if OUT { Direction::Out } else { Direction::In };
}

/// Judges one packet by what is applied, `attachments`, and sends it where that says. `place` is that of the first rule there that
/// matches it, if it is known.
#[inline(never)]
fn pass_one<F: Role<W>, const W: usize, const OUT: bool>(
    acl: &Acl,
    attachments: &Attachments,
    ports: &Field<L4Ports>,
    log: &mut LogLimit,
    env: &Env<'_, AclNode<F, W, OUT>>,
    packet: &mut Packet<'_>,
    place: Option<u32>,
) -> Verdict<NoNext, AclError>
where
    F::FlowKey: Copy,
{
    let direction = AclNode::<F, W, OUT>::DIRECTION;
    let worker = env.worker();
    let (bytes, interface, length) = view(packet, direction);
    let attachment = attachments.of(interface);
    let read = F::read(bytes, || Some(L4Ports::of(packet, ports)));
    let seen = read.unwrap_or_default();
    let judgement = match attachment {
        None => Judgement::NoLists,
        Some(_) if read.is_err() => Judgement::Malformed,
        Some(attachment) => {
            let look =
                if attachment.stateful { flow_look::<F, W>(acl, bytes, interface, &seen) } else { None };
            let subject = Subject { seen: &seen, interface, direction, bytes: length.into(), place };
            acl.sessions.with(worker, |sessions| {
                let mut judge = Judge::new(acl, &attachments.timeouts, worker, sessions, env.now_ns());
                let judgement = judge.judge::<F, W>(attachment, &subject, look.as_ref());
                if judge.began {
                    // The thread may sleep behind this pass, and has to look at what ends first.
                    worker.wake_at(env.now_ns() + LOOK_NS);
                }
                judgement
            })
        }
    };
    let policy = attachment.and_then(|attachment| attachment.policy(direction));
    let flow = || {
        let words = &seen.key.words;
        FlowText::new(F::addresses(&seen.key), (words[F::META] >> 24) as u8, words[W - 1])
    };
    env.trace(packet, || AclTrace::new(direction, flow(), judgement, policy));
    if !OUT
        && let Some(link) = attachment.and_then(|attachment| attachment.link.as_deref())
        && let Some(mac) = source_mac(packet)
        && let Err(refusal) = link.judge(F::ETHERTYPE, mac, Some(F::addresses(&seen.key)[0]))
    {
        return Verdict::Drop(refusal.into());
    }
    if let Some((place, policy)) = judgement.place().zip(policy)
        && let Some(rule) = policy.rule(place).filter(|rule| rule.log)
    {
        acl.logger.write(log, env.now_ns(), || LogLine {
            action: rule.action.word(),
            list: policy.lists.get(usize::from(rule.list)).map_or_else(String::new, |list| list.name.clone()),
            rule: rule.rule + 1,
            interface,
            direction,
            flow: flow(),
            bytes: length.into(),
        });
    }
    if let Judgement::HandOff(thread) = judgement {
        let Err(refused) = env.hand_off(packet.take(), thread, Verdict::To(env.node())) else {
            // It was taken: this counts for nothing.
            return Verdict::Continue;
        };
        env.send(refused, Verdict::Drop(AclError::Congested));
        return Verdict::Continue;
    }
    judgement.error().map_or(Verdict::Continue, Verdict::Drop)
}

/// The source of the frame that a packet came in, whose header is still in front of it.
pub fn source_mac(packet: &mut Packet<'_>) -> Option<MacAddress> {
    let bytes = packet.prepend(EthernetHeader::LENGTH)?;
    let mac = bytes.get(6..12).and_then(|mac| mac.try_into().ok()).map(MacAddress);
    packet.advance(EthernetHeader::LENGTH);
    mac
}
