//! The sessions of a thread, and how many each interface has on all.

use std::sync::atomic::{AtomicU32, Ordering};

use raddle_plugin_api::state::{Arena, KeptState};
use raddle_plugin_api::table::{Array, HashSeed, Kept, SessionTable};
use raddle_plugin_api::{InterfaceIndex, Worker};

use super::flow::Flow;
use super::key::{FlowKey4, FlowKey6, interface4, interface6};

/// Sessions end within this time of theirs, in ns.
const TICK_NS: u64 = 10_000_000;
/// Sessions of each version that are ended in one call, so that packets need not wait.
const EXPIRED_AT_ONCE: usize = 512;

/// What the tables of a thread are made by, in memory that outlives an upgrade of the plugin.
#[derive(Clone, Copy, Debug)]
pub struct SessionSizes {
    /// Sessions of each version that a thread has room for.
    pub per_thread: u32,
    /// What keys' hashes start from: the same for all versions of the plugin.
    pub seed: HashSeed,
}

/// The sessions of one thread.
pub struct Sessions<'m> {
    /// Of IPv4.
    pub ip4: SessionTable<FlowKey4, Flow, Kept<'m>>,
    /// Of IPv6.
    pub ip6: SessionTable<FlowKey6, Flow, Kept<'m>>,
    /// How many there are, by interface.
    numbers: Array<u32, Kept<'m>>,
    /// Another version has left them: [`Counts`] does not know their numbers yet.
    is_unknown: bool,
}

impl KeptState for SessionSizes {
    type Of<'m> = Sessions<'m>;

    fn place<'m>(&self, _thread: u32, arena: &mut Arena<'m>) -> Sessions<'m> {
        Sessions {
            ip4: SessionTable::kept(arena, self.per_thread, TICK_NS, self.seed),
            ip6: SessionTable::kept(arena, self.per_thread, TICK_NS, self.seed),
            numbers: arena.array(InterfaceIndex::LIMIT),
            is_unknown: arena.is_adopted(),
        }
    }
}

impl Sessions<'_> {
    /// Ends sessions whose time is over; returns when to come again.
    pub fn expire(&mut self, worker: &Worker<'_>, counts: &Counts, now_ns: u64) -> Option<u64> {
        let thread = worker.thread_index();
        self.tell(thread, counts);
        for _ in 0..EXPIRED_AT_ONCE {
            let Some((key, _)) = self.ip4.expire(now_ns) else { break };
            self.count(thread, counts, interface4(&key), -1);
        }
        for _ in 0..EXPIRED_AT_ONCE {
            let Some((key, _)) = self.ip6.expire(now_ns) else { break };
            self.count(thread, counts, interface6(&key), -1);
        }
        [self.ip4.next_ns(), self.ip6.next_ns()].into_iter().flatten().min()
    }

    /// Adds to the number of an interface's sessions, on the thread whose they are or while that stands.
    pub fn count(&mut self, thread: u32, counts: &Counts, interface: InterfaceIndex, amount: i32) {
        if let Some(number) = self.numbers.get_mut(interface.0 as usize) {
            *number = number.wrapping_add_signed(amount);
            counts.set(thread, interface, *number);
        }
    }

    /// Lets all threads know how many there are, where another version has left them.
    #[inline(always)]
    pub fn tell(&mut self, thread: u32, counts: &Counts) {
        if self.is_unknown {
            self.is_unknown = false;
            for (interface, &number) in self.numbers.iter().enumerate() {
                counts.set(thread, InterfaceIndex(interface as u32), number);
            }
        }
    }
}

/// How many sessions each interface has, by thread. A thread writes its own counts only.
pub struct Counts {
    cells: Box<[AtomicU32]>,
    threads: usize,
}

impl Counts {
    /// All zero.
    pub fn new(threads: u32) -> Self {
        let threads = threads as usize;
        Self { cells: (0..threads * InterfaceIndex::LIMIT).map(|_| AtomicU32::new(0)).collect(), threads }
    }

    fn cell(&self, thread: usize, interface: InterfaceIndex) -> Option<&AtomicU32> {
        let interface = interface.0 as usize;
        (interface < InterfaceIndex::LIMIT).then(|| &self.cells[thread * InterfaceIndex::LIMIT + interface])
    }

    fn set(&self, thread: u32, interface: InterfaceIndex, number: u32) {
        if let Some(cell) = self.cell(thread as usize, interface) {
            cell.store(number, Ordering::Relaxed);
        }
    }

    /// Sessions of an interface on all threads.
    pub fn of(&self, interface: InterfaceIndex) -> u32 {
        (0..self.threads)
            .filter_map(|thread| self.cell(thread, interface))
            .fold(0, |sum, cell| sum.wrapping_add(cell.load(Ordering::Relaxed)))
    }
}
