//! Buffers in the hands of a device that reads and writes them by itself: by DMA, or as the kernel does for AF_XDP.
//!
//! A [`Lent`] is the book of one queue: which buffers its device has. A buffer leaves the pool for it by
//! [`Lent::lend_new`] (to be filled) or [`Lent::lend`] (to be sent), and is found again by any place in it that the device
//! names. What the device names is checked against the book: a buffer that it does not have is never touched.

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use crate::abi::{
    BUFFER_DATA_BYTES, BUFFER_DATA_OFFSET, BUFFER_HEADROOM_BYTES, BufferArena, BufferFlags, HostTable,
};
use crate::packet::{MAX_SEGMENTS, buffer};
use crate::{Control, Failure, HeldPacket, Worker, bail};

/// Buffers that are taken from the pool, or given back to it, at a time.
const BATCH: usize = 64;

/// The memory of all packet buffers, as a device sees it. It stays where it is as long as the host runs. Since ABI 1.3.
#[derive(Clone)]
pub struct BufferMemory {
    arena: BufferArena,
    base: NonNull<u8>,
    host: *const HostTable,
}

// SAFETY: facts about memory that stays, and the host's table, of which only functions for any thread are used.
unsafe impl Send for BufferMemory {}
// SAFETY: as above.
unsafe impl Sync for BufferMemory {}

impl BufferMemory {
    /// The first byte, aligned to a page. What a device may do there, the book of [`Lent`] says.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes of the memory, whole pages.
    pub fn len_bytes(&self) -> usize {
        self.arena.length
    }

    /// Bytes from one buffer to the next.
    pub fn stride(&self) -> usize {
        self.arena.stride as usize
    }

    /// Buffers.
    pub fn buffer_count(&self) -> usize {
        self.arena.count as usize
    }

    /// Bytes of a page that is one stretch of the machine's memory.
    pub fn page_bytes(&self) -> usize {
        self.arena.page_bytes
    }

    /// A descriptor by which others can map the memory.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: the descriptor is the host's, which keeps it open as long as it runs.
        (self.arena.fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(self.arena.fd) })
    }
}

/// Whether the host speaks ABI 1.3: it says where its buffers are, and looks which packets a transmit queue has kept.
///
/// # Safety
/// `host` is the host's table, alive.
pub(crate) unsafe fn lends_buffers(host: *const HostTable) -> bool {
    const END: usize = std::mem::offset_of!(HostTable, arena) + size_of::<usize>();
    // SAFETY: as the caller vouches.
    unsafe { HostTable::reaches(host, END) }
}

impl Control<'_> {
    /// Where the packet buffers are, for a device that is to read and write them by itself. Since ABI 1.3.
    ///
    /// # Errors
    /// The host is older.
    pub fn buffer_memory(&self) -> Result<BufferMemory, Failure> {
        let host = std::ptr::from_ref(self.host());
        let mut arena = BufferArena {
            size: size_of::<BufferArena>() as u32,
            stride: 0,
            count: 0,
            fd: -1,
            base: std::ptr::null_mut(),
            length: 0,
            page_bytes: 0,
        };
        // SAFETY: the host's table; the struct has room for the size that it says.
        unsafe {
            if lends_buffers(host) {
                ((*host).arena)((*host).data, &raw mut arena);
            }
        }
        match NonNull::new(arena.base) {
            Some(base) if arena.stride > 0 => Ok(BufferMemory { arena, base, host }),
            _ => bail!("this raddle does not say where its packet buffers are: it speaks an ABI before 1.3"),
        }
    }
}

/// A stretch of a buffer that a device has. It is made by [`Lent`] only.
#[must_use = "a buffer that no device is told of does not come back"]
#[derive(Debug)]
pub struct LentPiece {
    buffer: u64,
    first: u64,
    length: u32,
}

impl LentPiece {
    /// Where its buffer begins, in bytes from [`BufferMemory::base`]: [`BUFFER_DATA_OFFSET`] bytes before the place of a packet.
    #[inline(always)]
    pub fn buffer_offset(&self) -> u64 {
        self.buffer
    }

    /// Where its first byte is, in bytes from [`BufferMemory::base`].
    #[inline(always)]
    pub fn offset(&self) -> u64 {
        self.first
    }

    /// Bytes from there on: what is to be sent, or the room for what comes.
    #[inline(always)]
    pub fn len_bytes(&self) -> u32 {
        self.length
    }
}

/// The buffers that one queue's device has. Whoever drops it knows that the device has let go of them: they go back to the
/// pool. Since ABI 1.3.
pub struct Lent {
    memory: BufferMemory,
    /// A bit for each buffer of the pool.
    out: Box<[u64]>,
    count: usize,
}

impl Lent {
    /// An empty book.
    pub fn new(memory: &BufferMemory) -> Self {
        let out = vec![0; memory.buffer_count().div_ceil(64)].into_boxed_slice();
        Self { memory: memory.clone(), out, count: 0 }
    }

    /// Buffers that the device has.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Takes up to `count` buffers from the pool and names each; returns how many there were.
    pub fn lend_new(&mut self, worker: &Worker<'_>, count: usize, mut tell: impl FnMut(LentPiece)) -> usize {
        let mut done = 0;
        while done < count {
            let mut indices = [0; BATCH];
            let wanted = (count - done).min(BATCH);
            // SAFETY: the context is this thread's; there is room for what is asked for.
            let got = unsafe {
                ((*worker.host()).buffers_allocate)(worker.context(), indices.as_mut_ptr(), wanted as u32)
                    as usize
            };
            for &index in &indices[..got] {
                self.enter(index);
                let buffer = self.start_of(index);
                let first = buffer + BUFFER_DATA_OFFSET as u64;
                tell(LentPiece { buffer, first, length: BUFFER_DATA_BYTES as u32 });
            }
            done += got;
            if got < wanted {
                break;
            }
        }
        done
    }

    /// Lends a packet to be sent: names the pieces of its buffers in order, each with whether more follow; returns how many. Its
    /// buffers come back one by one.
    ///
    /// # Errors
    /// It has no bytes, more than `most` buffers, or shares one with another packet: it comes back as it was.
    pub fn lend(
        &mut self,
        worker: &Worker<'_>,
        packet: HeldPacket,
        most: usize,
        mut tell: impl FnMut(LentPiece, bool),
    ) -> Result<usize, HeldPacket> {
        let context = worker.context();
        let head = packet.buffer_index();
        // SAFETY: the packet is owned by `packet`; nobody else reaches its header.
        let flags = unsafe { (*buffer(context, head)).flags };
        if flags & (BufferFlags::CHAINED | BufferFlags::SHARED) != 0 {
            return self.lend_chain(worker, packet, most, tell);
        }
        // SAFETY: as above.
        let (data, length) = unsafe {
            let header = &*buffer(context, head);
            (header.current_data, header.current_length)
        };
        if length == 0 || most == 0 {
            return Err(packet);
        }
        self.enter(packet.into_index());
        tell(self.piece(head, data, length), false);
        Ok(1)
    }

    #[cold]
    fn lend_chain(
        &mut self,
        worker: &Worker<'_>,
        packet: HeldPacket,
        most: usize,
        mut tell: impl FnMut(LentPiece, bool),
    ) -> Result<usize, HeldPacket> {
        let context = worker.context();
        let mut pieces = [(0, 0, 0); MAX_SEGMENTS];
        let (mut count, mut used) = (0, 0);
        let mut next = Some(packet.buffer_index());
        while let Some(index) = next {
            // SAFETY: the chain belongs to `packet`, which is owned here.
            let header = unsafe { &*buffer(context, index) };
            if header.flags & BufferFlags::SHARED != 0 || count == pieces.len() {
                return Err(packet);
            }
            pieces[count] = (index, header.current_data, header.current_length);
            count += 1;
            used += usize::from(header.current_length > 0);
            next = (header.flags & BufferFlags::CHAINED != 0).then_some(header.next_buffer);
        }
        if used == 0 || used > most {
            return Err(packet);
        }
        packet.into_index();
        let mut left = used;
        for &(index, data, length) in &pieces[..count] {
            // SAFETY: the buffer was the packet's and is of its own from here on.
            unsafe { (*buffer(context, index)).flags = 0 };
            if length == 0 {
                // SAFETY: the context is this thread's; the buffer is given up.
                unsafe { ((*worker.host()).buffers_free)(context, &index, 1) };
                continue;
            }
            self.enter(index);
            left -= 1;
            tell(self.piece(index, data, length), left > 0);
        }
        Ok(used)
    }

    /// A packet of the `length` bytes that the device has put into one of its buffers, from `first` bytes behind
    /// [`BufferMemory::base`] on. `None` if it has no buffer there, or the bytes reach out of its buffer, which is then given back.
    #[inline]
    pub fn receive(&mut self, worker: &Worker<'_>, first: u64, length: u32) -> Option<HeldPacket> {
        let (index, within) = self.leave(first)?;
        let least = BUFFER_DATA_OFFSET - BUFFER_HEADROOM_BYTES;
        let room = (BUFFER_DATA_OFFSET + BUFFER_DATA_BYTES).checked_sub(within);
        if within < least || room.is_none_or(|room| length as usize > room) {
            // SAFETY: the context is this thread's; the buffer was the device's, which has let go of it.
            unsafe { ((*worker.host()).buffers_free)(worker.context(), &index, 1) };
            return None;
        }
        // SAFETY: the book has just said that the buffer is ours alone.
        let packet = unsafe { HeldPacket::from_new(worker.context(), index) };
        // SAFETY: as above; both numbers were checked: the header's invariant holds.
        unsafe {
            let header = &mut *buffer(worker.context(), index);
            header.current_data = (within as isize - BUFFER_DATA_OFFSET as isize) as i16;
            header.current_length = length as u16;
        }
        Some(packet)
    }

    /// Gives buffers back to the pool that the device has let go of, each by any place in it. Returns how many of those named the
    /// device did not have.
    pub fn give_back(&mut self, worker: &Worker<'_>, places: impl IntoIterator<Item = u64>) -> usize {
        let (mut indices, mut count, mut unknown) = ([0; BATCH], 0, 0);
        let free = |indices: &[u32]| {
            // SAFETY: the context is this thread's; the buffers were the device's, which has let go of them.
            unsafe {
                ((*worker.host()).buffers_free)(worker.context(), indices.as_ptr(), indices.len() as u32);
            }
        };
        for place in places {
            let Some((index, _)) = self.leave(place) else {
                unknown += 1;
                continue;
            };
            indices[count] = index;
            count += 1;
            if count == BATCH {
                free(&indices);
                count = 0;
            }
        }
        if count > 0 {
            free(&indices[..count]);
        }
        unknown
    }

    #[inline(always)]
    fn start_of(&self, index: u32) -> u64 {
        u64::from(index) * u64::from(self.memory.arena.stride)
    }

    #[inline(always)]
    fn piece(&self, index: u32, data: i16, length: u16) -> LentPiece {
        let buffer = self.start_of(index);
        let first = buffer.wrapping_add_signed(BUFFER_DATA_OFFSET as i64 + i64::from(data));
        LentPiece { buffer, first, length: u32::from(length) }
    }

    #[inline(always)]
    fn enter(&mut self, index: u32) {
        self.out[index as usize / 64] |= 1 << (index % 64);
        self.count += 1;
    }

    /// Strikes out the buffer that holds the place; `None` if the device does not have it.
    #[inline(always)]
    fn leave(&mut self, place: u64) -> Option<(u32, usize)> {
        let stride = u64::from(self.memory.arena.stride);
        let index = u32::try_from(place / stride).ok().filter(|&index| index < self.memory.arena.count)?;
        let (word, bit) = (&mut self.out[index as usize / 64], 1 << (index % 64));
        if *word & bit == 0 {
            return None;
        }
        *word &= !bit;
        self.count -= 1;
        Some((index, (place % stride) as usize))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let host = self.memory.host;
        for (word, bits) in self.out.iter().enumerate() {
            for bit in (0..64).filter(|bit| bits >> bit & 1 != 0) {
                let index = (word * 64 + bit) as u32;
                // SAFETY: the host outlives what is made of its buffers; this one was the device's, which has let go of it.
                unsafe { ((*host).buffers_free_remote)((*host).data, &index, 1) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Transmit, TxQueue};
    use crate::testing::Harness;

    /// A device that keeps what it is to send.
    struct Wire {
        lent: Lent,
        /// Of each piece: its buffer, its first byte, its length, whether more follow.
        told: Vec<(u64, u64, u32, bool)>,
    }

    impl Wire {
        fn new(host: &mut Harness) -> Self {
            Self { lent: book(host), told: Vec::new() }
        }
    }

    impl TxQueue for Wire {
        const KEEPS: bool = true;

        fn transmit(&mut self, tx: &mut Transmit<'_>) -> usize {
            let mut sent = 0;
            for position in 0..tx.len() {
                let packet = tx.keep(position).unwrap();
                let told = &mut self.told;
                let outcome = self.lent.lend(tx.worker(), packet, 3, |piece, more| {
                    told.push((piece.buffer_offset(), piece.offset(), piece.len_bytes(), more));
                });
                sent += usize::from(outcome.is_ok());
            }
            sent
        }
    }

    fn book(host: &mut Harness) -> Lent {
        let memory = host.control(|control| control.buffer_memory()).unwrap();
        assert!(memory.file().is_none() && memory.page_bytes() >= 4096);
        Lent::new(&memory)
    }

    #[test]
    fn what_is_sent_stays_out_of_the_pool_until_it_comes_back() {
        let mut host = Harness::builder().build();
        let mut wire = Wire::new(&mut host);
        assert_eq!(host.transmit(&mut wire, [vec![1; 60], vec![7; 5000]]), 2);
        assert_eq!((wire.lent.count(), host.held_buffers()), (4, 4), "a buffer, and a chain of three");
        let sizes: Vec<_> = wire.told.iter().map(|piece| (piece.2, piece.3)).collect();
        assert_eq!(sizes, [(60, false), (2048, true), (2048, true), (904, false)]);
        assert!(wire.told.iter().all(|piece| piece.1 - piece.0 == BUFFER_DATA_OFFSET as u64));
        let places: Vec<_> = wire.told.iter().flat_map(|piece| [piece.1 + 5, piece.1 + 5]).collect();
        let unknown = host.worker(0, |worker| wire.lent.give_back(worker, places));
        assert_eq!((unknown, wire.lent.count()), (4, 0), "each comes back once");
        host.assert_no_leaks();
    }

    #[test]
    fn what_has_too_many_buffers_or_no_bytes_is_not_lent() {
        let mut host = Harness::builder().build();
        let mut wire = Wire::new(&mut host);
        assert_eq!(host.transmit(&mut wire, [vec![1; 8000], Vec::new()]), 0);
        assert!(wire.told.is_empty());
        host.assert_no_leaks();
    }

    #[test]
    fn a_device_is_believed_only_about_buffers_that_it_has() {
        let mut host = Harness::builder().build();
        let mut lent = book(&mut host);
        let mut buffers = Vec::new();
        let got = host.worker(0, |worker| {
            lent.lend_new(worker, 5, |piece| buffers.push((piece.buffer_offset(), piece.len_bytes())))
        });
        assert_eq!((got, lent.count()), (5, 5));
        let (data, room) = (BUFFER_DATA_OFFSET as u64, buffers[0].1);
        host.worker(0, |worker| {
            let mut take = |place: u64, length: u32| {
                lent.receive(worker, place, length).map(|mut held| {
                    let packet = worker.open(&mut held);
                    (packet.len(), packet.headroom())
                })
            };
            assert_eq!(take(buffers[0].0 + data, 60), Some((60, BUFFER_HEADROOM_BYTES)));
            assert_eq!(take(buffers[0].0 + data, 60), None, "it does not have it any more");
            assert_eq!(take(buffers[1].0 + data - BUFFER_HEADROOM_BYTES as u64, room), Some((2048, 0)));
            assert_eq!(take(buffers[2].0 + data, room + 1), None, "the bytes reach out of the buffer");
            assert_eq!(take(buffers[3].0, 60), None, "the bytes reach into the header");
            for place in [u64::MAX, u64::from(u32::MAX) * 2368, 1 << 40] {
                assert_eq!(take(place, 60), None, "{place}");
            }
        });
        assert_eq!(lent.count(), 1);
        drop(lent);
        host.assert_no_leaks();
    }

    #[test]
    fn a_dry_pool_lends_what_there_is() {
        let mut host = Harness::builder().build();
        let mut lent = book(&mut host);
        host.limit_buffers(Some(70));
        assert_eq!(host.worker(0, |worker| lent.lend_new(worker, 100, drop)), 70);
        assert_eq!(lent.count(), 70);
    }
}
