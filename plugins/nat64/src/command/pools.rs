//! `show nat64 pools`.

use std::collections::BTreeMap;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip4Address;
use serde::Serialize;

use super::Threads;
use crate::state::PoolUse;

/// Of larger ranges only addresses that are in use are listed.
const LARGE: u64 = 256;
/// Addresses that a thread looks at in one pass.
const ADDRESSES_PER_PASS: usize = 512;

command! { "show nat64 pools", "shows pool addresses and how many of their ports are in use", async show }

/// A pool address.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PoolRow {
    address: String,
    tcp: u32,
    udp: u32,
    icmp: u32,
    blocks: u32,
    in_pool: bool,
    /// Whether the address is raddle's own, too.
    is_shared: bool,
    tenant: Option<String>,
}

fn show(
    control: &mut Control<'_>,
    _: NoArguments,
) -> Result<impl Future<Output = Result<Vec<PoolRow>, Failure>> + use<>, Failure> {
    let threads = Threads::of(control)?;
    let rules = threads.nat.rules.get(control).clone();
    Ok(async move {
        let mut found = BTreeMap::<Ip4Address, PoolUse>::new();
        for range in
            rules.tenants.iter().flat_map(|tenant| &tenant.pool).filter(|range| range.count() <= LARGE)
        {
            for bits in range.first.to_bits()..=range.last.to_bits() {
                found.entry(Ip4Address::from_bits(bits)).or_default();
            }
        }
        for thread in 0..threads.count {
            let (mut left, mut used) = (None::<Vec<Ip4Address>>, Vec::new());
            let used: Vec<(Ip4Address, PoolUse)> = threads
                .errands
                .ask(thread, move |_, local| {
                    let left = left.get_or_insert_with(|| local.shard.pool_addresses().collect());
                    let part = left.split_off(left.len().saturating_sub(ADDRESSES_PER_PASS));
                    let shard = &local.shard;
                    used.extend(part.into_iter().map(|address| (address, shard.pool_use(address))));
                    left.is_empty().then(|| std::mem::take(&mut used))
                })
                .await?;
            for (address, used) in used {
                let sum = found.entry(address).or_default();
                sum.ports.iter_mut().zip(used.ports).for_each(|(sum, ports)| *sum += ports);
                sum.blocks += used.blocks;
            }
        }
        let row = |(address, used): (Ip4Address, PoolUse)| {
            let tenant = rules.tenants.iter().find(|tenant| tenant.has(address));
            PoolRow {
                address: address.to_string(),
                tcp: used.ports[0],
                udp: used.ports[1],
                icmp: used.ports[2],
                blocks: used.blocks,
                in_pool: tenant.is_some(),
                is_shared: rules.is_shared(address),
                tenant: tenant.map(|tenant| tenant.name.clone()).filter(|name| !name.is_empty()),
            }
        };
        Ok(found.into_iter().map(row).collect())
    })
}
