//! Ports of pool addresses: which are taken, and which one is given next.

use std::ops::Range;

use raddle_plugin_api::state::Arena;
use raddle_plugin_api::table::{HashIndex, HashSeed, IndexFull, Kept, Memory, Own, Slab, TableKey};
use raddle_plugin_api::wire::Ip4Address;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::port_hold::{HeldPorts, Reuse, WantedPort};
use super::session::Protocol;
use super::shard::Ticks;

/// Ports of one word of a bitmap, and of one share.
pub(super) const WORD: usize = 64;
pub(super) const WORDS: usize = (1 << 16) / WORD;
const EVEN: u64 = 0x5555_5555_5555_5555;
/// Ports below belong to the system (RFC 6335 §6); one of these is given for one of these only (RFC 6146 §3.5.1.1).
const SYSTEM_PORTS: u16 = 1024;

/// Which ports are this thread's to give: those of every `count`th piece of `size` ports, from `index` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The thread's place among those that have packets.
    pub index: u32,
    /// How many those are.
    pub count: u32,
    /// Ports of a piece, as a power of two: 6 or more.
    pub size_bits: u32,
}

impl Share {
    /// Everything, for one thread alone.
    pub const WHOLE: Self = Self { index: 0, count: 1, size_bits: 6 };

    /// The place of the thread that gives out a port.
    #[inline(always)]
    pub fn place_of(&self, port: u16) -> u32 {
        if self.count == 1 { 0 } else { (u32::from(port) >> self.size_bits) % self.count }
    }

    fn has(&self, port: u16) -> bool {
        self.place_of(port) == self.index
    }
}

/// Pool addresses that a thread has ports of, at most.
const MOST_ADDRESSES: u32 = 1 << 16;
/// Bitmaps of ports, one for each protocol of an address: 8 KiB each, of which memory is taken as they are used.
const MOST_MAPS: u32 = 1 << 15;
/// Blocks of an address at most.
const BLOCK_WORDS: usize = (1 << 16) / WORD / WORD;

/// A pool address. Plain, as versions of the plugin share it.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct PoolAddress {
    address: Ip4Address,
    /// Numbers of the maps of its ports, by protocol, plus one; 0: no port was ever taken.
    maps: [u32; 3],
    /// Likewise, of ports that are held back; 0: none ever was.
    holds: [u32; 3],
    used: [u32; 3],
    blocks: u32,
    reserved: u32,
    /// A bit for each block that a subscriber has.
    block_bits: [u64; BLOCK_WORDS],
}

/// A bit for each port that is taken.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct PortMap([u64; WORDS]);

/// The ports of pool addresses.
pub struct Ports<M: Memory = Own> {
    seed: HashSeed,
    addresses: Slab<PoolAddress, M>,
    by_address: HashIndex<M>,
    maps: Slab<PortMap, M>,
    holds: Slab<HeldPorts, M>,
}

/// How much of an address is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// Ports of each protocol.
    pub ports: [u32; 3],
    /// Blocks.
    pub blocks: u32,
    /// Ports that are nobody's and not given yet (RFC 6888 REQ-8).
    pub held: u32,
}

impl Ports {
    /// No port is taken.
    ///
    /// # Errors
    /// There is no address space for it.
    pub fn new(seed: HashSeed) -> Result<Self, IndexFull> {
        Ok(Self {
            seed,
            addresses: Slab::try_with_capacity(MOST_ADDRESSES).ok_or(IndexFull)?,
            by_address: HashIndex::with_capacity(MOST_ADDRESSES as usize)?,
            maps: Slab::try_with_capacity(MOST_MAPS).ok_or(IndexFull)?,
            holds: Slab::try_with_capacity(MOST_MAPS).ok_or(IndexFull)?,
        })
    }
}

impl<'m> Ports<Kept<'m>> {
    /// As another version of the plugin left them.
    pub fn kept(arena: &mut Arena<'m>, seed: HashSeed) -> Self {
        Self {
            seed,
            addresses: Slab::kept(arena, MOST_ADDRESSES),
            by_address: HashIndex::kept(arena, MOST_ADDRESSES as usize),
            maps: Slab::kept(arena, MOST_MAPS),
            holds: Slab::kept(arena, MOST_MAPS),
        }
    }
}

impl<M: Memory> Ports<M> {
    /// Addresses of which ports were ever taken and whose numbers are in a range, and how much of them is in use at a time.
    pub fn page(
        &self,
        numbers: Range<u32>,
        time: (Ticks, Reuse),
    ) -> impl Iterator<Item = (Ip4Address, PoolUse)> {
        let entries = numbers.filter_map(|number| self.addresses.get(number));
        entries.map(move |entry| (entry.address, self.in_use_of(entry, time)))
    }

    /// All addresses of which ports were ever taken have numbers below this one.
    pub fn numbers(&self) -> u32 {
        self.addresses.numbers()
    }

    fn in_use_of(&self, entry: &PoolAddress, (now, reuse): (Ticks, Reuse)) -> PoolUse {
        let held = entry.holds.iter().filter_map(|hold| self.holds.get(hold.checked_sub(1)?));
        let held = held.map(|hold| hold.count_at(now, reuse)).sum();
        PoolUse { ports: entry.used, blocks: entry.blocks, held }
    }

    /// Takes a port: the wanted one if it is free and the thread's own, else one of the same parity and on the same side of 1024,
    /// else one of the other parity (RFC 6146 §3.5.1.1, RFC 4787 REQ-3, REQ-4). `random` says where the search begins
    /// (RFC 6056). `may` says whether a port may be given at all.
    pub fn take(
        &mut self,
        wanted: &WantedPort,
        share: Share,
        random: u32,
        time: (Ticks, Reuse),
        may: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let &WantedPort { address, protocol, port: wanted } = wanted;
        let number = self.find_or_add(address)?;
        self.turn(number, protocol, time);
        let free = self.free(number, protocol);
        if share.has(wanted) && free.has(wanted) && may(wanted) && wanted != 0 {
            return self.mark(number, protocol, wanted).then_some(wanted);
        }
        // Identifiers have no sides and no parity.
        let is_port = protocol != Protocol::Icmp;
        let range = match (is_port, wanted < SYSTEM_PORTS) {
            (true, true) => 0..usize::from(SYSTEM_PORTS) / WORD,
            (true, false) => usize::from(SYSTEM_PORTS) / WORD..WORDS,
            (false, _) => 0..WORDS,
        };
        let parity = if wanted.is_multiple_of(2) { EVEN } else { !EVEN };
        let port = match is_port {
            true => search(&free, range.clone(), parity, share, random, &may)
                .or_else(|| search(&free, range, !parity, share, random, &may)),
            false => search(&free, range, u64::MAX, share, random, &may),
        }?;
        self.mark(number, protocol, port).then_some(port)
    }

    /// Takes a port of a block of `size` ports from `first` on.
    pub fn take_in_block(
        &mut self,
        wanted: &WantedPort,
        (first, size): (u16, u32),
        time: (Ticks, Reuse),
        may: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let &WantedPort { address, protocol, port: wanted } = wanted;
        let number = self.find_or_add(address)?;
        self.turn(number, protocol, time);
        let range = words_of_block(first, size);
        let parity = if wanted.is_multiple_of(2) { EVEN } else { !EVEN };
        let (free, random) = (self.free(number, protocol), u32::from(wanted));
        let port = search(&free, range.clone(), parity, Share::WHOLE, random, &may)
            .or_else(|| search(&free, range, !parity, Share::WHOLE, random, &may))?;
        self.mark(number, protocol, port).then_some(port)
    }

    /// Takes a block that nobody has; its first port. One of whose ports some are held back comes after those of which none is, as
    /// [`Self::take_in_block`] passes over them; one that is held back as a whole is left alone. Ports below 1024 are in none.
    pub fn take_block(
        &mut self,
        address: Ip4Address,
        share: Share,
        random: u32,
        time: (Ticks, Reuse),
    ) -> Option<u16> {
        let number = self.find_or_add(address)?;
        Protocol::ALL.into_iter().for_each(|protocol| self.turn(number, protocol, time));
        let size = 1_u32 << share.size_bits;
        let first_block = u32::from(SYSTEM_PORTS).div_ceil(size);
        let candidates = (1 << 16) / size - first_block;
        let entry = self.addresses.get_mut(number)?;
        let holds = entry.holds.map(|hold| self.holds.get(hold.wrapping_sub(1)));
        let free = || {
            let port_of = |step| ((first_block + (random % candidates + step) % candidates) * size) as u16;
            let is_free =
                |&port: &u16| share.has(port) && !is_set(Some(&entry.block_bits), port / WORD as u16);
            (0..candidates).map(port_of).filter(is_free)
        };
        let waits = |port: u16, is_so: fn(&HeldPorts, Range<usize>) -> bool| {
            holds.iter().flatten().any(|hold| is_so(hold, words_of_block(port, size)))
        };
        let some_wait = |hold: &HeldPorts, mut words: Range<usize>| words.any(|word| hold.word(word) != 0);
        let all_wait =
            |hold: &HeldPorts, mut words: Range<usize>| words.all(|word| hold.word(word) == u64::MAX);
        let port = free()
            .find(|&port| !waits(port, some_wait))
            .or_else(|| free().find(|&port| !waits(port, all_wait)))?;
        set(&mut entry.block_bits, port / WORD as u16);
        entry.blocks += 1;
        Some(port)
    }

    /// Takes a block back if none of its ports is in use. `true`: it was.
    pub fn release_block_if_idle(&mut self, address: Ip4Address, first: u16, size: u32) -> bool {
        let Some(number) = self.find(address) else { return false };
        let range = words_of_block(first, size);
        let is_idle = Protocol::ALL.into_iter().all(|protocol| {
            self.words(number, protocol)
                .is_none_or(|words| words[range.clone()].iter().all(|&word| word == 0))
        });
        let Some(entry) = self.addresses.get_mut(number).filter(|_| is_idle) else { return false };
        let was_taken = is_set(Some(&entry.block_bits), first / WORD as u16);
        if was_taken {
            clear(&mut entry.block_bits, first / WORD as u16);
            entry.blocks -= 1;
        }
        was_taken
    }

    /// Whether a port is taken.
    pub fn is_taken(&self, address: Ip4Address, protocol: Protocol, port: u16) -> bool {
        self.find(address).is_some_and(|number| is_set(self.words(number, protocol), port))
    }

    /// Gives a port back, for use as `time` says.
    pub fn release(&mut self, address: Ip4Address, protocol: Protocol, port: u16, time: (Ticks, Reuse)) {
        let Some(number) = self.find(address) else { return };
        let Some(entry) = self.addresses.get_mut(number) else { return };
        let map = entry.maps[protocol as usize].checked_sub(1).and_then(|map| self.maps.get_mut(map));
        let was_taken = map.is_some_and(|map| clear(&mut map.0, port));
        if !was_taken {
            return;
        }
        entry.used[protocol as usize] -= 1;
        let (now, reuse) = time;
        if reuse.after == 0 {
            return;
        }
        let place = &mut entry.holds[protocol as usize];
        if *place == 0 {
            // Without room for that it is free at once.
            let Ok(hold) = self.holds.insert(HeldPorts::new(now)) else { return };
            *place = hold + 1;
        }
        if let Some(hold) = self.holds.get_mut(*place - 1) {
            hold.turn(now, reuse);
            hold.add(port, reuse);
        }
    }

    fn find(&self, address: Ip4Address) -> Option<u32> {
        let is_it = |number| self.addresses.get(number).is_some_and(|entry| entry.address == address);
        self.by_address.find(address.to_bits().hash(&self.seed), is_it)
    }

    fn find_or_add(&mut self, address: Ip4Address) -> Option<u32> {
        if let Some(number) = self.find(address) {
            return Some(number);
        }
        let entry = PoolAddress {
            address,
            maps: [0; 3],
            holds: [0; 3],
            used: [0; 3],
            blocks: 0,
            reserved: 0,
            block_bits: [0; BLOCK_WORDS],
        };
        let number = self.addresses.insert(entry).ok()?;
        if self.by_address.insert(address.to_bits().hash(&self.seed), number).is_err() {
            self.addresses.remove(number);
            return None;
        }
        Some(number)
    }

    fn words(&self, number: u32, protocol: Protocol) -> Option<&[u64; WORDS]> {
        let map = self.addresses.get(number)?.maps[protocol as usize].checked_sub(1)?;
        self.maps.get(map).map(|map| &map.0)
    }

    /// Lets go of ports that were held back long enough.
    fn turn(&mut self, number: u32, protocol: Protocol, (now, reuse): (Ticks, Reuse)) {
        let hold = self.addresses.get(number).map_or(0, |entry| entry.holds[protocol as usize]);
        if let Some(hold) = hold.checked_sub(1).and_then(|hold| self.holds.get_mut(hold)) {
            hold.turn(now, reuse);
        }
    }

    /// What may be taken.
    fn free(&self, number: u32, protocol: Protocol) -> Free<'_> {
        let hold = self.addresses.get(number).map_or(0, |entry| entry.holds[protocol as usize]);
        Free {
            taken: self.words(number, protocol),
            held: hold.checked_sub(1).and_then(|hold| self.holds.get(hold)),
        }
    }

    /// Marks a port that is free as taken. `false`: there is no map left.
    fn mark(&mut self, number: u32, protocol: Protocol, port: u16) -> bool {
        let Some(entry) = self.addresses.get_mut(number) else { return false };
        let place = &mut entry.maps[protocol as usize];
        if *place == 0 {
            let Ok(map) = self.maps.insert(PortMap([0; WORDS])) else { return false };
            *place = map + 1;
        }
        let Some(map) = self.maps.get_mut(*place - 1) else { return false };
        set(&mut map.0, port);
        entry.used[protocol as usize] += 1;
        true
    }
}

/// Ports of an address and a protocol that nobody has and that are not held back.
#[derive(Clone, Copy)]
struct Free<'p> {
    taken: Option<&'p [u64; WORDS]>,
    held: Option<&'p HeldPorts>,
}

impl Free<'_> {
    fn word(&self, word: usize) -> u64 {
        !(self.taken.map_or(0, |taken| taken[word]) | self.held.map_or(0, |held| held.word(word)))
    }

    fn has(&self, port: u16) -> bool {
        self.word(usize::from(port) / WORD) >> (usize::from(port) % WORD) & 1 != 0
    }
}

fn words_of_block(first: u16, size: u32) -> Range<usize> {
    usize::from(first) / WORD..(usize::from(first) + size as usize) / WORD
}

fn is_set<const N: usize>(words: Option<&[u64; N]>, bit: u16) -> bool {
    words.is_some_and(|words| words[usize::from(bit) / WORD] >> (usize::from(bit) % WORD) & 1 != 0)
}

fn set(words: &mut [u64], bit: u16) {
    words[usize::from(bit) / WORD] |= 1 << (usize::from(bit) % WORD);
}

/// Whether it was set.
fn clear(words: &mut [u64], bit: u16) -> bool {
    let (word, mask) = (&mut words[usize::from(bit) / WORD], 1 << (usize::from(bit) % WORD));
    let was_set = *word & mask != 0;
    *word &= !mask;
    was_set
}

/// A free port of these words that is one of `mask` in its word. At most 1,024 steps.
fn search(
    free: &Free<'_>,
    range: Range<usize>,
    mask: u64,
    share: Share,
    random: u32,
    may: impl Fn(u16) -> bool,
) -> Option<u16> {
    let count = range.len();
    let start = random as usize >> 6;
    for step in 0..count {
        let word = range.start + (start + step) % count;
        let first = (word * WORD) as u16;
        if !share.has(first) {
            continue;
        }
        let mut free = free.word(word) & mask;
        // Port 0 is nobody's.
        if word == 0 {
            free &= !1;
        }
        // Begin somewhere within the word, too.
        let turn = random % WORD as u32;
        let mut turned = free.rotate_right(turn);
        while turned != 0 {
            let bit = (turned.trailing_zeros() + turn) % WORD as u32;
            let port = first + bit as u16;
            if may(port) {
                return Some(port);
            }
            turned &= turned - 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const TCP: Protocol = Protocol::Tcp;
    const POOL: Ip4Address = Ip4Address([192, 0, 2, 1]);

    /// The time when nothing is held back.
    const AT_ONCE: (Ticks, Reuse) = (0, Reuse::AT_ONCE);

    fn wanted(protocol: Protocol, port: u16) -> WantedPort {
        WantedPort { address: POOL, protocol, port }
    }

    fn ports() -> Ports {
        Ports::new(HashSeed::fixed(1)).unwrap()
    }

    /// The use of the one address.
    fn in_use(ports: &Ports, time: (Ticks, Reuse)) -> PoolUse {
        let used: Vec<_> = ports.page(0..ports.numbers(), time).collect();
        assert_eq!((used.len(), used[0].0), (1, POOL));
        used[0].1
    }

    #[test]
    fn port_is_kept_where_it_is_free() {
        let mut ports = ports();
        assert_eq!(ports.take(&wanted(TCP, 5000), Share::WHOLE, 9, AT_ONCE, |_| true), Some(5000));
        let other = ports.take(&wanted(TCP, 5000), Share::WHOLE, 9, AT_ONCE, |_| true).unwrap();
        assert!(other != 5000 && other.is_multiple_of(2) && other >= 1024, "{other}");
        // Protocols have ports of their own.
        assert_eq!(ports.take(&wanted(Protocol::Udp, 5000), Share::WHOLE, 9, AT_ONCE, |_| true), Some(5000));
        ports.release(POOL, TCP, 5000, AT_ONCE);
        assert_eq!(ports.take(&wanted(TCP, 5000), Share::WHOLE, 9, AT_ONCE, |_| true), Some(5000));
        assert_eq!(in_use(&ports, AT_ONCE).ports, [2, 1, 0]);
    }

    #[test]
    fn system_ports_stay_among_themselves_and_run_out() {
        let mut ports = ports();
        let taken: Vec<_> =
            std::iter::from_fn(|| ports.take(&wanted(TCP, 53), Share::WHOLE, 77, AT_ONCE, |_| true))
                .collect();
        assert_eq!(taken.len(), 1023);
        assert!(taken.iter().all(|&port| (1..1024).contains(&port)));
        // Odd ones first.
        assert!(taken[..512].iter().all(|port| port % 2 == 1));
    }

    #[test]
    fn ports_that_may_not_be_given_are_not() {
        let mut ports = ports();
        let all: HashSet<_> = std::iter::from_fn(|| {
            ports.take(&wanted(TCP, 2000), Share::WHOLE, 1, AT_ONCE, |port| port != 2000 && port % 3 == 0)
        })
        .collect();
        assert!(!all.contains(&2000) && all.iter().all(|port| port % 3 == 0));
        assert_eq!(all.len(), (1024..=65535).filter(|port| port % 3 == 0).count());
    }

    #[test]
    fn blocks_are_one_subscribers_and_come_back_when_idle() {
        let mut ports = ports();
        let share = Share { index: 1, count: 2, size_bits: 8 };
        let first = ports.take_block(POOL, share, 3, AT_ONCE).unwrap();
        assert!(first >= 1024 && first.is_multiple_of(256) && share.has(first));
        let port = ports.take_in_block(&wanted(TCP, 5001), (first, 256), AT_ONCE, |_| true).unwrap();
        assert!((first..first + 256).contains(&port) && port % 2 == 1);
        assert_ne!(ports.take_block(POOL, share, 3, AT_ONCE), Some(first));
        assert!(!ports.release_block_if_idle(POOL, first, 256));
        ports.release(POOL, TCP, port, AT_ONCE);
        assert!(ports.release_block_if_idle(POOL, first, 256));
        assert_eq!(in_use(&ports, AT_ONCE), PoolUse { ports: [0; 3], blocks: 1, held: 0 });
        assert_eq!(std::iter::from_fn(|| ports.take_block(POOL, share, 3, AT_ONCE)).count(), 252 / 2 - 1);
    }

    /// RFC 6888 REQ-8.
    #[test]
    fn port_that_came_back_is_nobodys_for_a_while() {
        const UDP: Protocol = Protocol::Udp;
        let mut ports = ports();
        let reuse = Reuse { after: 480, most: 2 };
        let take = |ports: &mut Ports, now| {
            ports.take(&wanted(UDP, 5000), Share::WHOLE, 1, (now, reuse), |port| port == 5000)
        };
        assert_eq!(take(&mut ports, 0), Some(5000));
        ports.release(POOL, UDP, 5000, (100, reuse));
        assert_eq!((take(&mut ports, 101), take(&mut ports, 579)), (None, None));
        let used = |ports: &Ports, now| in_use(ports, (now, reuse));
        assert_eq!(used(&ports, 579), PoolUse { ports: [0; 3], blocks: 0, held: 1 });
        // It is no more when its time is over, though nobody asks for a port.
        assert_eq!(used(&ports, 1060).held, 0);
        // In whatever half of a turn it came, it is free before twice the time is over.
        assert_eq!(take(&mut ports, 580).or_else(|| take(&mut ports, 1060)), Some(5000));
        // More than may be held back are free at once.
        for port in [6000, 6002] {
            assert!(ports.take(&wanted(UDP, port), Share::WHOLE, 1, (2000, reuse), |_| true) == Some(port));
            ports.release(POOL, UDP, port, (2000, reuse));
        }
        ports.release(POOL, UDP, 5000, (2000, reuse));
        assert_eq!((take(&mut ports, 2000), used(&ports, 2000).held), (Some(5000), 2));
        assert_eq!(used(&ports, 2960).held, 0);
    }

    /// RFC 6888 REQ-8: what is held back of a block holds no more than that back.
    #[test]
    fn block_with_held_ports_is_given_last_and_without_them() {
        const UDP: Protocol = Protocol::Udp;
        let (mut ports, share) = (ports(), Share { size_bits: 12, ..Share::WHOLE });
        let time = |now| (now, Reuse { after: 480, most: 100 });
        let first = ports.take_block(POOL, share, 0, time(0)).unwrap();
        let port = ports.take_in_block(&wanted(UDP, 5), (first, 4096), time(0), |_| true).unwrap();
        ports.release(POOL, UDP, port, time(10));
        assert!(ports.release_block_if_idle(POOL, first, 4096));
        let all: Vec<_> = std::iter::from_fn(|| ports.take_block(POOL, share, 0, time(20))).collect();
        assert_eq!((all.len(), all.last()), (15, Some(&first)), "all but the system's");
        let take =
            |ports: &mut Ports, now| ports.take_in_block(&wanted(UDP, 5), (first, 4096), time(now), |_| true);
        let of_block: Vec<_> = std::iter::from_fn(|| take(&mut ports, 20)).collect();
        assert_eq!((of_block.len(), of_block.contains(&port)), (4095, false));
        assert_eq!(take(&mut ports, 1000), Some(port));
    }

    #[test]
    fn block_that_is_held_as_a_whole_is_nobodys() {
        const UDP: Protocol = Protocol::Udp;
        let (mut ports, share) = (ports(), Share::WHOLE);
        let time = |now| (now, Reuse { after: 480, most: 100 });
        let first = ports.take_block(POOL, share, 0, time(0)).unwrap();
        for _ in 0..64 {
            assert!(ports.take_in_block(&wanted(UDP, 5), (first, 64), time(0), |_| true).is_some());
        }
        (first..first + 64).for_each(|port| ports.release(POOL, UDP, port, time(10)));
        assert!(ports.release_block_if_idle(POOL, first, 64));
        let others: Vec<_> = std::iter::from_fn(|| ports.take_block(POOL, share, 0, time(20))).collect();
        assert_eq!(
            (others.len(), others.contains(&first)),
            (1007, false),
            "all but the system's and that one"
        );
        assert_eq!(ports.take_block(POOL, share, 0, time(1000)), Some(first));
    }

    proptest! {
        #[test]
        fn threads_never_give_the_same_port(ports_wanted in proptest::collection::vec(1_u16.., 1..300), count in 1_u32..5) {
            let mut seen = HashSet::new();
            for index in 0..count {
                let mut ports = ports();
                let share = Share { index, count, size_bits: 6 };
                for &port in &ports_wanted {
                    let got = ports.take(&wanted(TCP, port), share, u32::from(port) * 31, AT_ONCE, |_| true);
                    if let Some(got) = got {
                        prop_assert!(seen.insert(got));
                        prop_assert_eq!(got < 1024, port < 1024);
                        prop_assert_eq!(share.place_of(got), index);
                    }
                }
            }
        }
    }
}
