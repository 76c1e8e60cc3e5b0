//! What it would cost to share sessions between workers, beside a table of each worker's own: the case `sessions`.
//!
//! Two threads look for the sessions of packets, frame by frame, and count the packets there, as reflexive lists do. What the
//! ways have in common is the table itself, of the plugins' SDK.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::Duration;

use raddle_plugin_api::table::{HashSeed, SessionTable};

use super::measure::BenchOptions;
use super::parts::{PartResult, result};
use super::workload::Random;
use crate::runtime::Clock;

/// Threads.
const THREADS: usize = 2;
/// Flows of all threads.
const FLOWS: u64 = 1 << 14;
/// Packets of a frame.
const FRAME: usize = 256;
/// Tables behind a lock each.
const SHARDS: usize = 256;
/// Frames between two looks at whether time is over.
const ROUND: usize = 64;
/// As far ahead sessions end, in ns: not in the bench's time.
const LIFE_NS: u64 = 3_600_000_000_000;

type Key = [u64; 2];
type Table = SessionTable<Key, [u64; 3]>;

/// What is counted of a session that all threads write to, in a line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Shared {
    packets: AtomicU64,
    bytes: AtomicU64,
    ends_ns: AtomicU64,
}

fn key(flow: u64) -> Key {
    [flow << 32 | 0x0a00_0001, flow.wrapping_mul(0x9e37) << 16 | 17]
}

fn table(seed: HashSeed, flows: impl Iterator<Item = u64>) -> anyhow::Result<Table> {
    let mut table = Table::new(FLOWS as u32, 1_000_000, seed)?;
    for flow in flows {
        table.insert(table.hash(&key(flow)), key(flow), [0; 3], LIFE_NS)?;
    }
    Ok(table)
}

/// Measures the three ways.
///
/// # Errors
/// There is no memory for the tables.
pub fn run(options: &BenchOptions) -> anyhow::Result<Vec<PartResult>> {
    let seed = HashSeed::random();
    let of_thread = |thread: usize| (0..FLOWS).filter(move |flow| *flow as usize % THREADS == thread);
    let own: Vec<_> = (0..THREADS)
        .map(|thread| table(seed, of_thread(thread)).map(Mutex::new))
        .collect::<Result<_, _>>()?;
    let own = clocks(options, |thread, frame| {
        let mut table = own[thread].lock().unwrap_or_else(PoisonError::into_inner);
        // Packets of the other one's flows are handed over: the case `handoff` says what that costs.
        let keys = frame.map(|flow| key(flow & !1 | thread as u64));
        let hashes = keys.map(|key| table.hash(&key));
        hashes.iter().for_each(|hash| table.prefetch(*hash));
        let numbers = hashes.map(|hash| table.prefetch_session(hash));
        for (key, number) in keys.iter().zip(numbers) {
            if let Some(session) = number.and_then(|number| table.get_likely(number, key)) {
                count(&mut session.value);
                session.keep_until(LIFE_NS);
            }
        }
    });

    let shard_of = |hash: u64| (hash >> 48) as usize % SHARDS;
    let mut shards: Vec<_> = (0..SHARDS).map(|_| table(seed, 0..0)).collect::<Result<_, _>>()?;
    for flow in 0..FLOWS {
        let hash = shards[0].hash(&key(flow));
        shards[shard_of(hash)].insert(hash, key(flow), [0; 3], LIFE_NS)?;
    }
    let hasher = table(seed, 0..0)?;
    let shards: Vec<_> = shards.into_iter().map(Mutex::new).collect();
    let locked = clocks(options, |_, frame| {
        for key in frame.map(key) {
            let hash = hasher.hash(&key);
            let mut table = shards[shard_of(hash)].lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(number) = table.find(hash, &key)
                && let Some(session) = table.get_mut(number)
            {
                count(&mut session.value);
                session.keep_until(LIFE_NS);
            }
        }
    });

    // The least that any table without locks does: it finds sessions as if nobody wrote, and counts in their lines.
    let index = table(seed, 0..FLOWS)?;
    let lines: Vec<Shared> = (0..FLOWS).map(|_| Shared::default()).collect();
    let lock_free = clocks(options, |_, frame| {
        let keys = frame.map(key);
        let hashes = keys.map(|key| index.hash(&key));
        hashes.iter().for_each(|hash| index.prefetch(*hash));
        let numbers = hashes.map(|hash| index.prefetch_session(hash));
        for (key, number) in keys.iter().zip(numbers) {
            let Some(number) =
                number.filter(|number| index.get(*number).is_some_and(|found| found.key == *key))
            else {
                continue;
            };
            let line = &lines[number as usize % lines.len()];
            line.packets.fetch_add(1, Ordering::Relaxed);
            line.bytes.fetch_add(64, Ordering::Relaxed);
            line.ends_ns.store(LIFE_NS, Ordering::Relaxed);
        }
    });
    let part = |figure, what| result("sessions", figure, "clocks/packet", what);
    Ok(vec![
        part(own, "a session of the thread's own table, two threads, 16,384 flows"),
        part(lock_free, "the same in lines that both write to, at the least without locks"),
        part(locked, "the same in 256 tables with a lock each"),
    ])
}

fn count(value: &mut [u64; 3]) {
    value[0] += 1;
    value[1] += 64;
}

/// Clocks a packet of a thread that does this with frames of flows, while the others do; the best of the windows.
fn clocks(options: &BenchOptions, pass: impl Fn(usize, [u64; FRAME]) + Sync) -> f64 {
    let window = options.window.min(Duration::from_millis(500));
    let mut best = f64::INFINITY;
    for _ in 0..options.windows.max(1) {
        let (is_over, start) = (AtomicBool::new(false), Barrier::new(THREADS + 1));
        let totals = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (is_over, start, pass) = (&is_over, &start, &pass);
                    scope.spawn(move || {
                        let mut random = Random(thread as u64);
                        let frames: Vec<[u64; FRAME]> =
                            (0..ROUND).map(|_| std::array::from_fn(|_| random.below(FLOWS))).collect();
                        let (mut spent, mut packets) = (0, 0);
                        start.wait();
                        while !is_over.load(Ordering::Relaxed) {
                            let before = Clock::ticks();
                            frames.iter().for_each(|frame| pass(thread, *frame));
                            spent += Clock::ticks() - before;
                            packets += ROUND * FRAME;
                        }
                        (spent, packets)
                    })
                })
                .collect();
            start.wait();
            std::thread::sleep(window);
            is_over.store(true, Ordering::Relaxed);
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<_>>()
        });
        for (spent, packets) in totals {
            best = best.min(spent as f64 / packets.max(1) as f64);
        }
    }
    best
}
