//! `ip6-urpf`: drops IPv6 packets whose source the interface's policy does not believe.

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip6Header;

use super::check::{Record, UrpfError, judge};
use crate::net::forwarding::ForwardingTables;
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::port_policy::PortPolicies;
use crate::net::table_cache::TableCache;

next! {
    /// Where packets go that are not believed, if their senders are to be told.
    pub enum Ip6UrpfNext { IcmpError => "ip6-icmp-error" }
}

/// The node.
pub struct Ip6Urpf {
    steps: Steps,
    cache: TableCache<u128>,
}

struct Steps {
    tables: Arc<ForwardingTables>,
    policies: Arc<PortPolicies>,
    icmp: Field<IcmpRequest>,
}

impl Node for Ip6Urpf {
    const NAME: &'static str = "ip6-urpf";
    type Next = Ip6UrpfNext;
    type Error = UrpfError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let steps = Steps { tables: init.resource()?, policies: init.resource()?, icmp: icmp_field(init)? };
        Ok(Self { steps, cache: TableCache::default() })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let Self { steps, cache } = self;
        cache.renew(&steps.tables.ip6, vector.env().worker());
        vector.each(|env, packet| steps.check(env, packet, cache));
    }
}

node!(Ip6Urpf);
feature! { "ip6-urpf", node: Ip6Urpf, arc: "ip6-unicast", runs_after: ["ip6-martians"] }

impl Steps {
    fn check(
        &self,
        env: &Env<'_, Ip6Urpf>,
        packet: &mut Packet<'_>,
        cache: &TableCache<u128>,
    ) -> Verdict<Ip6UrpfNext, UrpfError> {
        let Some((header, _)) = Ip6Header::parse(packet.bytes()) else {
            return Verdict::Drop(UrpfError::Truncated);
        };
        let (source, interface) = (header.source(), packet.rx_interface());
        // On the link itself there is no other way; beyond it such a packet does not get (RFC 4291 §2.5.6).
        if source.is_link_local() {
            return Verdict::Continue;
        }
        let policy = self.policies.word(interface);
        let (fib, bits) = (packet.fib_index(), source.to_bits());
        let leaf = if policy.urpf_allow_default() {
            cache.lookup(fib, bits)
        } else {
            cache.lookup_specific(fib, bits)
        };
        let mode = policy.ip6_urpf();
        let judged = judge(&self.tables, cache, bits, mode, interface, leaf);
        env.trace(packet, || Record { source: source.to_string(), mode, believed: judged.is_ok() });
        match judged {
            Ok(()) => Verdict::Continue,
            Err(_) if policy.urpf_notify() => {
                packet.set_field(&self.icmp, IcmpRequest::IP6_SOURCE_POLICY);
                Verdict::Next(Ip6UrpfNext::IcmpError)
            }
            Err(error) => Verdict::Drop(error),
        }
    }
}
