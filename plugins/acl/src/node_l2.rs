//! `acl-l2-in`, `acl-l2-out`: frames that are switched, by cross-connect or bridge, judged by what they carry.

use std::sync::Arc;

use raddle_plugin_api::abi::BUFFER_DATA_BYTES;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::EtherType;
use raddle_plugin_api::{InterfaceIndex, L4Ports};

use crate::acl::{Acl, acl};
use crate::direction::Direction;
use crate::family::{Family, Ip4, Ip6};
use crate::frame::FrameLook;
use crate::judge::{Judge, Judgement, Subject, flow_look};
use crate::log::{LogLimit, LogLine};
use crate::node_aging::LOOK_NS;
use crate::policy::Attachment;
use crate::session::Timeouts;
use crate::trace::{AclTrace, FlowText};
use crate::verdict::AclError;

node!(AclL2<false>);
node!(AclL2<true>);

/// The node.
pub struct AclL2<const OUT: bool> {
    acl: Arc<Acl>,
    ports: Field<L4Ports>,
    log: LogLimit,
}

type L2Verdict = Verdict<NoNext, AclError>;

impl<const OUT: bool> Node for AclL2<OUT> {
    const NAME: &'static str = if OUT { "acl-l2-out" } else { "acl-l2-in" };
    type Next = NoNext;
    type Error = AclError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        const { assert!(BUFFER_DATA_BYTES > 256, "headers are in a packet's first buffer") };
        Ok(Self { acl: acl(init)?, ports: L4Ports::field(init)?, log: LogLimit::default() })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| self.pass(env, packet));
    }
}

impl<const OUT: bool> AclL2<OUT> {
    const DIRECTION: Direction = if OUT { Direction::Out } else { Direction::In };

    fn pass(&mut self, env: &Env<'_, Self>, packet: &mut Packet<'_>) -> L2Verdict {
        let interface = if OUT { packet.tx_interface() } else { packet.rx_interface() };
        // What a routed interface sends was judged as a packet.
        if OUT && !env.worker().interface(interface).is_some_and(|row| row.is_switched()) {
            return Verdict::Continue;
        }
        let acl = Arc::clone(&self.acl);
        let attachments = acl.attachments.read(env.worker());
        let Some(attachment) = attachments.of(interface) else { return Verdict::Continue };
        let scope = (attachment, &attachments.timeouts);
        let Some(frame) = FrameLook::of(packet.bytes()) else { return Verdict::Drop(AclError::Malformed) };
        if !OUT
            && let Some(link) = &attachment.link
            && let Err(refusal) = link.judge(frame.ethertype, frame.source, frame.address(packet.bytes()))
        {
            return Verdict::Drop(refusal.into());
        }
        match frame.ethertype {
            EtherType::IP4 => self.judge::<Ip4, _>(env, packet, scope, interface, frame),
            EtherType::IP6 => self.judge::<Ip6, _>(env, packet, scope, interface, frame),
            // The white list of ethertypes is for all others.
            _ => Verdict::Continue,
        }
    }

    fn judge<F: Family<W>, const W: usize>(
        &mut self,
        env: &Env<'_, Self>,
        packet: &mut Packet<'_>,
        (attachment, timeouts): (&Attachment, &Timeouts),
        interface: InterfaceIndex,
        frame: FrameLook,
    ) -> L2Verdict {
        if attachment.policy(Self::DIRECTION).is_none() && !attachment.stateful {
            return Verdict::Continue;
        }
        let (acl, now_ns) = (Arc::clone(&self.acl), env.now_ns());
        let bytes = packet.bytes().get(frame.payload_at..).unwrap_or_default();
        // `l2-virtual-reassembly` has noted it; of what was routed, the nodes there.
        let noted = || Some(L4Ports::of(packet, &self.ports));
        let Ok(seen) = F::read(bytes, noted) else { return Verdict::Drop(AclError::Malformed) };
        let look = if attachment.stateful { flow_look::<F, W>(&acl, bytes, interface, &seen) } else { None };
        let length = (packet.len() - frame.payload_at.min(packet.len())) as u64;
        let subject =
            Subject { seen: &seen, interface, direction: Self::DIRECTION, bytes: length, place: None };
        let judgement = acl.sessions.with(env.worker(), |sessions| {
            let mut judge = Judge::new(&acl, timeouts, env.worker(), sessions, now_ns);
            let judgement = judge.judge::<F, W>(attachment, &subject, look.as_ref());
            if judge.began {
                env.worker().wake_at(now_ns + LOOK_NS);
            }
            judgement
        });
        let policy = attachment.policy(Self::DIRECTION);
        let flow = || {
            let words = &seen.key.words;
            FlowText::new(F::addresses(&seen.key), (words[F::META] >> 24) as u8, words[W - 1])
        };
        env.trace(packet, || AclTrace::new(Self::DIRECTION, flow(), judgement, policy));
        if let Some((place, policy)) = judgement.place().zip(policy)
            && let Some(rule) = policy.rule(place).filter(|rule| rule.log)
        {
            acl.logger.write(&mut self.log, now_ns, || LogLine {
                action: rule.action.word(),
                list: policy
                    .lists
                    .get(usize::from(rule.list))
                    .map_or_else(String::new, |list| list.name.clone()),
                rule: rule.rule + 1,
                interface,
                direction: Self::DIRECTION,
                flow: flow(),
                bytes: length,
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
}
