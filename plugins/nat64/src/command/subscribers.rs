//! `show nat64 subscribers`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use raddle_plugin_api::prelude::*;
use serde::Serialize;

use super::Threads;
use super::filter::Wanted;
use crate::errand::Walk;

command! {
    "show nat64 subscribers [tenant <tenant:word>] [inside <inside:word>] [count <count:u32>]",
    "shows subscribers, those with most sessions first; 100 unless a count is given",
    async show
}

/// A subscriber. Those with more are greater.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SubscriberRow {
    sessions: u32,
    bindings: u32,
    blocks: u32,
    address: String,
    outside: String,
    thread: u32,
    tenant: Option<String>,
}

fn show(
    control: &mut Control<'_>,
    wanted: Wanted,
) -> Result<impl Future<Output = Result<Vec<SubscriberRow>, Failure>> + use<>, Failure> {
    let threads = Threads::of(control)?;
    let rules = threads.nat.rules.get(control);
    let filter = wanted.filter(rules)?;
    let inside = filter.inside.map(|inside| rules.subscriber_of(inside));
    let names: Vec<String> = rules.tenants.iter().map(|tenant| tenant.name.clone()).collect();
    Ok(async move {
        let mut rows = Vec::new();
        for thread in 0..threads.count {
            // The least of those kept is on top, to give way to a greater one. Numbers stand for their subscribers.
            let (mut walk, mut most) = (Walk::default(), BinaryHeap::new());
            let found: Vec<_> = threads
                .errands
                .ask(thread, move |_, local| {
                    let page = local.shard.subscriber_page(walk.portion(local.shard.subscriber_numbers()));
                    let page = page.filter(|subscriber| {
                        filter.takes_tenant(subscriber.tenant)
                            && inside.is_none_or(|wanted| wanted == subscriber.address)
                    });
                    for subscriber in page {
                        most.push(Reverse((
                            subscriber.sessions,
                            subscriber.bindings,
                            subscriber.blocks,
                            subscriber.address.to_bits(),
                            subscriber.outside.to_bits(),
                            subscriber.tenant,
                        )));
                        if most.len() > filter.count {
                            most.pop();
                        }
                    }
                    walk.is_over().then(|| std::mem::take(&mut most).into_vec())
                })
                .await?;
            rows.extend(found.into_iter().map(
                |Reverse((sessions, bindings, blocks, address, outside, tenant))| SubscriberRow {
                    sessions,
                    bindings,
                    blocks,
                    address: raddle_plugin_api::wire::Ip6Address::from_bits(address).to_string(),
                    outside: raddle_plugin_api::wire::Ip4Address::from_bits(outside).to_string(),
                    thread,
                    tenant: names.get(usize::from(tenant)).filter(|name| !name.is_empty()).cloned(),
                },
            ));
        }
        rows.sort_unstable_by(|one, other| other.cmp(one));
        rows.truncate(filter.count);
        Ok(rows)
    })
}
