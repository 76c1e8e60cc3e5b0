//! Looks every second whether tables and pools are as full as the operator wants to be told of (RFC 8158 §4.3: threshold reached).
//! Of subscribers threads tell themselves, as they give ports to them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use raddle_plugin_api::config::InRange;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::task::{TaskControl, interval};
use raddle_plugin_api::wire::{Ip4Address, Ip6Address};

use crate::Main;
use crate::config::ThresholdConfig;
use crate::errand::Errands;
use crate::log::{Event, EventKind};
use crate::pool_use::pool_use;
use crate::service::Nat64;
use crate::state::{PoolRange, PoolUse, Protocol, Tenant};

const PERIOD: Duration = Duration::from_secs(1);
/// Whom an event is of that is of nobody in particular.
const NOBODY: Ip6Address = Ip6Address::from_bits(0);

/// A level with marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marked {
    high: u64,
    low: u64,
    is_high: bool,
}

/// The mark that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    High(u64),
    Low(u64),
}

impl Marked {
    /// A level that is low. Without a low mark it is low again an eighth below the high one, so that a level about the mark does not
    /// tell of itself each second; without a high one, one above the low one. `None`: there is no mark.
    fn new(high: Option<u64>, low: Option<u64>) -> Option<Self> {
        let (high, low) = match (high, low) {
            (Some(high), Some(low)) => (high, low),
            (Some(high), None) => (high, high - (high / 8).max(1)),
            (None, Some(low)) => (low + 1, low),
            (None, None) => return None,
        };
        Some(Self { high, low, is_high: false })
    }

    /// The mark that is reached by the level as it is now; it is not reached again until the other one was.
    fn next(&self, level: u64) -> Option<Reached> {
        match self.is_high {
            false if level >= self.high => Some(Reached::High(self.high)),
            true if level <= self.low => Some(Reached::Low(self.low)),
            _ => None,
        }
    }
}

/// The marks of all that is looked at.
struct Watch {
    mappings: Option<Marked>,
    pool: Option<Marked>,
    pools: BTreeMap<usize, Marked>,
    /// Whether the high mark of pools is the operator's, or follows from the low one and is not told of.
    tells_high: bool,
    /// Whether the low mark is.
    tells_low: bool,
}

/// Starts to look, if there are marks.
pub fn start(control: &Control<'_>, thresholds: &ThresholdConfig) {
    let number = |mark: &Option<InRange<1, 67_108_864>>| mark.as_ref().map(|mark| mark.get());
    let low = thresholds.pool_low.as_ref().map(|mark| mark.get());
    let watch = Watch {
        mappings: Marked::new(number(&thresholds.mappings_high), None),
        pool: Marked::new(number(&thresholds.pool_high), low),
        pools: BTreeMap::new(),
        tells_high: thresholds.pool_high.is_some(),
        tells_low: low.is_some(),
    };
    if watch.mappings.is_none() && watch.pool.is_none() {
        return;
    }
    control.spawn("nat64-thresholds", |task| async move {
        let mut ticks = interval(PERIOD);
        let mut watch = watch;
        loop {
            ticks.tick().await;
            if watch.look(task).await.is_err() {
                // The plugin ends.
                return;
            }
        }
    });
}

impl Watch {
    async fn look(&mut self, task: TaskControl) -> Result<(), Failure> {
        let nat: Arc<Nat64> = task.with(|control| control.resource())?;
        if let Some(marked) = &mut self.mappings {
            let level = Protocol::ALL.into_iter().map(|protocol| nat.level.bindings.sum(protocol as usize));
            let level = level.sum::<i64>().max(0) as u64;
            step(task, marked, level, 0, |reached| match reached {
                Reached::High(_) => Some(EventKind::MappingsHigh),
                Reached::Low(_) => None,
            });
        }
        let Some(marked) = self.pool else { return Ok(()) };
        let (errands, threads) =
            task.with(|control| Ok::<_, Failure>((control.resource::<Errands>()?, control.thread_count())))?;
        let used = pool_use(&nat, &errands, threads).await?;
        let tenants: Vec<Tenant> = task.with(|control| nat.rules.get(control).tenants.clone());
        for (number, level) in levels(&tenants, &used).into_iter().enumerate() {
            let (tells_high, tells_low) = (self.tells_high, self.tells_low);
            step(task, self.pools.entry(number).or_insert(marked), level, number as u8, |reached| {
                match reached {
                    Reached::High(_) => tells_high.then_some(EventKind::PoolHigh),
                    Reached::Low(_) => tells_low.then_some(EventKind::PoolLow),
                }
            });
        }
        Ok(())
    }
}

/// Of each tenant's pool how many addresses have ports in use.
fn levels(tenants: &[Tenant], used: &BTreeMap<Ip4Address, PoolUse>) -> Vec<u64> {
    let mut ranges: Vec<(PoolRange, usize)> = Vec::new();
    for (number, tenant) in tenants.iter().enumerate() {
        ranges.extend(tenant.pool.iter().map(|range| (*range, number)));
    }
    ranges.sort_unstable();
    // No address is in two of them, and they ascend as addresses do.
    let (mut ranges, mut levels) = (ranges.into_iter().peekable(), vec![0; tenants.len()]);
    for (&address, _) in used.iter().filter(|(_, used)| used.ports != [0; 3]) {
        while ranges.next_if(|(range, _)| range.last < address).is_some() {}
        if let Some((_, number)) = ranges.peek().filter(|(range, _)| range.contains(address)) {
            levels[*number] += 1;
        }
    }
    levels
}

/// Tells of a mark that is reached, if there is something to be told. Where the log has no room, that is tried again.
fn step(
    task: TaskControl,
    marked: &mut Marked,
    level: u64,
    tenant: u8,
    kind_of: impl Fn(Reached) -> Option<EventKind>,
) {
    let Some(reached) = marked.next(level) else { return };
    let (Reached::High(mark) | Reached::Low(mark)) = reached;
    let is_told = kind_of(reached).is_none_or(|kind| {
        let event = Event::of_threshold(kind, tenant, NOBODY, mark as u32);
        task.with(|control| {
            let Ok(main) = control.resource::<Main>() else { return true };
            let log = main.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.as_ref().is_none_or(|log| log.try_send(event).is_ok())
        })
    });
    if is_told {
        marked.is_high = matches!(reached, Reached::High(_));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(high: Option<u64>, low: Option<u64>, levels: &[u64]) -> Vec<Option<Reached>> {
        let mut marked = Marked::new(high, low).unwrap();
        let step = |&level: &u64| {
            let reached = marked.next(level);
            if let Some(reached) = reached {
                marked.is_high = matches!(reached, Reached::High(_));
            }
            reached
        };
        levels.iter().map(step).collect()
    }

    #[test]
    fn level_of_a_pool_is_how_many_of_its_addresses_have_ports_in_use() {
        let address = |last: u8| Ip4Address([192, 0, 2, last]);
        let range = |first, last| PoolRange { first: address(first), last: address(last) };
        let tenant = |pool: &[PoolRange]| Tenant { pool: pool.to_vec(), ..Tenant::default() };
        let tenants =
            [tenant(&[range(4, 4), range(10, 20)]), tenant(&[]), tenant(&[range(0, 3), range(5, 9)])];
        let use_of = |ports| PoolUse { ports, ..PoolUse::default() };
        let mut used: BTreeMap<_, _> =
            [0, 3, 4, 7, 10, 15, 20, 21].map(|last| (address(last), use_of([0, 0, 1]))).into();
        used.extend([1, 5, 16].map(|last| (address(last), use_of([0; 3]))));
        assert_eq!(levels(&tenants, &used), [4, 0, 3]);
        assert_eq!(levels(&tenants, &BTreeMap::new()), [0; 3]);
    }

    #[test]
    fn mark_is_reached_again_when_the_other_one_was() {
        use Reached::{High, Low};
        let levels = [0, 9, 10, 12, 8, 10, 4, 3, 10];
        let expected = [None, None, Some(High(10)), None, None, None, Some(Low(4)), None, Some(High(10))];
        assert_eq!(told(Some(10), Some(4), &levels), expected);
        assert_eq!(
            told(Some(16), None, &[16, 15, 14, 16]),
            [Some(High(16)), None, Some(Low(14)), Some(High(16))]
        );
        assert_eq!(told(Some(1), None, &[1, 0, 1]), [Some(High(1)), Some(Low(0)), Some(High(1))]);
        assert_eq!(told(None, Some(4), &[0, 5, 4]), [None, Some(High(5)), Some(Low(4))]);
        assert_eq!(Marked::new(None, None), None);
    }
}
