//! Checks, decrypts and unwraps the packets of a frame: the part of the receiving nodes that they share.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use raddle_plugin_api::abi::FRAME_SIZE;
use raddle_plugin_api::wire::{Ip4Header, Ip6Header, Ip6Upper, IpProtocol, UdpHeader};
use raddle_plugin_api::{HeldPacket, Packet, Worker};

use crate::engine::{ESP_BYTES, Engine, Job, Parts, ready};
use crate::esp::{Upper, carries, trailer, unwrap_transport, unwrap_tunnel};
use crate::reason::OpenError;
use crate::sa::{Inbound, Mode, UdpPorts};
use crate::tables::{Entry, Tables};

/// What has become of a packet.
#[derive(Clone, Copy)]
pub enum Opened<'t> {
    /// It is none of ours: neither ESP nor ESP in UDP.
    NotOurs,
    /// It is what came by this SA, from its IP header on.
    Done(&'t Entry),
    /// Its bytes are in several buffers, or shared: [`Opener::open_copy`] is for it.
    NeedsCopy,
    /// It is to be dropped.
    Dropped(OpenError),
}

/// One for each node and thread.
#[derive(Default)]
pub struct Opener {
    /// Made with the first packet: some take a megabyte.
    engines: Vec<Box<dyn Engine>>,
    scratch: Vec<u8>,
}

/// An ESP packet in its outer one.
#[derive(Clone, Copy)]
struct Envelope {
    source: IpAddr,
    destination: IpAddr,
    /// DSCP and ECN.
    class: u8,
    udp: Option<UdpPorts>,
    /// Where the ESP header is.
    esp: usize,
    upper: Upper,
}

/// A packet whose SA is known.
#[derive(Clone, Copy)]
struct Pending<'t> {
    position: usize,
    entry: &'t Entry,
    envelope: Envelope,
    sequence: u64,
}

/// What came by one SA in a row, counted at once.
struct Tally<'t> {
    sa: Option<&'t Inbound>,
    packets: u64,
    bytes: u64,
}

impl<'t> Tally<'t> {
    #[inline(always)]
    fn add(&mut self, worker: &Worker<'_>, sa: &'t Inbound, bytes: usize) {
        if !self.sa.is_some_and(|mine| std::ptr::eq(mine, sa)) {
            self.flush(worker);
            self.sa = Some(sa);
        }
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// At a hard bound of its life the SA ends with these packets.
    #[inline(always)]
    fn flush(&mut self, worker: &Worker<'_>) {
        if let Some(sa) = self.sa {
            sa.usage.count(self.packets, self.bytes, worker.now_ns(), &sa.lifetime);
        }
        (self.packets, self.bytes) = (0, 0);
    }
}

impl Opener {
    /// Opens the ESP packets among packets that begin with their IP headers.
    pub fn open<'t>(
        &mut self,
        worker: &Worker<'_>,
        tables: &'t Tables,
        packets: &mut [Packet<'_>],
        fates: &mut [Opened<'t>; FRAME_SIZE],
    ) {
        let mut jobs: ArrayVec<Job<'_>, FRAME_SIZE> = ArrayVec::new();
        let mut pending: ArrayVec<Pending<'t>, FRAME_SIZE> = ArrayVec::new();
        for (position, packet) in packets.iter_mut().enumerate() {
            if (packet.is_chained() || packet.is_shared()) && is_esp(packet.bytes()) {
                fates[position] = Opened::NeedsCopy;
                continue;
            }
            match find(tables, packet.bytes()) {
                Ok(Some((entry, envelope, sequence))) => {
                    let high = entry.sa.description.esn.then_some((sequence >> 32) as u32);
                    let bytes = &mut packet.bytes_mut()[envelope.esp..];
                    jobs.push(Job { keys: &entry.sa.keys, packet: bytes, high, done: false });
                    pending.push(Pending { position, entry, envelope, sequence });
                }
                Ok(None) => fates[position] = Opened::NotOurs,
                Err(error) => fates[position] = Opened::Dropped(error),
            }
        }
        for engine in ready(&mut self.engines) {
            engine.open(&mut jobs);
        }
        let mut done = [false; FRAME_SIZE];
        for (done, job) in done.iter_mut().zip(&jobs) {
            *done = job.done;
        }
        drop(jobs);
        let mut tally = Tally { sa: None, packets: 0, bytes: 0 };
        for (pending, done) in pending.iter().zip(done) {
            let packet = &mut packets[pending.position];
            let unwrapped = accept(pending, done)
                .and_then(|()| unwrap(pending.entry, &pending.envelope, packet.bytes_mut()));
            if let Ok((_, length)) = unwrapped {
                tally.add(worker, &pending.entry.sa, length);
            }
            fates[pending.position % FRAME_SIZE] = match unwrapped {
                Ok((front, length)) => {
                    // Both are within the packet: they were found in it.
                    packet.advance(front);
                    packet.truncate(length);
                    Opened::Done(pending.entry)
                }
                Err(error) => Opened::Dropped(error),
            };
        }
        tally.flush(worker);
    }

    /// As [`Self::open`], of one packet of any number of buffers: into a new one.
    ///
    /// # Errors
    /// Why it is to be dropped.
    #[cold]
    pub fn open_copy<'t>(
        &mut self,
        worker: &Worker<'_>,
        tables: &'t Tables,
        packet: &Packet<'_>,
    ) -> Result<(HeldPacket, &'t Entry), OpenError> {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        bytes.resize(packet.len(), 0);
        packet.copy_out(0, &mut bytes);
        let outcome = self.open_bytes(worker.now_ns(), tables, &mut bytes).and_then(|(range, entry)| {
            let mut made = worker.allocate_like(packet).ok_or(OpenError::NoBuffer)?;
            let mut view = worker.open(&mut made);
            if !worker.append(&mut view, &bytes[range]) {
                return Err(OpenError::NoBuffer);
            }
            Ok((made, entry))
        });
        self.scratch = bytes;
        outcome
    }

    /// As [`Self::open`], of the bytes of one packet: where the packet is that was inside, and by which SA it came.
    ///
    /// # Errors
    /// Why it is to be dropped.
    pub fn open_bytes<'t>(
        &mut self,
        now_ns: u64,
        tables: &'t Tables,
        bytes: &mut [u8],
    ) -> Result<(std::ops::Range<usize>, &'t Entry), OpenError> {
        let (entry, envelope, sequence) = find(tables, bytes)?.ok_or(OpenError::Malformed)?;
        let high = entry.sa.description.esn.then_some((sequence >> 32) as u32);
        let mut jobs = [Job { keys: &entry.sa.keys, packet: &mut bytes[envelope.esp..], high, done: false }];
        for engine in ready(&mut self.engines) {
            engine.open(&mut jobs);
        }
        let done = jobs[0].done;
        accept(&Pending { position: 0, entry, envelope, sequence }, done)?;
        let (front, length) = unwrap(entry, &envelope, bytes)?;
        entry.sa.usage.count(1, length as u64, now_ns, &entry.sa.lifetime);
        Ok((front..front + length, entry))
    }
}

/// Whether a packet looks like ESP, in UDP or not: one that does not is left in its buffers.
fn is_esp(bytes: &[u8]) -> bool {
    !matches!(envelope(bytes), Ok(None))
}

/// Where the ESP packet is; `None` if there is none.
#[inline(always)]
fn envelope(bytes: &[u8]) -> Result<Option<Envelope>, OpenError> {
    let (source, destination, class, upper) = match bytes.first().map(|first| first >> 4) {
        Some(4) => {
            let (ip, _) = Ip4Header::parse(bytes).ok_or(OpenError::Malformed)?;
            let upper = Upper { offset: ip.header_length(), named_at: 9, protocol: ip.protocol() };
            let ends = (ip.source().to_std().into(), ip.destination().to_std().into());
            (ends.0, ends.1, ip.traffic_class(), upper)
        }
        Some(6) => {
            let (ip, _) = Ip6Header::parse(bytes).ok_or(OpenError::Malformed)?;
            let found = Ip6Upper::find_as_destination(bytes).map_err(|_| OpenError::Malformed)?;
            let upper = Upper { offset: found.offset, named_at: found.named_at, protocol: found.protocol };
            let ends = (ip.source().to_std().into(), ip.destination().to_std().into());
            (ends.0, ends.1, ip.traffic_class(), upper)
        }
        _ => return Ok(None),
    };
    if upper.protocol == IpProtocol::ESP {
        let udp = None;
        return Ok(Some(Envelope { source, destination, class, udp, esp: upper.offset, upper }));
    }
    if upper.protocol != IpProtocol::UDP {
        return Ok(None);
    }
    let datagram = bytes.get(upper.offset..).unwrap_or_default();
    let Some((udp, _)) = UdpHeader::parse(datagram) else { return Err(OpenError::Malformed) };
    let ports = UdpPorts { local: udp.destination_port(), remote: udp.source_port() };
    let esp = upper.offset + 8;
    Ok(Some(Envelope { source, destination, class, udp: Some(ports), esp, upper }))
}

/// The SA of a packet, and its whole sequence number: everything that can be said before it is known to be authentic.
#[inline(always)]
fn find<'t>(tables: &'t Tables, bytes: &[u8]) -> Result<Option<(&'t Entry, Envelope, u64)>, OpenError> {
    let Some(envelope) = envelope(bytes)? else { return Ok(None) };
    let esp = bytes.get(envelope.esp..).unwrap_or_default();
    if let Some(ports) = envelope.udp {
        if !tables.has_udp_port(ports.local) {
            return Ok(None);
        }
        // RFC 3948 §2.2, §2.3: IKE begins with a marker of zeros, and a keep-alive is one byte.
        match esp {
            [0xff] => return Err(OpenError::KeepAlive),
            [0, 0, 0, 0, ..] => return Ok(None),
            _ => {}
        }
    }
    let Some((&[a, b, c, d, e, f, g, h], _)) = esp.split_first_chunk::<ESP_BYTES>() else {
        return Err(OpenError::Runt);
    };
    let entry = tables.inbound(u32::from_be_bytes([a, b, c, d])).ok_or(OpenError::NoSa)?;
    let (sa, description) = (&entry.sa, &entry.sa.description);
    if description.local != envelope.destination
        || description.remote != envelope.source
        || description.udp.map(|ports| ports.local) != envelope.udp.map(|ports| ports.local)
    {
        return Err(OpenError::OuterMismatch);
    }
    if Parts::of(description.suite, esp.len()).is_none() {
        return Err(OpenError::Runt);
    }
    if sa.usage.ended.load(Ordering::Relaxed) {
        return Err(OpenError::Ended);
    }
    let low = u32::from_be_bytes([e, f, g, h]);
    let sequence = match &sa.replay {
        Some(window) => {
            let sequence = if description.esn { window.extend(low) } else { low.into() };
            window.check(sequence).map_err(|_| OpenError::Replay)?;
            sequence
        }
        None => low.into(),
    };
    Ok(Some((entry, envelope, sequence)))
}

/// Notes an authentic packet, exactly once (RFC 4303 §3.4.3: not before it is known to be authentic).
#[inline(always)]
fn accept(pending: &Pending<'_>, is_authentic: bool) -> Result<(), OpenError> {
    if !is_authentic {
        return Err(OpenError::Integrity);
    }
    let sa: &Inbound = &pending.entry.sa;
    if let Some(window) = &sa.replay {
        window.take(pending.sequence).map_err(|_| OpenError::Replay)?;
    }
    Ok(())
}

/// What was inside: bytes to drop at the front, and bytes that there are then.
#[inline(always)]
fn unwrap(entry: &Entry, envelope: &Envelope, bytes: &mut [u8]) -> Result<(usize, usize), OpenError> {
    let description = &entry.sa.description;
    let esp = &bytes[envelope.esp..];
    let parts = Parts::of(description.suite, esp.len()).ok_or(OpenError::Runt)?;
    let (end, protocol) = trailer(esp, &parts)?;
    let payload = envelope.esp + parts.text.start..envelope.esp + end;
    if !carries(description.mode, protocol) {
        return Err(OpenError::SelectorMismatch);
    }
    match description.mode {
        Mode::Tunnel => {
            let inner = &mut bytes[payload.clone()];
            let length = unwrap_tunnel(inner, protocol, envelope.class, entry.sa.follows_ecn)?;
            Ok((payload.start, length))
        }
        Mode::Transport => Ok(unwrap_transport(bytes, &envelope.upper, payload, protocol)?),
    }
}
