//! ICMPv4 errors about packets that went outside (RFC 6146 §3.5, RFC 7915 §4.2, §4.3).

use raddle_plugin_api::Packet;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Ip4Header, IpProtocol};

use crate::flow::quoted4;
use crate::hand_off::hand_off;
use crate::node_four_to_six::{FourToSix, Out, Steps};
use crate::node_six_to_four::Way;
use crate::reason::Nat64Error;
use crate::service::{Count, Local};
use crate::state::Rules;
use crate::trace::Translation;
use crate::translate::{Ends6, Malformed, Outgoing6, ip6_header, translate_error4};

impl<W: Way> Steps<W> {
    /// An ICMPv4 error about a packet that went outside (RFC 6146 §3.5, RFC 7915 §4.2, §4.3).
    pub(crate) fn error(
        &self,
        env: &Env<'_, FourToSix<W>>,
        packet: &mut Packet<'_>,
        rules: &Rules,
        local: &mut Local<'_, '_>,
        ip: &Ip4Header,
    ) -> Out {
        if packet.is_gso() || !packet.complete_checksum() {
            return Verdict::Drop(Nat64Error::Malformed);
        }
        let mut bytes = [0; 2048];
        let length = packet.copy_out(0, &mut bytes);
        let total = usize::from(ip.total_length());
        if total > length {
            return Verdict::Drop(Nat64Error::TooLong);
        }
        let message = bytes.get(ip.header_length()..total).unwrap_or_default();
        let quoted = message.get(8..).and_then(quoted4);
        // The quoted packet's source is whom the error is for.
        let Some(flow) = quoted.filter(|flow| flow.outside == ip.destination()) else {
            let is_shared = rules.is_shared(ip.destination());
            return if is_shared { Self::pass_on() } else { Verdict::Drop(Nat64Error::ErrorQuote) };
        };
        let worker = env.worker();
        let (inner, prefix, tenant) = if let Some(inside) = rules.eam.to6(flow.outside) {
            // RFC 7757 §4: as the host inside has addressed it, though it may be mapped itself.
            let Some(remote) = self.as_outsider(rules, flow.remote) else {
                return Verdict::Drop(Nat64Error::NotOurs);
            };
            let ends = Ends6 {
                source: inside,
                destination: remote,
                source_port: flow.outside_port,
                destination_port: flow.remote_port,
            };
            (ends, None, 0)
        } else {
            let owner =
                self.nat.owner_of_outside(worker, rules, flow.outside, flow.outside_port, flow.protocol);
            if owner != worker.thread_index() {
                return hand_off(&self.nat, env, packet, owner);
            }
            let number = local.shard.find4(local.shard.hash(&flow), &flow);
            let Some(session) = number.and_then(|number| local.shard.session(number)) else {
                let is_shared = rules.is_shared(ip.destination());
                return if is_shared { Self::pass_on() } else { Verdict::Drop(Nat64Error::NoSession) };
            };
            if !rules.may_come_in(session.tenant, packet.fib_index()) {
                return Verdict::Drop(Nat64Error::OtherTable);
            }
            let (inside, prefix) = (session.flow6(), rules.prefix(session.prefix));
            let ends = Ends6 {
                source: inside.inside,
                destination: prefix.embed(inside.remote),
                source_port: inside.inside_port,
                destination_port: inside.remote_port,
            };
            (ends, Some(prefix), session.tenant)
        };
        let source = match prefix {
            Some(prefix) => Some(prefix.embed(ip.source())),
            // Who was addressed speaks by the address by which he was; a router may speak by its own.
            None if ip.source() != flow.remote => {
                rules.eam.to6(ip.source()).or_else(|| self.as_outsider(rules, ip.source()))
            }
            None => Some(inner.destination),
        };
        let Some(source) = source else { return Verdict::Drop(Nat64Error::NotOurs) };
        let outer = Ends6 { source, destination: inner.source, source_port: 0, destination_port: 0 };
        let mut made = [0; 40 + 2048 + 64];
        let translated = match translate_error4(message, (&outer, &inner), &mut made[40..]) {
            Ok(translated) => translated,
            Err(Malformed::Bytes) => return Verdict::Drop(Nat64Error::ErrorQuote),
            Err(Malformed::Untranslatable) => return Verdict::Drop(Nat64Error::IcmpKind),
        };
        let header = ip6_header(&Outgoing6 {
            source,
            destination: outer.destination,
            next_header: IpProtocol::ICMP6,
            hop_limit: ip.ttl(),
            traffic_class: ip.traffic_class(),
            payload: translated.length,
        });
        made[..40].copy_from_slice(&header);
        let Some(mut held) = worker.allocate_like(packet) else {
            return Verdict::Drop(Nat64Error::NoBuffer);
        };
        let mut view = worker.open(&mut held);
        if !view.append(&made[..40 + translated.length]) {
            return Verdict::Drop(Nat64Error::NoBuffer);
        }
        env.trace(packet, || Translation::of(&view, None));
        let verdict = Self::leave(env, &mut view, rules, tenant);
        env.send(held, verdict);
        worker.free(packet.take());
        self.nat.count(worker, Count::To6, 1);
        // It was taken: this counts for nothing.
        Verdict::Continue
    }
}
