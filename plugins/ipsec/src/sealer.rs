//! Wraps and encrypts the packets of a frame: the part of the sending nodes that they share.

use arrayvec::ArrayVec;
use raddle_plugin_api::abi::FRAME_SIZE;
use raddle_plugin_api::{HeldPacket, Packet, Worker};

use crate::engine::{Engine, Job, ready};
use crate::esp::{Inner, IvSource, Layout, Upper, wrap_transport, wrap_tunnel};
use crate::reason::SealError;
use crate::sa::{Mode, Outbound, Run};

/// What has become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// It is an ESP packet, from its IP header on.
    Done,
    /// Its bytes are in several buffers, or shared: [`Sealer::seal_copy`] is for it.
    NeedsCopy,
    /// It is to be dropped.
    Dropped(SealError),
}

/// One for each node and thread.
#[derive(Default)]
pub struct Sealer {
    /// Made with the first packet: some take a megabyte.
    engines: Vec<Box<dyn Engine>>,
    ivs: IvSource,
    scratch: Vec<u8>,
}

/// Whose keys a packet is encrypted with; `None`: it is another one's to drop.
pub type Choice<'s> = Result<&'s Outbound, SealError>;

/// Sequence numbers for packets in a row that go by one SA.
struct Numbers<'s> {
    sa: Option<&'s Outbound>,
    run: Run,
    stopped: Option<SealError>,
}

impl Sealer {
    /// Makes ESP packets of the packets, each of which begins with its IP header, by the SAs chosen for them.
    pub fn seal(
        &mut self,
        worker: &Worker<'_>,
        packets: &mut [Packet<'_>],
        choices: &[Choice<'_>],
        fates: &mut [Sealed; FRAME_SIZE],
    ) {
        let mut jobs: ArrayVec<Job<'_>, FRAME_SIZE> = ArrayVec::new();
        let mut places = [0_u16; FRAME_SIZE];
        let mut numbers = Numbers { sa: None, run: Run { first: 0, count: 0 }, stopped: None };
        let mut lengths = [0_u32; FRAME_SIZE];
        for (length, packet) in lengths.iter_mut().zip(packets.iter()) {
            *length = packet.len() as u32;
        }
        for (position, packet) in packets.iter_mut().enumerate() {
            let sa = match choices[position] {
                Ok(sa) => sa,
                Err(error) => {
                    fates[position] = Sealed::Dropped(error);
                    continue;
                }
            };
            if packet.is_chained() || packet.is_shared() {
                fates[position] = Sealed::NeedsCopy;
                continue;
            }
            if !numbers.is_for(sa) {
                numbers.draw(worker, sa, &choices[position..], &lengths[position..]);
            }
            fates[position] = match numbers.next() {
                Ok(sequence) => match prepare(sa, sequence, &mut self.ivs, packet) {
                    Ok(esp) => {
                        places[jobs.len()] = position as u16;
                        let high = sa.description.esn.then_some((sequence >> 32) as u32);
                        let bytes = &mut packet.bytes_mut()[esp..];
                        jobs.push(Job { keys: &sa.keys, packet: bytes, high, done: false });
                        Sealed::Done
                    }
                    Err(error) => Sealed::Dropped(error),
                },
                Err(error) => Sealed::Dropped(error),
            };
        }
        for engine in ready(&mut self.engines) {
            engine.seal(&mut jobs);
        }
        for (job, &position) in jobs.iter().zip(&places) {
            if !job.done {
                fates[usize::from(position) % FRAME_SIZE] = Sealed::Dropped(SealError::Crypto);
            }
        }
    }

    /// As [`Self::seal`], of one packet of any number of buffers: into a new one.
    ///
    /// # Errors
    /// Why it is to be dropped.
    #[cold]
    pub fn seal_copy(
        &mut self,
        worker: &Worker<'_>,
        packet: &Packet<'_>,
        sa: &Outbound,
    ) -> Result<HeldPacket, SealError> {
        let run = number(worker, sa, 1, packet.len() as u64)?;
        let length = packet.len();
        let payload = match sa.description.mode {
            Mode::Tunnel => length,
            Mode::Transport => {
                let upper = Upper::of(packet.bytes()).ok_or(SealError::Malformed)?;
                length.checked_sub(upper.offset).ok_or(SealError::Malformed)?
            }
        };
        let layout = Layout::of(sa, payload);
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        bytes.resize(layout.front + length + layout.behind, 0);
        packet.copy_out(0, &mut bytes[layout.front..layout.front + length]);
        let outcome = self.seal_bytes(sa, run.first, &mut bytes, layout, length).and_then(|()| {
            let mut made = worker.allocate_like(packet).ok_or(SealError::NoBuffer)?;
            let mut view = worker.open(&mut made);
            if !worker.append(&mut view, &bytes) {
                return Err(SealError::NoBuffer);
            }
            Ok(made)
        });
        self.scratch = bytes;
        outcome
    }

    fn seal_bytes(
        &mut self,
        sa: &Outbound,
        sequence: u64,
        bytes: &mut [u8],
        layout: Layout,
        length: usize,
    ) -> Result<(), SealError> {
        let esp = wrap(sa, sequence, &mut self.ivs, bytes, layout, length)?;
        let high = sa.description.esn.then_some((sequence >> 32) as u32);
        let mut jobs = [Job { keys: &sa.keys, packet: &mut bytes[esp..], high, done: false }];
        for engine in ready(&mut self.engines) {
            engine.seal(&mut jobs);
        }
        if jobs[0].done { Ok(()) } else { Err(SealError::Crypto) }
    }
}

/// Takes sequence numbers, and counts the packets that they are for.
#[inline(always)]
fn number(worker: &Worker<'_>, sa: &Outbound, packets: u64, bytes: u64) -> Result<Run, SealError> {
    if !sa.usage.count(packets, bytes, worker.now_ns(), &sa.lifetime) {
        return Err(SealError::Ended);
    }
    Ok(sa.take(packets)?)
}

impl<'s> Numbers<'s> {
    #[inline(always)]
    fn is_for(&self, sa: &Outbound) -> bool {
        self.sa.is_some_and(|mine| std::ptr::eq(mine, sa)) && (self.run.count > 0 || self.stopped.is_some())
    }

    /// Numbers for all packets in a row that go by this SA: `choices` and `lengths` are of this packet and those behind it.
    #[inline(always)]
    fn draw(&mut self, worker: &Worker<'_>, sa: &'s Outbound, choices: &[Choice<'_>], lengths: &[u32]) {
        let same = |choice: &&Choice<'_>| choice.as_ref().is_ok_and(|other| std::ptr::eq(*other, sa));
        let count = choices.iter().take_while(same).count();
        let bytes = lengths[..count].iter().map(|&length| u64::from(length)).sum();
        self.sa = Some(sa);
        match number(worker, sa, count as u64, bytes) {
            Ok(run) => (self.run, self.stopped) = (run, None),
            Err(error) => (self.run.count, self.stopped) = (0, Some(error)),
        }
    }

    #[inline(always)]
    fn next(&mut self) -> Result<u64, SealError> {
        if let Some(error) = self.stopped {
            return Err(error);
        }
        let sequence = self.run.first;
        self.run.first += 1;
        self.run.count -= 1;
        Ok(sequence)
    }
}

/// Makes room around a packet of one buffer and fills it. Returns where the ESP header is.
#[inline(always)]
fn prepare(
    sa: &Outbound,
    sequence: u64,
    ivs: &mut IvSource,
    packet: &mut Packet<'_>,
) -> Result<usize, SealError> {
    let length = packet.len();
    let payload = match sa.description.mode {
        Mode::Tunnel => length,
        Mode::Transport => {
            let upper = Upper::of(packet.bytes()).ok_or(SealError::Malformed)?;
            length.checked_sub(upper.offset).ok_or(SealError::Malformed)?
        }
    };
    let layout = Layout::of(sa, payload);
    if !packet.extend(layout.behind) {
        return Err(SealError::NoRoom);
    }
    let bytes = packet.prepend(layout.front).ok_or(SealError::NoRoom)?;
    wrap(sa, sequence, ivs, bytes, layout, length)
}

#[inline(always)]
fn wrap(
    sa: &Outbound,
    sequence: u64,
    ivs: &mut IvSource,
    bytes: &mut [u8],
    layout: Layout,
    length: usize,
) -> Result<usize, SealError> {
    let packet = &bytes[layout.front..layout.front + length];
    match sa.description.mode {
        Mode::Tunnel => {
            let inner = Inner::of(packet, length).ok_or(SealError::Malformed)?;
            Ok(wrap_tunnel(sa, sequence, ivs, bytes, layout, &inner)?)
        }
        Mode::Transport => {
            // RFC 4301 §4.1: between the ends themselves.
            if !Inner::is_between(packet, sa.description.local, sa.description.remote) {
                return Err(SealError::SelectorMismatch);
            }
            let upper = Upper::of(packet).ok_or(SealError::Malformed)?;
            Ok(wrap_transport(sa, sequence, ivs, bytes, layout, &upper)?)
        }
    }
}
