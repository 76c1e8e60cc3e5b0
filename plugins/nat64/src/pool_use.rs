//! How much of pool addresses is in use, asked of all threads in portions.

use std::collections::BTreeMap;
use std::sync::Arc;

use raddle_plugin_api::Failure;
use raddle_plugin_api::wire::Ip4Address;

use crate::errand::{Errands, Walk};
use crate::service::{Nat64, ticks};
use crate::state::PoolUse;

/// Addresses that a thread looks at in one pass. Of each it touches several lines of memory.
const ADDRESSES_PER_PASS: u32 = 512;

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
        let (nat, mut walk, mut used) = (nat.clone(), Walk::default(), Vec::new());
        let used = errands
            .ask(thread, move |worker, local| {
                let (rules, now) = (nat.rules.read(worker), ticks(worker.now_ns()));
                let numbers = local.shard.pool_numbers();
                // Room for all of them at once: nothing is copied as it grows.
                used.reserve((numbers as usize).saturating_sub(used.len()));
                used.extend(local.shard.pool_page(walk.portion_of(ADDRESSES_PER_PASS, numbers), rules, now));
                walk.is_over().then(|| std::mem::take(&mut used))
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
