//! Tables in the host's memory, which the next version of a plugin finds as they are.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::state::{Arena, KeptPerThread, KeptState};
use raddle_plugin_api::table::{Array, HashSeed, Kept, SessionTable, Slab};
use raddle_plugin_api::testing::Harness;

const SECOND: u64 = 1_000_000_000;

/// Sessions by their packets' first byte, each for ten seconds.
struct Sizes {
    most: u32,
    seed: HashSeed,
}

struct Tables<'m> {
    sessions: SessionTable<u64, u64, Kept<'m>>,
    names: Slab<[u8; 64], Kept<'m>>,
    packets: Array<u64, Kept<'m>>,
    /// What another version left when this one came.
    found: usize,
}

impl KeptState for Sizes {
    type Of<'m> = Tables<'m>;

    fn place<'m>(&self, thread: u32, arena: &mut Arena<'m>) -> Tables<'m> {
        let mut tables = Tables {
            sessions: SessionTable::kept(arena, self.most, 1_000_000, self.seed),
            names: Slab::kept(arena, 10),
            packets: arena.array(1),
            found: 0,
        };
        if arena.is_adopted() {
            tables.found = tables.sessions.len();
        } else if tables.names.capacity() > 0 {
            // Nothing to add while sizes are learnt; later, the first time only.
            let _ = tables.names.insert([thread as u8; 64]);
        }
        tables
    }
}

struct Flows {
    kept: KeptPerThread<Sizes>,
    /// Packets of this version.
    own: AtomicU32,
}

config! { "flows", FlowsConfig }

#[derive(Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
struct FlowsConfig {
    most: u32,
    layout: u32,
}

impl Default for FlowsConfig {
    fn default() -> Self {
        Self { most: 1000, layout: 1 }
    }
}

init! { "flows", init }

fn init(control: &mut Control<'_>) -> Result<(), Failure> {
    let config: FlowsConfig = control.config("flows")?;
    let seed = HashSeed::kept(control, "seed")?;
    let kept = control.kept_per_thread("flows", config.layout, Sizes { most: config.most, seed })?;
    control.provide(Arc::new(Flows { kept, own: AtomicU32::new(0) }))
}

next! { enum Out { Away => "away" } }

struct Learn {
    flows: Arc<Flows>,
}

impl Node for Learn {
    const NAME: &'static str = "learn";
    type Next = Out;
    type Error = NoError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { flows: init.resource()? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let worker = vector.worker();
        self.flows.kept.with(&worker, |tables| {
            vector.each(|env, packet| {
                let key = u64::from(packet.bytes().first().copied().unwrap_or(0));
                let ends = env.now_ns() + 10 * SECOND;
                let hash = tables.sessions.hash(&key);
                match tables.sessions.find(hash, &key) {
                    Some(number) => {
                        if let Some(session) = tables.sessions.get_mut(number) {
                            session.value += 1;
                            session.keep_until(ends);
                        }
                    }
                    None => assert!(tables.sessions.insert(hash, key, 1, ends).is_ok()),
                }
                tables.packets[0] += 1;
                self.flows.own.fetch_add(1, Ordering::Relaxed);
                Verdict::Next(Out::Away)
            });
        });
    }
}

node!(Learn);

/// Of a thread: key and value of each session in order, packets, what this version found, and what is in the slab.
type Seen = (Vec<(u64, u64)>, u64, usize, Vec<u8>);

fn seen(harness: &mut Harness, thread: usize) -> Seen {
    let flows: Arc<Flows> = harness.control(|control| control.resource()).unwrap();
    harness.worker(thread, |worker| {
        flows.kept.with(worker, |tables| {
            let mut sessions: Vec<_> =
                tables.sessions.iter().map(|(_, session)| (session.key, session.value)).collect();
            sessions.sort_unstable();
            let names = tables.names.iter().map(|(_, name)| name[63]).collect();
            (sessions, tables.packets[0], tables.found, names)
        })
    })
}

fn expire(harness: &mut Harness, thread: usize) -> Vec<u64> {
    let flows: Arc<Flows> = harness.control(|control| control.resource()).unwrap();
    let now = harness.now_ns();
    harness.worker(thread, |worker| {
        flows.kept.with(worker, |tables| {
            let mut keys: Vec<u64> =
                std::iter::from_fn(|| tables.sessions.expire(now)).map(|(key, _)| key).collect();
            keys.sort_unstable();
            keys
        })
    })
}

fn loaded() -> Harness {
    let mut harness = Harness::builder().workers(2).build();
    harness.load();
    harness.run_on::<Learn>(1, [[1], [2], [1]]);
    harness.run_on::<Learn>(2, [[3]]);
    harness
}

#[test]
fn next_version_finds_sessions_as_they_are_on_each_thread() {
    let mut harness = loaded();
    assert_eq!(seen(&mut harness, 1), (vec![(1, 2), (2, 1)], 3, 0, vec![1]));
    for round in 1..=3 {
        harness.upgrade();
        harness.run_on::<Learn>(1, [[1]]);
        assert_eq!(seen(&mut harness, 1), (vec![(1, 2 + round), (2, 1)], 3 + round, 2, vec![1]));
        assert_eq!(seen(&mut harness, 2), (vec![(3, 1)], 1, 1, vec![2]));
        let flows: Arc<Flows> = harness.control(|control| control.resource()).unwrap();
        assert_eq!(flows.own.load(Ordering::Relaxed), 1, "this version's packets");
    }
}

#[test]
fn timers_of_the_old_version_run_on_in_the_next() {
    let mut harness = loaded();
    harness.advance(Duration::from_secs(5));
    harness.run_on::<Learn>(1, [[2]]);
    harness.upgrade();
    harness.advance(Duration::from_secs(6));
    assert_eq!(expire(&mut harness, 1), [1], "of the two, one was used since");
    harness.upgrade();
    harness.advance(Duration::from_secs(6));
    assert_eq!((expire(&mut harness, 1), expire(&mut harness, 2)), (vec![2], vec![3]));
    // What is free is used again, by its own timers.
    harness.run_on::<Learn>(1, [[7]]);
    harness.upgrade();
    harness.advance(Duration::from_secs(11));
    assert_eq!(expire(&mut harness, 1), [7]);
}

#[test]
fn other_sizes_or_another_layout_number_begin_empty() {
    for config in ["[flows]\nmost = 1001", "[flows]\nlayout = 2"] {
        let mut harness = loaded();
        harness.set_config(config);
        harness.upgrade();
        assert_eq!(seen(&mut harness, 1), (vec![], 0, 0, vec![1]), "{config}");
        harness.set_config("");
        harness.upgrade();
        assert_eq!(seen(&mut harness, 1).1, 3, "{config}: the harness keeps what was there");
    }
}

#[test]
fn as_many_sessions_as_it_was_made_for() {
    let mut harness = Harness::builder().config("[flows]\nmost = 100").build();
    harness.load();
    harness.run::<Learn>((0..100).map(|byte| [byte]));
    harness.upgrade();
    let flows: Arc<Flows> = harness.control(|control| control.resource()).unwrap();
    harness.worker(0, |worker| {
        flows.kept.with(worker, |tables| {
            assert_eq!(tables.sessions.len(), 100);
            let hash = tables.sessions.hash(&200);
            assert_eq!(
                tables.sessions.insert(hash, 200, 0, 0).unwrap_err().to_string(),
                "the table has room for 100 sessions and is full"
            );
            for key in 0..100 {
                let number = tables.sessions.find(tables.sessions.hash(&key), &key).unwrap();
                assert_eq!(tables.sessions.remove(number), Some((key, 1)));
            }
            assert!(tables.sessions.is_empty() && tables.sessions.next_ns().is_none());
        });
    });
}

#[test]
fn tables_of_all_threads_are_lent_under_the_barrier() {
    let mut harness = loaded();
    harness.control(|control| {
        let flows: Arc<Flows> = control.resource().unwrap();
        let mut packets = Vec::new();
        flows.kept.each(&mut control.barrier("test"), |thread, tables| {
            packets.push((thread, tables.packets[0]));
        });
        assert_eq!(packets, [(0, 0), (1, 3), (2, 1)]);
    });
}

#[test]
fn tables_are_lent_once_at_a_time_and_come_back_after_a_panic() {
    let mut harness = loaded();
    let flows: Arc<Flows> = harness.control(|control| control.resource()).unwrap();
    harness.worker(1, |worker| {
        let twice = || flows.kept.with(worker, |_| flows.kept.with(worker, |_| ()));
        let panic = std::panic::catch_unwind(AssertUnwindSafe(twice)).unwrap_err();
        assert!(panic.downcast_ref::<&str>().is_some_and(|text| text.contains("is lent already")));
    });
    assert_eq!(seen(&mut harness, 1).1, 3);
}

#[test]
fn more_than_there_can_be_is_refused_with_a_remedy() {
    struct TooMany;

    impl KeptState for TooMany {
        type Of<'m> = Array<u64, Kept<'m>>;

        fn place<'m>(&self, _: u32, arena: &mut Arena<'m>) -> Self::Of<'m> {
            arena.array(usize::MAX / 8)
        }
    }

    let mut harness = Harness::builder().build();
    let refused = harness.control(|control| control.kept_per_thread("all", 1, TooMany).err());
    assert_eq!(refused.unwrap().to_string(), "no memory for what is kept as `all`; have fewer entries");
}
