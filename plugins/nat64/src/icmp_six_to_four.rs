//! ICMPv6 errors about packets that went inside (RFC 6146 §3.5, RFC 7915 §5.2, §5.3).

use raddle_plugin_api::Packet;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Ip6Header, Ip6Upper, IpProtocol};

use crate::flow::quoted6;
use crate::hand_off::hand_off;
use crate::node_six_to_four::{Out, SixToFour, Steps, Way};
use crate::reason::Nat64Error;
use crate::service::{Count, Local};
use crate::state::{FoundPrefix, Rules};
use crate::trace::Translation;
use crate::translate::{Ends4, Fragment4, Malformed, Outgoing4, ip4_header, translate_error6};

impl<W: Way> Steps<W> {
    /// An ICMPv6 error about a packet that went inside (RFC 6146 §3.5, RFC 7915 §5.2, §5.3).
    pub(crate) fn error(
        &self,
        env: &Env<'_, SixToFour<W>>,
        packet: &mut Packet<'_>,
        rules: &Rules,
        local: &mut Local<'_, '_>,
        by: (&Ip6Upper, FoundPrefix),
    ) -> Out {
        let (found, prefix) = by;
        if packet.is_gso() || !packet.complete_checksum() {
            return Verdict::Drop(Nat64Error::Malformed);
        }
        let mut bytes = [0; 2048];
        let length = packet.copy_out(0, &mut bytes);
        let Some((ip, _)) = Ip6Header::parse(&bytes) else { return Verdict::Drop(Nat64Error::Malformed) };
        if ip.total_length() > length {
            return Verdict::Drop(Nat64Error::TooLong);
        }
        let message = &bytes[found.offset..ip.total_length()];
        let quoted = message.get(8..).and_then(|quote| quoted6(rules, prefix, quote));
        // The quoted packet's source is whom the error is for.
        let Some((flow, _)) = quoted.filter(|(_, source)| *source == ip.destination()) else {
            return Verdict::Drop(Nat64Error::ErrorQuote);
        };
        let (own, ends) = if let Some(outside) = rules.eam.to4(flow.inside) {
            let ends = Ends4 {
                source: flow.remote,
                destination: outside,
                source_port: flow.remote_port,
                destination_port: flow.inside_port,
            };
            (outside, ends)
        } else {
            let owner = self.nat.owner_of_inside(env.worker(), rules, flow.inside);
            if owner != env.worker().thread_index() {
                return hand_off(&self.nat, env, packet, owner);
            }
            let number = local.shard.find6(local.shard.hash(&flow), &flow);
            let Some(session) = number.and_then(|number| local.shard.session(number)) else {
                return Verdict::Drop(Nat64Error::NoSession);
            };
            let outside = session.flow4();
            let ends = Ends4 {
                source: outside.remote,
                destination: outside.outside,
                source_port: outside.remote_port,
                destination_port: outside.outside_port,
            };
            (outside.outside, ends)
        };
        // RFC 6791: routers inside, which have no address outside, speak by one that the operator has for them, or as the host behind
        // them does; and they may be named.
        let (source, hop) = match rules.eam.to4(ip.source()) {
            Some(mapped) => (mapped, None),
            None if ip.source() == flow.inside => (own, None),
            None => {
                let given = rules.hop_address(local.shard.next_random());
                (given.unwrap_or(own), rules.names_hops.then_some(ip.source()))
            }
        };
        let mut made = [0; 20 + 2048 + 512];
        let translated = match translate_error6(ip, message, &ends, hop, &mut made[20..]) {
            Ok(translated) => translated,
            Err(Malformed::Bytes) => return Verdict::Drop(Nat64Error::ErrorQuote),
            Err(Malformed::Untranslatable) => return Verdict::Drop(Nat64Error::IcmpKind),
        };
        *local.identification = local.identification.wrapping_add(1);
        let header = ip4_header(&Outgoing4 {
            source,
            destination: ends.source,
            protocol: IpProtocol::ICMP4,
            ttl: ip.hop_limit(),
            traffic_class: ip.traffic_class(),
            payload: translated.length,
            fragment: Fragment4::of_whole(20 + translated.length, *local.identification),
        });
        made[..20].copy_from_slice(&header);
        let worker = env.worker();
        let Some(mut held) = worker.allocate_like(packet) else {
            return Verdict::Drop(Nat64Error::NoBuffer);
        };
        let mut view = worker.open(&mut held);
        if !view.append(&made[..20 + translated.length]) {
            return Verdict::Drop(Nat64Error::NoBuffer);
        }
        env.trace(packet, || Translation::of(&view, None));
        let verdict = self.leave(env, &mut view, rules, prefix.tenant);
        env.send(held, verdict);
        worker.free(packet.take());
        self.nat.count(worker, Count::To4, 1);
        // It was taken: this counts for nothing.
        Verdict::Continue
    }
}
