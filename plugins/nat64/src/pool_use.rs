//! How much of pool addresses is in use, asked of all threads in portions.

use std::collections::BTreeMap;
use std::sync::Arc;

use raddle_plugin_api::Failure;
use raddle_plugin_api::wire::Ip4Address;

use crate::errand::Errands;
use crate::service::{Nat64, ticks};
use crate::state::PoolUse;

/// Addresses that a thread looks at in one pass.
const ADDRESSES_PER_PASS: usize = 512;

/// The use of all addresses of which ports were ever given out.
///
/// # Errors
/// A thread is not there.
pub async fn pool_use(
    nat: &Arc<Nat64>,
    errands: &Errands,
    threads: u32,
) -> Result<BTreeMap<Ip4Address, PoolUse>, Failure> {
    let mut found = BTreeMap::<Ip4Address, PoolUse>::new();
    for thread in 0..threads {
        let (nat, mut left, mut used) = (nat.clone(), None::<Vec<Ip4Address>>, Vec::new());
        let used: Vec<(Ip4Address, PoolUse)> = errands
            .ask(thread, move |worker, local| {
                let (rules, now) = (nat.rules.read(worker), ticks(worker.now_ns()));
                let left = left.get_or_insert_with(|| local.shard.pool_addresses().collect());
                let part = left.split_off(left.len().saturating_sub(ADDRESSES_PER_PASS));
                let shard = &local.shard;
                used.extend(part.into_iter().map(|address| (address, shard.pool_use(address, rules, now))));
                left.is_empty().then(|| std::mem::take(&mut used))
            })
            .await?;
        for (address, used) in used {
            let sum = found.entry(address).or_default();
            sum.ports.iter_mut().zip(used.ports).for_each(|(sum, ports)| *sum += ports);
            sum.blocks += used.blocks;
            sum.held += used.held;
        }
    }
    Ok(found)
}
