//! `ip4-urpf`: drops IPv4 packets whose source the interface's policy does not believe.

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip4Header;

use super::check::{Record, UrpfError, judge};
use crate::net::forwarding::ForwardingTables;
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::port_policy::PortPolicies;
use crate::net::table_cache::TableCache;

next! {
    /// Where packets go that are not believed, if their senders are to be told.
    pub enum Ip4UrpfNext { IcmpError => "ip4-icmp-error" }
}

/// The node.
pub struct Ip4Urpf {
    steps: Steps,
    cache: TableCache<u32>,
}

struct Steps {
    tables: Arc<ForwardingTables>,
    policies: Arc<PortPolicies>,
    icmp: Field<IcmpRequest>,
}

impl Node for Ip4Urpf {
    const NAME: &'static str = "ip4-urpf";
    type Next = Ip4UrpfNext;
    type Error = UrpfError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let steps = Steps { tables: init.resource()?, policies: init.resource()?, icmp: icmp_field(init)? };
        Ok(Self { steps, cache: TableCache::default() })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let Self { steps, cache } = self;
        cache.renew(&steps.tables.ip4, vector.env().worker());
        vector.each(|env, packet| steps.check(env, packet, cache));
    }
}

node!(Ip4Urpf);
feature! { "ip4-urpf", node: Ip4Urpf, arc: "ip4-unicast", runs_after: ["ip4-martians"] }

impl Steps {
    fn check(
        &self,
        env: &Env<'_, Ip4Urpf>,
        packet: &mut Packet<'_>,
        cache: &TableCache<u32>,
    ) -> Verdict<Ip4UrpfNext, UrpfError> {
        let Some((header, _)) = Ip4Header::parse(packet.bytes()) else {
            return Verdict::Drop(UrpfError::Truncated);
        };
        let (source, interface) = (header.source(), packet.rx_interface());
        let policy = self.policies.word(interface);
        let (fib, bits) = (packet.fib_index(), source.to_bits());
        let leaf = if policy.urpf_allow_default() {
            cache.lookup(fib, bits)
        } else {
            cache.lookup_specific(fib, bits)
        };
        let mode = policy.ip4_urpf();
        let judged = judge(&self.tables, cache, bits, mode, interface, leaf);
        env.trace(packet, || Record { source: source.to_string(), mode, believed: judged.is_ok() });
        match judged {
            Ok(()) => Verdict::Continue,
            Err(_) if policy.urpf_notify() => {
                packet.set_field(&self.icmp, IcmpRequest::IP4_PROHIBITED);
                Verdict::Next(Ip4UrpfNext::IcmpError)
            }
            Err(error) => Verdict::Drop(error),
        }
    }
}
