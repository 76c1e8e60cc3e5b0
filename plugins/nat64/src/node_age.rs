//! `nat64-age`: ends sessions whose time is over, and answers SYNs that nobody wanted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use raddle_plugin_api::icmp_error::{IcmpRequest, icmp_field};
use raddle_plugin_api::prelude::*;

use crate::service::{Nat64, TICK_NS, ticks};

/// Sessions that end in one pass of the loop at most: so packets never wait for long.
const ENDED_PER_PASS: usize = 64;

next! {
    /// Where SYNs go whose time is over.
    pub enum AgeNext { IcmpError => "ip4-icmp-error" }
}

/// The node.
pub struct Age {
    nat: Arc<Nat64>,
    icmp: Field<IcmpRequest>,
}

impl InputNode for Age {
    const NAME: &'static str = "nat64-age";
    type Next = AgeNext;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { nat: init.resource()?, icmp: icmp_field(init)? })
    }

    fn poll(&mut self, output: &mut Output<'_, AgeNext>) {
        if !self.nat.is_used.load(Ordering::Relaxed) {
            return;
        }
        let now_ns = output.worker().now_ns();
        let now = ticks(now_ns);
        let mut unwanted = Vec::new();
        let worker = output.worker();
        let nat = &self.nat;
        let rules = nat.rules.read(worker);
        nat.with(worker, |local| {
            if !*local.is_told {
                *local.is_told = true;
                nat.tell_all(worker, local.shard);
            }
            let mut ended = 0;
            while ended < ENDED_PER_PASS
                && let Some(over) = local.shard.expire(rules, now)
            {
                ended += 1;
                nat.ended(worker, local, &over);
            }
            while let Some(mut syn) = local.held.expire(now) {
                // RFC 6146 §3.5.2.2: port unreachable.
                worker.open(&mut syn).set_field(&self.icmp, IcmpRequest::IP4_PORT_UNREACHABLE);
                unwanted.push(syn);
            }
            let next = [local.shard.next_expiry(), local.held.next_expiry()].into_iter().flatten().min();
            if let Some(next) = next {
                worker.wake_at((u64::from(next) * TICK_NS).max(now_ns + 1));
            }
        });
        for syn in unwanted {
            output.send(syn, AgeNext::IcmpError);
        }
    }
}

input_node!(Age);
