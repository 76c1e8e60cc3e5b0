//! Adjacencies: what is done with a packet once its next hop is known. One cache line each.
//!
//! # Who reads, who writes
//!
//! Rows are atomics. Workers read them at any time without a lock; only the main thread writes. Everything that decides
//! about a packet (kind, length of the rewrite, next node, tx interface) is one word, so that it is seen whole. The
//! rewrite's bytes are three more words, which a reader looks at only after it has seen the kind
//! [`AdjacencyKind::Rewrite`], and they are never seen half:
//!
//! 1. The bytes are written only while the row's kind is another, and no thread is left that has seen `Rewrite` since the
//!    bytes were last written. To change live bytes the row first becomes [`AdjacencyKind::Incomplete`]; the new bytes
//!    follow in a deferred call, when every thread has passed a quiescent point and so has forgotten what it had seen.
//!    Packets in between go to the neighbour node, which keeps them or drops them as for any unresolved neighbour.
//! 2. Then the kind is set with release order; a reader that sees it (acquire) sees the bytes that were stored before.
//!
//! Next hop and family are written before the index is handed out, and an index is handed out again only when every thread
//! has passed a quiescent point since its release. What outlives a quiescent point (a queued packet) must not trust an
//! index that it noted: it goes through the lookup again.
//!
//! # Packets of an adjacency
//!
//! `ip4-lookup` and `ip6-lookup` send a packet on by its adjacency's kind; rows of kind `Glean` and `Incomplete` go to
//! `ip4-neighbor` and `ip6-neighbor`. There a packet is in this state:
//!
//! - its first byte is that of the IP header, also noted by `mark_l3`; the header is checked (version, lengths, IPv4
//!   checksum), link-layer padding is cut off;
//! - `adjacency()` is the row. `Incomplete`: the next hop is the row's ([`Adjacency::next_hop`]). `Glean`: the next hop is the
//!   packet's destination, on the row's interface;
//! - `rx_interface()` and `fib_index()` are as the input node set them; `tx_interface()` is not set;
//! - TTL or hop limit is above 1, or the packet is local ([`raddle_plugin_api::Packet::is_local`]); it is not decremented
//!   yet; the MTU is not checked yet;
//! - GSO and partial checksums are as they came.
//!
//! Packets of a `Watched` row come there in the same state, and go on to `ip4-rewrite` or `ip6-rewrite` at once.
//!
//! To send one on that had to wait for its neighbour, hand it to `ip4-lookup` or `ip6-lookup`, unchanged, with its `fib_index()`: the route
//! of the neighbour leads it to the row that is complete by then.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::wire::{EtherType, EthernetHeader, MacAddress};
use raddle_plugin_api::{Control, InterfaceIndex, NodeIndex};
use serde::Serialize;
use zerocopy::{FromZeros, IntoBytes};

pub use super::adjacency_kind::AdjacencyKind;
pub use super::family::Family;

/// Adjacencies that can exist at a time.
pub const MAX_ADJACENCIES: usize = 1 << 18;
/// The longest rewrite, in bytes.
pub const MAX_REWRITE_BYTES: usize = 24;

const WORDS: usize = 8;
const STATE: usize = 0;
const REWRITE: usize = 1;
const LIMITS: usize = 4;
const NEXT_HOP: usize = 5;
const LINE_BYTES: usize = 64;

const HAS_IP4: u64 = 1 << 32;
const HAS_IP6: u64 = 1 << 33;

type Row = [AtomicU64; WORDS];

/// An adjacency, by its row in the table. Forwarding tables hold it as a leaf, packets as `adjacency()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct AdjacencyIndex(pub u32);

impl AdjacencyIndex {
    /// What a lookup without a route gives: unreachable. Forwarding tables cannot hold it as a leaf.
    pub const NO_ROUTE: Self = Self(0);
    /// Drops.
    pub const DROP: Self = Self(1);
    /// Drops without a word to the sender.
    pub const BLACKHOLE: Self = Self(2);
    /// Drops and tells the sender that the destination cannot be reached.
    pub const UNREACHABLE: Self = Self(3);
    /// Drops and tells the sender that it may not.
    pub const PROHIBIT: Self = Self(4);
    /// An own address.
    pub const LOCAL: Self = Self(5);
    /// To the plugin that took the punt hook.
    pub const PUNT: Self = Self(6);
    /// A link-local IPv6 destination: which one depends on the interface.
    pub const LINK_LOCAL: Self = Self(7);

    const FIRST_FREE: u32 = 8;
    const FIXED: [(Self, AdjacencyKind); Self::FIRST_FREE as usize] = [
        (Self::NO_ROUTE, AdjacencyKind::NoRoute),
        (Self::DROP, AdjacencyKind::Drop),
        (Self::BLACKHOLE, AdjacencyKind::Blackhole),
        (Self::UNREACHABLE, AdjacencyKind::Unreachable),
        (Self::PROHIBIT, AdjacencyKind::Prohibit),
        (Self::LOCAL, AdjacencyKind::Local),
        (Self::PUNT, AdjacencyKind::Punt),
        (Self::LINK_LOCAL, AdjacencyKind::LinkLocal),
    ];
}

/// The word of a row that decides about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State(u64);

impl State {
    const fn new(kind: AdjacencyKind, interface: InterfaceIndex) -> Self {
        Self(kind as u64 | (interface.0 as u64) << 32)
    }

    const fn with_rewrite(self, length: usize, node: u16, watched: bool) -> Self {
        let kind = if watched { AdjacencyKind::Watched } else { AdjacencyKind::Rewrite };
        Self(self.0 & !0xffff_ffff | kind as u64 | (length as u64) << 8 | (node as u64) << 16)
    }

    const fn with_kind(self, kind: AdjacencyKind) -> Self {
        Self(self.0 & !0xffff_ffff | kind as u64)
    }

    const fn interface(self) -> InterfaceIndex {
        InterfaceIndex((self.0 >> 32) as u32)
    }
}

/// A row as a worker sees it at one moment.
#[derive(Clone, Copy)]
pub struct Adjacency<'t> {
    row: &'t Row,
    state: State,
}

impl Adjacency<'_> {
    /// What is done with the packet.
    #[inline(always)]
    pub fn kind(&self) -> AdjacencyKind {
        AdjacencyKind::from_bits(self.state.0)
    }

    /// Whether the row says: put these 14 bytes in front and send from the interface, by `interface-output`.
    #[inline(always)]
    pub fn is_plain_ethernet(&self) -> bool {
        self.state.0 as u32 == AdjacencyKind::Rewrite as u32 | (EthernetHeader::LENGTH as u32) << 8
    }

    /// The interface on which the next hop is; [`InterfaceIndex::NONE`] for the fixed rows.
    #[inline(always)]
    pub fn interface(&self) -> InterfaceIndex {
        self.state.interface()
    }

    /// The node behind the rewrite, where it is not the usual way over `interface-output`; of kind `Node` the node itself.
    #[inline(always)]
    pub fn node(&self) -> Option<NodeIndex> {
        let node = (self.state.0 >> 16) as u16;
        (node != 0).then(|| NodeIndex::from_host(node))
    }

    /// Largest L3 packet towards the next hop, in bytes.
    #[inline(always)]
    pub fn mtu(&self) -> usize {
        self.row[LIMITS].load(Ordering::Relaxed) as u32 as usize
    }

    /// Bytes of the rewrite.
    #[inline(always)]
    pub fn rewrite_length(&self) -> usize {
        (usize::from((self.state.0 >> 8) as u8)).min(MAX_REWRITE_BYTES)
    }

    /// The rewrite, with zeros behind its [`Self::rewrite_length`]. Means something only where the kind is `Rewrite`.
    #[inline(always)]
    pub fn rewrite(&self) -> [u8; MAX_REWRITE_BYTES] {
        let mut bytes = [0; MAX_REWRITE_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(&self.row[REWRITE..LIMITS]) {
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        bytes
    }

    /// The 14 bytes of an Ethernet rewrite as they lie in memory, where [`Self::is_plain_ethernet`].
    #[inline(always)]
    pub fn ethernet(&self) -> [u64; 2] {
        [REWRITE, REWRITE + 1].map(|word| self.row[word].load(Ordering::Relaxed))
    }

    /// The FIB index in which the destination is looked up again; means something only where the kind is `Table`.
    #[inline]
    pub fn fib(&self) -> u32 {
        self.row[NEXT_HOP + 1].load(Ordering::Relaxed) as u32
    }

    /// The next hop's address; `None` for glean and fixed rows.
    #[inline]
    pub fn next_hop(&self) -> Option<IpAddr> {
        let limits = self.row[LIMITS].load(Ordering::Relaxed);
        let words = [&self.row[NEXT_HOP], &self.row[NEXT_HOP + 1]].map(|word| word.load(Ordering::Relaxed));
        if limits & HAS_IP4 != 0 {
            Some(Ipv4Addr::from_bits(words[1] as u32).into())
        } else if limits & HAS_IP6 != 0 {
            Some(Ipv6Addr::from_bits(u128::from(words[0]) << 64 | u128::from(words[1])).into())
        } else {
            None
        }
    }
}

/// Why an adjacency could not be had or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdjacencyError {
    /// all {MAX_ADJACENCIES} adjacencies are in use
    #[error("all {MAX_ADJACENCIES} adjacencies are in use")]
    Full,
    /// a rewrite of {length} bytes is longer than {MAX_REWRITE_BYTES}
    #[error("a rewrite of {length} bytes is longer than {MAX_REWRITE_BYTES}")]
    RewriteTooLong {
        /// Its length.
        length: usize,
    },
}

/// What an adjacency leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Glean(InterfaceIndex, Family),
    NextHop(InterfaceIndex, IpAddr),
    Table(u32, Family),
    Node(u16, Family),
}

/// What a row puts in front of packets.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Rewrite {
    bytes: [u8; MAX_REWRITE_BYTES],
    length: usize,
    node: u16,
}

/// Who may be looking at a row's rewrite bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bytes {
    /// Nobody: they may be written.
    Quiet,
    /// Anybody: the row's kind is `Rewrite`.
    Live(Rewrite),
    /// Threads that have not passed a quiescent point since the row stopped being `Rewrite`. Then: these.
    Settling(Option<Rewrite>),
}

/// What the main thread keeps of a row.
struct Slot {
    key: Key,
    references: u32,
    bytes: Bytes,
    /// Whether the row is `Watched` while its bytes are live.
    watched: bool,
    /// Deferred calls that will come for this row.
    deferred: u32,
}

struct Writer {
    slots: HashMap<u32, Slot>,
    by_key: HashMap<Key, u32>,
    free: Vec<u32>,
    /// Rows from here on have never been used.
    untouched: u32,
}

/// Whether a deferred call must settle the row.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settle {
    Done,
    Later(AdjacencyIndex),
}

/// A row of the table as a command shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AdjacencyInfo {
    /// The row.
    pub index: AdjacencyIndex,
    /// What is done with its packets.
    pub kind: AdjacencyKind,
    /// Its interface.
    pub interface: InterfaceIndex,
    /// The next hop; `None` of a connected network's.
    pub next_hop: Option<IpAddr>,
    /// The family of its packets.
    pub family: Family,
    /// Largest L3 packet, in bytes.
    pub mtu: u32,
    /// The rewrite; empty while there is none.
    pub rewrite: Vec<u8>,
    /// Routes and neighbours that use it.
    pub references: u32,
}

/// The table of adjacencies. A resource of the core; see the module's page for who reads and who writes.
pub struct AdjacencyTable {
    words: Vec<AtomicU64>,
    /// Words in front of the first row, which starts a cache line.
    origin: usize,
    writer: Mutex<Writer>,
}

impl AdjacencyTable {
    /// A table that holds the fixed rows. Memory for the others is taken as they are used.
    ///
    /// # Errors
    /// When the process has no address space for it.
    pub fn new() -> Result<Self, AdjacencyError> {
        let words =
            AtomicU64::new_vec_zeroed(MAX_ADJACENCIES * WORDS + WORDS).map_err(|_| AdjacencyError::Full)?;
        let behind_line = words.as_ptr().addr() % LINE_BYTES;
        let origin = (LINE_BYTES - behind_line) % LINE_BYTES / size_of::<AtomicU64>();
        let writer = Writer {
            slots: HashMap::new(),
            by_key: HashMap::new(),
            free: Vec::new(),
            untouched: AdjacencyIndex::FIRST_FREE,
        };
        let table = Self { words, origin, writer: Mutex::new(writer) };
        for (index, kind) in AdjacencyIndex::FIXED {
            table.row(index.0)[STATE].store(State::new(kind, InterfaceIndex::NONE).0, Ordering::Release);
        }
        Ok(table)
    }

    #[inline(always)]
    fn rows(&self) -> &[Row] {
        self.words[self.origin..].as_chunks().0
    }

    #[inline(always)]
    fn row(&self, index: u32) -> &Row {
        let rows = self.rows();
        // A leaf or a packet's field is never beyond the table; masking is cheaper than to prove it.
        &rows[index as usize & (MAX_ADJACENCIES - 1)]
    }

    /// The row as it is now, for workers.
    #[inline(always)]
    pub fn get(&self, index: u32) -> Adjacency<'_> {
        let row = self.row(index);
        Adjacency { row, state: State(row[STATE].load(Ordering::Acquire)) }
    }

    /// Has the row's cache line fetched.
    #[inline(always)]
    pub fn prefetch(&self, index: u32) {
        raddle_plugin_api::prefetch_read(self.row(index));
    }

    /// The adjacency of a next hop on an interface, made incomplete if it is not there yet. The caller has a reference to
    /// it, which it gives back by [`Self::release`]. `mtu` is the interface's, in bytes, and counts for a new one.
    ///
    /// # Errors
    /// The table is full.
    pub fn allocate(
        &self,
        interface: InterfaceIndex,
        next_hop: IpAddr,
        mtu: u32,
    ) -> Result<AdjacencyIndex, AdjacencyError> {
        self.acquire(Key::NextHop(interface, next_hop), mtu)
    }

    /// The adjacency of an interface's connected networks of a family, with a reference as [`Self::allocate`].
    ///
    /// # Errors
    /// The table is full.
    pub fn allocate_glean(
        &self,
        interface: InterfaceIndex,
        family: Family,
        mtu: u32,
    ) -> Result<AdjacencyIndex, AdjacencyError> {
        self.acquire(Key::Glean(interface, family), mtu)
    }

    /// The adjacency that has destinations looked up again in the table of a FIB index, with a reference as
    /// [`Self::allocate`].
    ///
    /// # Errors
    /// The table is full.
    pub fn allocate_table(&self, fib: u32, family: Family) -> Result<AdjacencyIndex, AdjacencyError> {
        self.acquire(Key::Table(fib, family), 0)
    }

    /// The adjacency that leads to a node, and takes a reference to it.
    ///
    /// # Errors
    /// There is no room.
    pub fn allocate_node(&self, node: u16, family: Family) -> Result<AdjacencyIndex, AdjacencyError> {
        self.acquire(Key::Node(node, family), 0)
    }

    /// The adjacency of a next hop, if there is one. No reference is taken.
    pub fn find(&self, interface: InterfaceIndex, next_hop: IpAddr) -> Option<AdjacencyIndex> {
        self.writer().by_key.get(&Key::NextHop(interface, next_hop)).copied().map(AdjacencyIndex)
    }

    /// The adjacencies of an interface, or all. By index.
    pub fn list(&self, interface: Option<InterfaceIndex>) -> Vec<AdjacencyInfo> {
        let writer = self.writer();
        let mut list: Vec<_> = writer
            .slots
            .iter()
            .filter(|(_, slot)| slot.references > 0)
            .map(|(&index, slot)| self.describe(index, slot))
            .filter(|info| interface.is_none_or(|interface| interface == info.interface))
            .collect();
        list.sort_unstable_by_key(|info| info.index);
        list
    }

    /// One adjacency; `None` if nobody uses the row, or for the fixed ones.
    pub fn info(&self, index: AdjacencyIndex) -> Option<AdjacencyInfo> {
        let writer = self.writer();
        writer.slots.get(&index.0).filter(|slot| slot.references > 0).map(|slot| self.describe(index.0, slot))
    }

    /// Takes one more reference to an adjacency that is in use.
    pub fn retain(&self, index: AdjacencyIndex) {
        if let Some(slot) = self.writer().slots.get_mut(&index.0) {
            slot.references += 1;
        }
    }

    /// Gives a reference back. When it was the last, the row drops packets from now on, and is used again when no thread
    /// can know it any more. Fixed rows are not counted.
    pub fn release(self: &Arc<Self>, control: &Control<'_>, index: AdjacencyIndex) {
        self.settle_later(control, self.give_back(index));
    }

    /// The link-layer address of the next hop is known: from now on (see the module's page for "now") packets leave with this
    /// Ethernet header, over `interface-output`. Says nothing new: nothing happens.
    pub fn set_rewrite(
        self: &Arc<Self>,
        control: &Control<'_>,
        index: AdjacencyIndex,
        destination: MacAddress,
        source: MacAddress,
        ethertype: EtherType,
    ) {
        let header = EthernetHeader::new(destination, source, ethertype);
        let mut bytes = [0; MAX_REWRITE_BYTES];
        bytes[..EthernetHeader::LENGTH].copy_from_slice(header.as_bytes());
        let rewrite = Rewrite { bytes, length: EthernetHeader::LENGTH, node: 0 };
        self.settle_later(control, self.complete(index, rewrite));
    }

    /// As [`Self::set_rewrite`], with any bytes (none on an interface without link-layer header), and a node that gets the
    /// packets instead of `interface-output` (a tunnel's).
    ///
    /// # Errors
    /// The bytes are more than [`MAX_REWRITE_BYTES`].
    pub fn set_rewrite_bytes(
        self: &Arc<Self>,
        control: &Control<'_>,
        index: AdjacencyIndex,
        header: &[u8],
        node: Option<NodeIndex>,
    ) -> Result<(), AdjacencyError> {
        let mut bytes = [0; MAX_REWRITE_BYTES];
        let length = header.len();
        bytes.get_mut(..length).ok_or(AdjacencyError::RewriteTooLong { length })?.copy_from_slice(header);
        let rewrite = Rewrite { bytes, length, node: node.map_or(0, NodeIndex::number) };
        self.settle_later(control, self.complete(index, rewrite));
        Ok(())
    }

    /// The link-layer address of the next hop is not known any more: packets go to the neighbour node at once.
    pub fn set_incomplete(self: &Arc<Self>, control: &Control<'_>, index: AdjacencyIndex) {
        self.settle_later(control, self.forget(index));
    }

    /// Whether the next packet of a complete adjacency goes by the neighbour node, so that its use is seen. The rewrite stays
    /// as it is: threads that have seen `Rewrite` or `Watched` may go on with its bytes.
    pub fn set_watched(&self, index: AdjacencyIndex, watched: bool) {
        let mut writer = self.writer();
        let Some(slot) = writer.slots.get_mut(&index.0).filter(|slot| slot.references > 0) else {
            return;
        };
        slot.watched = watched;
        if let Bytes::Live(rewrite) = slot.bytes {
            let word = &self.row(index.0)[STATE];
            let state = State(word.load(Ordering::Relaxed));
            word.store(state.with_rewrite(rewrite.length, rewrite.node, watched).0, Ordering::Release);
        }
    }

    /// The MTU of an interface has changed: so has that of its adjacencies.
    pub fn set_mtu(&self, interface: InterfaceIndex, mtu: u32) {
        for &index in self.writer().slots.keys() {
            let row = self.row(index);
            if State(row[STATE].load(Ordering::Relaxed)).interface() == interface {
                let limits = row[LIMITS].load(Ordering::Relaxed) & !0xffff_ffff | u64::from(mtu);
                row[LIMITS].store(limits, Ordering::Relaxed);
            }
        }
    }

    fn settle_later(self: &Arc<Self>, control: &Control<'_>, settle: Settle) {
        if let Settle::Later(index) = settle {
            let table = Arc::clone(self);
            control.defer(move |_| table.settle(index));
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acquire(&self, key: Key, mtu: u32) -> Result<AdjacencyIndex, AdjacencyError> {
        let mut writer = self.writer();
        let writer = &mut *writer;
        if let Some(&index) = writer.by_key.get(&key) {
            if let Some(slot) = writer.slots.get_mut(&index) {
                slot.references += 1;
            }
            return Ok(AdjacencyIndex(index));
        }
        let index = match writer.free.pop() {
            Some(index) => index,
            None if (writer.untouched as usize) < MAX_ADJACENCIES => {
                writer.untouched += 1;
                writer.untouched - 1
            }
            None => return Err(AdjacencyError::Full),
        };
        let (interface, kind, family_bit, next_hop) = match key {
            Key::Glean(interface, _) => (interface, AdjacencyKind::Glean, 0, 0),
            Key::NextHop(interface, IpAddr::V4(ip)) => {
                (interface, AdjacencyKind::Incomplete, HAS_IP4, u128::from(ip.to_bits()))
            }
            Key::NextHop(interface, IpAddr::V6(ip)) => {
                (interface, AdjacencyKind::Incomplete, HAS_IP6, ip.to_bits())
            }
            Key::Table(fib, _) => (InterfaceIndex::NONE, AdjacencyKind::Table, 0, u128::from(fib)),
            Key::Node(..) => (InterfaceIndex::NONE, AdjacencyKind::Node, 0, 0),
        };
        let row = self.row(index);
        row[LIMITS].store(family_bit | u64::from(mtu), Ordering::Relaxed);
        row[NEXT_HOP].store((next_hop >> 64) as u64, Ordering::Relaxed);
        row[NEXT_HOP + 1].store(next_hop as u64, Ordering::Relaxed);
        let node = if let Key::Node(node, _) = key { u64::from(node) << 16 } else { 0 };
        row[STATE].store(State::new(kind, interface).0 | node, Ordering::Release);
        writer.by_key.insert(key, index);
        writer
            .slots
            .insert(index, Slot { key, references: 1, bytes: Bytes::Quiet, watched: false, deferred: 0 });
        Ok(AdjacencyIndex(index))
    }

    fn give_back(&self, index: AdjacencyIndex) -> Settle {
        let mut writer = self.writer();
        let writer = &mut *writer;
        let Some(slot) = writer.slots.get_mut(&index.0).filter(|slot| slot.references > 0) else {
            return Settle::Done;
        };
        slot.references -= 1;
        if slot.references > 0 {
            return Settle::Done;
        }
        writer.by_key.remove(&slot.key);
        self.set_kind(index, AdjacencyKind::Drop);
        slot.bytes = Bytes::Settling(None);
        slot.deferred += 1;
        Settle::Later(index)
    }

    fn complete(&self, index: AdjacencyIndex, rewrite: Rewrite) -> Settle {
        let mut writer = self.writer();
        let Some(slot) = writer.slots.get_mut(&index.0).filter(|slot| slot.references > 0) else {
            return Settle::Done;
        };
        match slot.bytes {
            Bytes::Live(present) if present == rewrite => Settle::Done,
            Bytes::Live(_) => {
                self.set_kind(index, AdjacencyKind::Incomplete);
                slot.bytes = Bytes::Settling(Some(rewrite));
                slot.deferred += 1;
                Settle::Later(index)
            }
            Bytes::Settling(_) => {
                slot.bytes = Bytes::Settling(Some(rewrite));
                Settle::Done
            }
            Bytes::Quiet => {
                self.write_bytes(index, &rewrite, slot.watched);
                slot.bytes = Bytes::Live(rewrite);
                Settle::Done
            }
        }
    }

    fn forget(&self, index: AdjacencyIndex) -> Settle {
        let mut writer = self.writer();
        let Some(slot) = writer.slots.get_mut(&index.0).filter(|slot| slot.references > 0) else {
            return Settle::Done;
        };
        match slot.bytes {
            Bytes::Quiet => Settle::Done,
            Bytes::Settling(_) => {
                slot.bytes = Bytes::Settling(None);
                Settle::Done
            }
            Bytes::Live(_) => {
                self.set_kind(index, AdjacencyKind::Incomplete);
                slot.bytes = Bytes::Settling(None);
                slot.deferred += 1;
                Settle::Later(index)
            }
        }
    }

    /// Every thread has passed a quiescent point since the row was changed by the call that asked for this one.
    fn settle(&self, index: AdjacencyIndex) {
        let mut writer = self.writer();
        let writer = &mut *writer;
        let Some(slot) = writer.slots.get_mut(&index.0) else {
            return;
        };
        slot.deferred -= 1;
        if slot.references == 0 {
            // The last of the row's deferred calls frees it: what it was changed for last is settled then, too.
            if slot.deferred == 0 {
                writer.slots.remove(&index.0);
                writer.free.push(index.0);
            }
            return;
        }
        if let Bytes::Settling(then) = slot.bytes {
            slot.bytes = match then {
                Some(rewrite) => {
                    self.write_bytes(index, &rewrite, slot.watched);
                    Bytes::Live(rewrite)
                }
                None => Bytes::Quiet,
            };
        }
    }

    fn set_kind(&self, index: AdjacencyIndex, kind: AdjacencyKind) {
        let state = &self.row(index.0)[STATE];
        state.store(State(state.load(Ordering::Relaxed)).with_kind(kind).0, Ordering::Release);
    }

    /// Nobody looks at the row's bytes: they are written, then the kind.
    fn write_bytes(&self, index: AdjacencyIndex, rewrite: &Rewrite, watched: bool) {
        let row = self.row(index.0);
        for (word, chunk) in row[REWRITE..LIMITS].iter().zip(rewrite.bytes.as_chunks::<8>().0) {
            word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
        }
        let state =
            State(row[STATE].load(Ordering::Relaxed)).with_rewrite(rewrite.length, rewrite.node, watched);
        row[STATE].store(state.0, Ordering::Release);
    }

    fn describe(&self, index: u32, slot: &Slot) -> AdjacencyInfo {
        let adjacency = self.get(index);
        let (next_hop, family) = match slot.key {
            Key::Glean(_, family) | Key::Table(_, family) | Key::Node(_, family) => (None, family),
            Key::NextHop(_, address) => (Some(address), Family::of(address)),
        };
        let rewrite = match slot.bytes {
            Bytes::Live(rewrite) => rewrite.bytes[..rewrite.length].to_vec(),
            Bytes::Quiet | Bytes::Settling(_) => Vec::new(),
        };
        AdjacencyInfo {
            index: AdjacencyIndex(index),
            kind: adjacency.kind(),
            interface: adjacency.interface(),
            next_hop,
            family,
            mtu: adjacency.mtu() as u32,
            rewrite,
            references: slot.references,
        }
    }
}

#[cfg(test)]
#[path = "adjacency_tests.rs"]
mod tests;
