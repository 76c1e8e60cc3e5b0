//! A queue whose other side is no kernel, but the test.

use std::sync::Mutex;

use proptest::prelude::*;
use raddle_plugin_api::abi::BUFFER_DATA_BYTES;
use raddle_plugin_api::testing::{Harness, packets};

use super::*;
use crate::ring::tests::pair;

/// Both ends of a queue, and in `kernel` the other sides of their rings, which no kernel has.
struct Bench {
    host: Harness,
    receiver: Receiver,
    sender: Sender,
    rx: Producer<Descriptor>,
    fill: Consumer<u64>,
    tx: Consumer<Descriptor>,
    completion: Producer<u64>,
}

impl Bench {
    fn new(most_pieces: u32) -> Self {
        let mut host = Harness::builder().build();
        let memory = host.control(|control| control.buffer_memory()).unwrap();
        let fd = rustix::fs::memfd_create("no socket", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let socket = Arc::new(Socket {
            fd: Some(fd),
            memory: memory.clone(),
            link: 0,
            queue: 0,
            zero_copy: false,
            in_pieces: true,
            gauges: None,
            left: Mutex::default(),
        });
        let (rx, rx_own) = pair(64);
        let (fill_own, fill) = pair(128);
        let (tx_own, tx) = pair(64);
        let (completion, completion_own) = pair(128);
        let receiver = Receiver {
            rx: rx_own,
            fill: fill_own,
            lent: Some(Lent::new(&memory)),
            page_bytes: None,
            busy_polls: false,
            starves: false,
            socket: Arc::clone(&socket),
        };
        let sender = Sender {
            tx: tx_own,
            completion: completion_own,
            lent: Some(Lent::new(&memory)),
            page_bytes: None,
            most_pieces,
            has_pending: false,
            socket,
        };
        Self { host, receiver, sender, rx, fill, tx, completion }
    }

    /// Has the kernel's side put entries into the receive ring; returns the lengths of what came of them.
    fn receive(&mut self, entries: &[Descriptor]) -> Vec<Option<usize>> {
        assert!(self.rx.room(entries.len() as u32) as usize >= entries.len());
        for entry in entries {
            self.rx.push(*entry);
        }
        self.rx.submit();
        let receiver = &mut self.receiver;
        self.host.worker(0, |worker| {
            let mut lengths = Vec::new();
            while let Some(Delivery { packet, .. }) = receiver.next(worker) {
                lengths.push(packet.map(|mut packet| worker.open(&mut packet).len()));
            }
            receiver.finish(worker);
            lengths
        })
    }
}

#[test]
fn buffers_go_round_by_the_fill_and_receive_rings() {
    let mut bench = Bench::new(1);
    assert!(bench.receive(&[]).is_empty());
    let first: Vec<_> = std::iter::from_fn(|| bench.fill.pop()).collect();
    bench.fill.release();
    assert_eq!(first.len(), 128, "the fill ring is full from the first call on");
    let entries: Vec<_> = first
        .iter()
        .take(64)
        .map(|&buffer| Descriptor { address: buffer | 256 << OFFSET_SHIFT, length: 60, options: 0 })
        .collect();
    assert_eq!(bench.receive(&entries), vec![Some(60); 64]);
    assert_eq!(bench.receiver.lent.as_ref().unwrap().count(), 128 + 64);
    let Bench { mut host, receiver, sender, .. } = bench;
    drop((receiver, sender));
    host.assert_no_leaks();
}

#[test]
fn packets_go_out_in_their_pieces_and_come_back_once() {
    let mut bench = Bench::new(3);
    let frame = packets::udp("192.0.2.1:1", "198.51.100.2:2").payload_length(5000).ethernet().to_vec();
    let (sender, host) = (&mut bench.sender, &mut bench.host);
    host.worker(0, |worker| {
        let mut packet = worker.allocate().unwrap();
        assert!(worker.append(&mut worker.open(&mut packet), &frame));
        assert!(sender.send(worker, packet).is_ok());
        assert!(sender.send(worker, worker.allocate().unwrap()).is_err(), "it has no bytes");
        sender.kick(worker);
    });
    let pieces: Vec<_> = std::iter::from_fn(|| bench.tx.pop()).collect();
    assert_eq!(pieces.iter().map(|piece| piece.options).collect::<Vec<_>>(), [1, 1, 0]);
    assert_eq!(pieces.iter().map(|piece| piece.length as usize).sum::<usize>(), frame.len());
    assert_eq!(bench.sender.under_way(), 3);
    bench.completion.room(6);
    for piece in pieces.iter().chain(&pieces) {
        bench.completion.push(piece.address);
    }
    bench.completion.submit();
    let (sender, host) = (&mut bench.sender, &mut bench.host);
    host.worker(0, |worker| sender.reap(worker));
    assert_eq!(bench.sender.under_way(), 0);
    let Bench { mut host, receiver, sender, .. } = bench;
    drop((receiver, sender));
    host.assert_no_leaks();
}

proptest! {
    #[test]
    fn no_entry_of_the_kernels_makes_a_packet_of_what_it_does_not_have(
        entries in proptest::collection::vec((any::<u64>(), 0..5000_u32, any::<u32>(), 0..8_u8), 0..40),
        completions in proptest::collection::vec(any::<u64>(), 0..40),
    ) {
        let mut bench = Bench::new(1);
        bench.receive(&[]);
        let buffers: Vec<_> = std::iter::from_fn(|| bench.fill.pop()).collect();
        let entries: Vec<_> = entries
            .into_iter()
            .enumerate()
            .map(|(number, (address, length, options, kind))| {
                // Half of them name a buffer that the kernel has, or had.
                let near = buffers[number / 2] + address % 3000;
                Descriptor { address: if kind < 4 { near } else { address }, length, options }
            })
            .collect();
        for length in bench.receive(&entries).into_iter().flatten() {
            prop_assert!(length <= BUFFER_DATA_BYTES + 128);
        }
        bench.completion.room(40);
        completions.iter().for_each(|&place| { bench.completion.push(place); });
        bench.completion.submit();
        let (sender, host) = (&mut bench.sender, &mut bench.host);
        host.worker(0, |worker| sender.reap(worker));
        let Bench { mut host, receiver, sender, .. } = bench;
        drop((receiver, sender));
        host.assert_no_leaks();
    }
}

#[test]
fn fill_ring_without_a_buffer_that_fits_is_starved() {
    let mut bench = Bench::new(1);
    // No buffer lies on one page of this size.
    bench.receiver.page_bytes = Some(512);
    bench.receive(&[]);
    assert_eq!(bench.fill.pop(), None);
    assert!(bench.receiver.is_starved(), "somebody has to look again");
    let Bench { mut host, receiver, sender, .. } = bench;
    drop((receiver, sender));
    host.assert_no_leaks();
}

#[test]
fn devices_are_given_few_pieces_but_those_of_the_largest_frame() {
    assert_eq!(
        [(false, false), (false, true), (true, false)].map(|(zc, sg)| most_pieces(zc, sg)),
        [1, 17, 1]
    );
    let largest = 9216 + 14 + 2 * 4;
    assert_eq!(most_pieces(true, true) as usize, usize::div_ceil(largest, BUFFER_DATA_BYTES));
}

#[test]
fn pieces_on_one_page_are_together() {
    for (start, length, page, apart) in [
        (0, 4096, Some(4096), false),
        (1, 4096, Some(4096), true),
        (4095, 1, Some(4096), false),
        (4095, 2, Some(4096), true),
        (4096, 0, Some(4096), false),
        (4095, 9000, None, false),
    ] {
        assert_eq!(is_apart(start, length, page), apart, "{start} {length} {page:?}");
    }
}
