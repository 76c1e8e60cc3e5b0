//! Sessions: found by a key, ended by a timer.

use super::{HashIndex, HashSeed, Kept, Memory, Own, Plain, Slab, TableKey};
use crate::state::Arena;
use crate::timer::{Timer, TimerWheel};

/// Sessions of one thread, by key. Each ends when it has not been used for as long as its user says.
///
/// Using a session writes its time only; the timer looks at that when it expires, and starts again for the rest. So a packet of
/// a session that is there costs one line of the index and those of the session.
pub struct SessionTable<K, V, M: Memory = Own> {
    seed: HashSeed,
    index: HashIndex<M>,
    sessions: Slab<Session<K, V>, M>,
    timers: TimerWheel<u32, M>,
}

/// A session. It begins where a cache line does: one whose key and value have 48 bytes together is in one.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Session<K, V> {
    /// What it is found by.
    pub key: K,
    /// What its user keeps of it.
    pub value: V,
    /// When it ends if it is not used, in ns of the monotonic clock.
    ends_ns: u64,
    timer: Timer,
}

impl<K, V> Session<K, V> {
    /// When it ends if it is not used, in ns of the monotonic clock.
    pub fn ends_ns(&self) -> u64 {
        self.ends_ns
    }

    /// Has it end at `ends_ns` of the monotonic clock, not before the time that was said when it was made or last
    /// [expedited](SessionTable::expedite).
    #[inline(always)]
    pub fn keep_until(&mut self, ends_ns: u64) {
        self.ends_ns = ends_ns;
    }
}

/// There is no room for one more session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the table has room for {most} sessions and is full")]
pub struct TableFull {
    /// Sessions that it has room for.
    pub most: usize,
}

impl<K: TableKey, V> SessionTable<K, V> {
    /// A table for `most` sessions, which end within `tick_ns` of their time.
    ///
    /// # Errors
    /// The process has no address space for it.
    pub fn new(most: u32, tick_ns: u64, seed: HashSeed) -> Result<Self, TableFull> {
        let no_room = || TableFull { most: most as usize };
        let index = HashIndex::with_capacity(most as usize).map_err(|_| no_room())?;
        let sessions = Slab::try_with_capacity(most).ok_or_else(no_room)?;
        Ok(Self { seed, index, sessions, timers: TimerWheel::new(tick_ns, 0) })
    }
}

impl<'m, K: TableKey + Plain, V: Plain> SessionTable<K, V, Kept<'m>> {
    /// A table for `most` sessions in the host's memory, which end within `tick_ns` of their time, with the sessions that
    /// another version left there; their timers run on. The seed is to be the same in each version: see
    /// [`HashSeed::kept`].
    pub fn kept(arena: &mut Arena<'m>, most: u32, tick_ns: u64, seed: HashSeed) -> Self {
        let parts = [[size_of::<K>(), align_of::<K>()], [size_of::<V>(), align_of::<V>()]];
        let index = HashIndex::kept(arena, most as usize);
        // SAFETY: any bytes are a session, as they are a `K` and a `V`, and what else it has are numbers; with `repr(C)`
        // sizes and alignments of the two say where each part is.
        let sessions = unsafe { Slab::kept_of(arena, most, &parts) };
        Self { seed, index, sessions, timers: TimerWheel::kept(arena, tick_ns, most) }
    }
}

impl<K: TableKey, V, M: Memory> SessionTable<K, V, M> {
    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// A key's hash, for the functions that take one.
    #[inline(always)]
    pub fn hash(&self, key: &K) -> u64 {
        key.hash(&self.seed)
    }

    /// First pass over a frame: has the index's line of a hash fetched.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Second pass over a frame: has the session fetched to which the hash most probably leads, and returns its number.
    #[inline(always)]
    pub fn prefetch_session(&self, hash: u64) -> Option<u32> {
        let number = self.index.likely(hash)?;
        self.sessions.prefetch(number);
        Some(number)
    }

    /// Third pass over a frame: the session that [`Self::prefetch_session`] found, if it is the key's. `None` does not say
    /// that there is none: [`Self::find`] does.
    #[inline(always)]
    pub fn get_likely(&mut self, number: u32, key: &K) -> Option<&mut Session<K, V>> {
        self.sessions.get_mut(number).filter(|session| session.key == *key)
    }

    /// The session of a key, with its number.
    #[inline(always)]
    pub fn find(&self, hash: u64, key: &K) -> Option<u32> {
        self.index.find(hash, |number| self.sessions.get(number).is_some_and(|session| session.key == *key))
    }

    /// The session with this number.
    #[inline(always)]
    pub fn get(&self, number: u32) -> Option<&Session<K, V>> {
        self.sessions.get(number)
    }

    /// The session with this number.
    #[inline(always)]
    pub fn get_mut(&mut self, number: u32) -> Option<&mut Session<K, V>> {
        self.sessions.get_mut(number)
    }

    /// Makes a session, whose key has none, that ends at `ends_ns` of the monotonic clock if it is not used; returns its
    /// number.
    ///
    /// # Errors
    /// The table is full.
    pub fn insert(&mut self, hash: u64, key: K, value: V, ends_ns: u64) -> Result<u32, TableFull> {
        let full = TableFull { most: self.sessions.capacity() };
        if self.sessions.len() >= full.most {
            return Err(full);
        }
        // The number is known only when the session is there, and the timer needs it.
        let timer = self.timers.start(ends_ns, u32::MAX);
        let Ok(number) = self.sessions.insert(Session { key, value, ends_ns, timer }) else {
            self.timers.stop(timer);
            return Err(full);
        };
        if self.index.insert(hash, number).is_err() {
            self.timers.stop(timer);
            self.sessions.remove(number);
            return Err(full);
        }
        self.timers.set_key(timer, number);
        Ok(number)
    }

    /// Has a session end at another time, which may be earlier than before.
    pub fn expedite(&mut self, number: u32, ends_ns: u64) {
        if let Some(session) = self.sessions.get_mut(number) {
            session.ends_ns = ends_ns;
            self.timers.restart(session.timer, ends_ns);
        }
    }

    /// Ends a session.
    pub fn remove(&mut self, number: u32) -> Option<(K, V)> {
        let session = self.sessions.remove(number)?;
        self.timers.stop(session.timer);
        self.index.remove(session.key.hash(&self.seed), |found| found == number);
        Some((session.key, session.value))
    }

    /// Ends a session whose time is over at `now_ns`, one a call.
    pub fn expire(&mut self, now_ns: u64) -> Option<(K, V)> {
        while let Some(number) = self.timers.expire(now_ns) {
            let Some(session) = self.sessions.get_mut(number) else { continue };
            if session.ends_ns <= now_ns {
                return self.remove(number);
            }
            // It was used since.
            session.timer = self.timers.start(session.ends_ns, number);
        }
        None
    }

    /// When [`Self::expire`] is worth a call: see [`TimerWheel::next_ns`].
    pub fn next_ns(&self) -> Option<u64> {
        self.timers.next_ns()
    }

    /// The sessions whose numbers are in a range, for who looks at them in portions: numbers are below [`Self::numbers`].
    pub fn page(&self, numbers: std::ops::Range<u32>) -> impl Iterator<Item = (u32, &Session<K, V>)> {
        numbers.filter_map(|number| self.sessions.get(number).map(|session| (number, session)))
    }

    /// All sessions have numbers below this one.
    pub fn numbers(&self) -> u32 {
        self.sessions.numbers()
    }

    /// All sessions with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Session<K, V>)> {
        self.sessions.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn table(most: u32) -> SessionTable<u32, char> {
        SessionTable::new(most, 1, HashSeed::fixed(1)).unwrap()
    }

    fn find(table: &SessionTable<u32, char>, key: u32) -> Option<char> {
        table.find(table.hash(&key), &key).and_then(|number| table.get(number)).map(|session| session.value)
    }

    fn add(
        table: &mut SessionTable<u32, char>,
        key: u32,
        value: char,
        ends_ns: u64,
    ) -> Result<u32, TableFull> {
        table.insert(table.hash(&key), key, value, ends_ns)
    }

    #[test]
    fn session_ends_when_it_was_not_used_for_long_enough() {
        let mut table = table(4);
        let number = add(&mut table, 7, 'a', 100).unwrap();
        add(&mut table, 8, 'b', 150).unwrap();
        table.get_mut(number).unwrap().keep_until(200);
        assert_eq!((table.expire(199), table.expire(199)), (Some((8, 'b')), None));
        assert_eq!((find(&table, 7), find(&table, 8)), (Some('a'), None));
        assert_eq!(table.expire(200), Some((7, 'a')));
        assert!(table.is_empty() && table.next_ns().is_none());
    }

    #[test]
    fn session_can_be_made_to_end_earlier_or_at_once() {
        let mut table = table(4);
        let number = add(&mut table, 1, 'a', 1000).unwrap();
        table.expedite(number, 10);
        assert_eq!((table.expire(9), table.expire(10)), (None, Some((1, 'a'))));
        let number = add(&mut table, 2, 'b', 1000).unwrap();
        assert_eq!((table.remove(number), table.remove(number)), (Some((2, 'b')), None));
        assert_eq!(table.expire(5000), None);
    }

    #[test]
    fn pages_together_have_every_session_once() {
        let mut table = table(20);
        let numbers: Vec<u32> = (0..20).map(|key| add(&mut table, key, 'a', 10).unwrap()).collect();
        for &number in numbers.iter().step_by(3) {
            table.remove(number);
        }
        let mut seen: Vec<u32> = Vec::new();
        for first in (0..table.numbers()).step_by(7) {
            seen.extend(table.page(first..first + 7).map(|(_, session)| session.key));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..20).filter(|key| key % 3 != 0).collect::<Vec<_>>());
    }

    #[test]
    fn full_table_says_so_and_keeps_nothing_of_the_refused() {
        let mut table = table(2);
        add(&mut table, 1, 'a', 10).unwrap();
        add(&mut table, 2, 'b', 10).unwrap();
        assert_eq!(
            add(&mut table, 3, 'c', 10).unwrap_err().to_string(),
            "the table has room for 2 sessions and is full"
        );
        assert_eq!((table.len(), find(&table, 3)), (2, None));
        assert_eq!(std::iter::from_fn(|| table.expire(10)).count(), 2);
        add(&mut table, 3, 'c', 20).unwrap();
        assert_eq!(find(&table, 3), Some('c'));
    }

    #[test]
    fn session_of_two_words_and_three_is_one_cache_line() {
        type OneLine = Session<[u64; 2], [u64; 3]>;
        assert_eq!((size_of::<OneLine>(), align_of::<OneLine>()), (64, 64));
    }

    #[test]
    fn a_million_sessions_fit_in_seventy_odd_bytes_each_and_their_own() {
        let table: SessionTable<[u64; 2], u64> = SessionTable::new(1 << 20, 1, HashSeed::fixed(1)).unwrap();
        let each = size_of::<Session<[u64; 2], u64>>() + 8 + 32;
        assert!(table.index.bytes() + (each << 20) < 128 << 20, "{} and {each} each", table.index.bytes());
    }

    proptest! {
        #[test]
        fn table_does_what_a_map_with_times_does(
            steps in prop::collection::vec((0..4_u8, 0..40_u32, 0..100_u64), 1..300)
        ) {
            let mut table = table(30);
            let mut model: HashMap<u32, u64> = HashMap::new();
            let mut now = 0;
            for (what, key, ahead) in steps {
                let hash = table.hash(&key);
                match (what, table.find(hash, &key)) {
                    (0, None) => {
                        let added = table.insert(hash, key, 'x', now + ahead).is_ok();
                        prop_assert_eq!(added, model.len() < 30);
                        if added {
                            model.insert(key, now + ahead);
                        }
                    }
                    (0 | 1, Some(number)) => {
                        let ends = now + ahead;
                        let session = table.get_mut(number).unwrap();
                        if ends >= session.ends_ns() {
                            session.keep_until(ends);
                        } else {
                            table.expedite(number, ends);
                        }
                        model.insert(key, ends);
                    }
                    (2, Some(number)) => {
                        table.remove(number);
                        model.remove(&key);
                    }
                    _ => {
                        now += ahead;
                        while let Some((key, _)) = table.expire(now) {
                            prop_assert!(model.remove(&key).is_some_and(|ends| ends <= now));
                        }
                        prop_assert!(model.values().all(|&ends| ends > now));
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert!((0..40).all(|key| find(&table, key).is_some() == model.contains_key(&key)));
            }
        }
    }
}
