//! Packets: their bytes, their room, their chains.

use proptest::prelude::*;
use raddle_plugin_api::Field;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Sample};

/// Bytes of data and headroom in a buffer.
const DATA: usize = 2048;
const HEADROOM: usize = 128;

/// Runs `body` on a new packet.
fn with_packet<R>(host: &mut Harness, body: impl FnOnce(&Worker<'_>, &mut Packet<'_>) -> R) -> R {
    host.worker(0, |worker| {
        let mut held = worker.allocate().unwrap();
        body(worker, &mut worker.open(&mut held))
    })
}

#[test]
fn a_new_packet_is_empty_and_from_nowhere() {
    let mut host = Harness::builder().build();
    with_packet(&mut host, |_, packet| {
        assert!(packet.is_empty() && packet.bytes().is_empty() && !packet.is_chained());
        assert_eq!(
            (packet.rx_interface(), packet.tx_interface()),
            (InterfaceIndex::NONE, InterfaceIndex::NONE)
        );
        assert!(!packet.is_local() && !packet.is_traced() && !packet.is_shared() && !packet.has_offload());
        assert_eq!(packet.headroom(), HEADROOM);
    });
    host.assert_no_leaks();
}

#[test]
fn front_moves_within_headroom_and_bytes() {
    let mut host = Harness::builder().build();
    with_packet(&mut host, |_, packet| {
        assert!(packet.append(b"0123456789"));
        assert!(packet.advance(4));
        assert_eq!((packet.bytes(), packet.headroom()), (&b"456789"[..], HEADROOM + 4));
        assert!(!packet.advance(7), "further than there are bytes");
        assert_eq!(packet.bytes(), b"456789");
        assert!(packet.prepend(HEADROOM + 5).is_none(), "further than there is room");
        assert_eq!(packet.bytes(), b"456789");
        assert_eq!(packet.prepend(4).unwrap(), b"0123456789");
        let whole = packet.prepend(HEADROOM).unwrap();
        assert_eq!(whole.len(), HEADROOM + 10);
        whole[..HEADROOM].fill(0xaa);
        assert_eq!((packet.headroom(), packet.prepend(1).is_none()), (0, true));
        assert!(packet.advance(HEADROOM + 10) && packet.is_empty());
    });
}

#[test]
fn lengths_near_the_limits_of_arithmetic_are_refused() {
    let mut host = Harness::builder().build();
    with_packet(&mut host, |_, packet| {
        assert!(packet.append(b"abc"));
        for length in [usize::MAX, isize::MAX as usize, u16::MAX as usize + 1, i16::MAX as usize + 1] {
            assert!(!packet.advance(length) && packet.prepend(length).is_none());
            packet.truncate(length);
        }
        assert_eq!(packet.bytes(), b"abc");
    });
}

#[test]
fn appending_stops_at_the_buffers_end() {
    let mut host = Harness::builder().build();
    with_packet(&mut host, |_, packet| {
        assert!(packet.append(&[1; DATA]));
        assert!(!packet.append(&[2]) && packet.append(&[]));
        assert!(packet.advance(DATA));
        assert!(!packet.append(&[2]), "advancing makes no room at the end");
        packet.prepend(100).unwrap();
        packet.truncate(50);
        assert!(packet.append(&[3; 50]) && !packet.append(&[3]));
        assert_eq!(packet.len(), 100);
    });
}

#[test]
fn the_network_header_is_found_again() {
    let mut host = Harness::builder().build();
    with_packet(&mut host, |_, packet| {
        assert!(packet.append(b"ethernet|ip|udp"));
        assert!(packet.advance(9));
        packet.mark_l3();
        assert!(packet.advance(3));
        assert_eq!((packet.bytes(), packet.l3_distance()), (&b"udp"[..], 3));
        assert!(packet.rewind_to_l3());
        assert_eq!(packet.bytes(), b"ip|udp");
        packet.prepend(9).unwrap();
        assert_eq!(packet.l3_distance(), -9);
        assert!(!packet.rewind_to_l3(), "it lies ahead");
    });
}

#[test]
fn copies_are_whole_up_to_64_kib_and_independent() {
    let mut host = Harness::builder().buffers(200).build();
    let bytes: Vec<u8> = (0..65_535_u32).map(|number| (number * 7 % 251) as u8).collect();
    for limit in [0, 1, DATA - 1, DATA, DATA + 1, 9000, 65_534, 65_535, usize::MAX] {
        let found = host.copy_of(Sample::new(bytes.as_slice()), limit);
        let wanted = &bytes[..bytes.len().min(limit)];
        assert!(found.bytes() == wanted, "limit {limit}: {} bytes", found.len());
        assert_eq!(found.segments().len(), wanted.len().div_ceil(DATA).max(1), "limit {limit}");
        host.assert_no_leaks();
    }
}

#[test]
fn a_copy_gives_its_buffers_back_when_the_pool_runs_dry() {
    let mut host = Harness::builder().buffers(100).build();
    let packet = Sample::new(vec![5; 60_000]);
    host.limit_buffers(Some(10));
    let out = host.run::<Copier>([packet]);
    assert_eq!((out.to("copies").len(), out.to("originals").len()), (0, 1));
    assert_eq!(host.refused_buffers(), 1);
    host.assert_no_leaks();
}

next! { enum Ways { Copies => "copies", Originals => "originals" } }

/// Sends a copy beside each packet.
struct Copier;

impl Node for Copier {
    const NAME: &'static str = "copier";
    type Next = Ways;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            if let Some(copy) = env.worker().copy(packet, usize::MAX) {
                packet.for_each_segment_mut(|_, bytes| bytes.fill(0));
                env.send(copy, Verdict::Next(Ways::Copies));
            }
            Verdict::Next(Ways::Originals)
        });
    }
}

trait CopyOf {
    fn copy_of(&mut self, sample: Sample, limit: usize) -> Sample;
}

impl CopyOf for Harness {
    fn copy_of(&mut self, sample: Sample, limit: usize) -> Sample {
        struct Limited(usize);
        impl Node for Limited {
            const NAME: &'static str = "limited";
            type Next = Ways;
            type Error = NoError;

            fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
                Ok(Self(*init.resource::<usize>()?))
            }

            fn process(&mut self, vector: Vector<'_, Self>) {
                let limit = self.0;
                vector.each(|env, packet| {
                    let limit = if limit == 0 { packet.flow_id() as usize } else { limit };
                    let copy = env.worker().copy(packet, limit).unwrap();
                    env.send(copy, Verdict::Next(Ways::Copies));
                    Verdict::Next(Ways::Originals)
                });
            }
        }
        // The first caller provides; later ones send their limit along.
        let _ = self.control(|control| control.provide(std::sync::Arc::new(0_usize)));
        let flow = u32::try_from(limit).unwrap_or(u32::MAX);
        let out = self.run::<Limited>([sample.with_flow_id(flow)]);
        out.to("copies")[0].clone()
    }
}

#[test]
fn copies_keep_what_the_packet_is_and_do_not_share_its_bytes() {
    let mut host = Harness::builder().interface("a", |i| i).build();
    let packet = Sample::new(vec![7; 5000]).with_fib_index(4).in_segments(&[1, 2000, 3]);
    let out = host.run::<Copier>([packet]);
    let (copy, original) = (out.to("copies")[0], out.to("originals")[0]);
    assert!(copy.bytes().iter().all(|&byte| byte == 7) && original.bytes().iter().all(|&byte| byte == 0));
    assert_eq!((copy.rx_interface(), copy.fib_index()), (host.interface("a"), 4));
    assert_eq!(original.segments(), [1, 2000, 3, 2048, 948]);
    host.assert_no_leaks();
}

/// Looks at a packet's pieces, and cuts it to what its flow id says.
struct Cutter;

impl Node for Cutter {
    const NAME: &'static str = "cutter";
    type Next = Ways;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, packet| {
            let before: Vec<u8> = packet.segments().flatten().copied().collect();
            assert_eq!(before.len(), packet.len());
            let (offset, length) = (packet.flow_id() as usize, before.len() / 3);
            let mut piece = vec![0; length];
            let copied = packet.copy_out(offset, &mut piece);
            let wanted = &before[offset.min(before.len())..(offset + length).min(before.len())];
            assert_eq!(&piece[..copied], wanted);
            let mut offsets = 0;
            packet.for_each_segment_mut(|offset, bytes| {
                assert_eq!(offset, offsets);
                offsets += bytes.len();
                bytes.iter_mut().for_each(|byte| *byte ^= 0xff);
            });
            packet.truncate(offset);
            assert_eq!(packet.len(), offset.min(before.len()));
            Verdict::Next(Ways::Originals)
        });
    }
}

proptest! {
    #[test]
    fn chains_read_copy_and_cut_as_one_run_of_bytes(
        segments in proptest::collection::vec(0_usize..2048, 1..30),
        cut in 0_u32..40_000,
    ) {
        let mut host = Harness::builder().buffers(64).build();
        let bytes: Vec<u8> = (0..segments.iter().sum::<usize>()).map(|n| (n % 251) as u8).collect();
        let sample = Sample::new(bytes.as_slice()).in_segments(&segments).with_flow_id(cut);
        let out = host.run::<Cutter>([sample]);
        let wanted: Vec<u8> = bytes.iter().take(cut as usize).map(|byte| byte ^ 0xff).collect();
        prop_assert_eq!(out.one().packet.bytes(), wanted);
        host.assert_no_leaks();
    }
}

/// Makes one packet of the packets of each frame.
struct Joiner;

error! { enum JoinerError { TooMany => "too-many": "more buffers than a packet can have" } }

impl Node for Joiner {
    const NAME: &'static str = "joiner";
    type Next = NoNext;
    type Error = JoinerError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let (mut first, last) = (None, vector.len() - 1);
        vector.each_at(|env, position, packet| {
            let held = packet.take();
            match &mut first {
                None => first = Some(held),
                Some(first) => {
                    let joined = env.worker().append_packet(&mut env.worker().open(first), held);
                    if let Err(tail) = joined {
                        env.send(tail, Verdict::Drop(JoinerError::TooMany));
                    }
                }
            }
            if position == last
                && let Some(whole) = first.take()
            {
                env.send(whole, Verdict::Continue);
            }
            Verdict::Continue
        });
    }
}

proptest! {
    #[test]
    fn joined_packets_are_one_run_of_bytes(
        packets in proptest::collection::vec(proptest::collection::vec(0_usize..2048, 1..4), 1..20),
    ) {
        let mut host = Harness::builder().buffers(128).build();
        let mut wanted = Vec::new();
        let samples: Vec<_> = packets
            .iter()
            .map(|segments| {
                let from = wanted.len();
                let length: usize = segments.iter().sum();
                wanted.extend((from..from + length).map(|number| (number % 251) as u8));
                Sample::new(&wanted[from..]).in_segments(segments)
            })
            .collect();
        let out = host.run::<Joiner>(samples);
        prop_assert!(out.one().packet.bytes() == wanted);
        host.assert_no_leaks();
    }
}

#[test]
fn small_packets_are_copied_behind_and_too_many_buffers_refused() {
    let mut host = Harness::builder().buffers(256).build();
    let small: Vec<_> = (0..100).map(|_| Sample::new([7; 20])).collect();
    let out = host.run::<Joiner>(small);
    assert_eq!((out.one().packet.segments(), out.one().packet.len()), (&[2000][..], 2000));
    let large: Vec<_> = (0..100).map(|_| Sample::new([7; 2000])).collect();
    let out = host.run::<Joiner>(large);
    assert_eq!((out.sent()[0].packet.len(), out.dropped("too-many")), (80 * 2000, 20));
    host.assert_no_leaks();
}

#[test]
fn fields_have_their_own_room_and_hold_what_was_written() {
    let mut host = Harness::builder().build();
    let (small, large): (Field<u8>, Field<[u8; 32]>) = host
        .control(|control| Ok::<_, Failure>((control.packet_field("small")?, control.packet_field("large")?)))
        .unwrap();
    with_packet(&mut host, |_, packet| {
        packet.set_field(&small, 0x11);
        packet.set_field(&large, [0x22; 32]);
        assert_eq!((packet.field(&small), packet.field(&large)), (0x11, [0x22; 32]));
    });
    host.control(|control| {
        let again: Field<u8> = control.packet_field("small").unwrap();
        let _ = again;
        let other = control.packet_field::<u16>("small");
        assert!(other.is_err(), "a name has one size");
        let more = control.packet_field::<[u8; 16]>("more");
        assert!(more.is_err(), "no room is left");
    });
}

/// Takes each packet twice.
struct Grabber;

impl Node for Grabber {
    const NAME: &'static str = "grabber";
    type Next = NoNext;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, packet| {
            let _held = packet.take();
            let _again = packet.take();
            Verdict::Continue
        });
    }
}

#[test]
fn a_packet_cannot_be_taken_twice() {
    let mut host = Harness::builder().build();
    let panicked = host.try_run::<Grabber>([b"x"]).unwrap_err();
    assert_eq!(panicked.run.lost(), 0, "the packet went with the one that took it first");
    host.assert_no_leaks();
}

#[test]
#[should_panic(expected = "a packet is taken once, and out of a frame")]
fn a_view_of_a_held_packet_cannot_be_taken() {
    let mut host = Harness::builder().build();
    with_packet(&mut host, |_, packet| drop(packet.take()));
}

#[test]
fn a_held_packet_goes_back_from_any_thread() {
    let mut host = Harness::builder().build();
    let held: Vec<HeldPacket> = host.worker(0, |worker| (0..8).filter_map(|_| worker.allocate()).collect());
    assert_eq!(host.held_buffers(), 8);
    std::thread::spawn(move || drop(held)).join().unwrap();
    host.assert_no_leaks();
}

#[test]
fn without_buffers_there_are_no_new_packets() {
    let mut host = Harness::builder().buffers(3).build();
    host.worker(0, |worker| {
        let held: Vec<_> = (0..3).map(|_| worker.allocate().unwrap()).collect();
        assert!(worker.allocate().is_none());
        drop(held);
        assert!(worker.allocate().is_some());
    });
}

#[test]
fn reader_goes_through_all_buffers_and_parts_go_the_packets_way() {
    let mut host = Harness::builder().interface("a", |i| i).interface("b", |i| i).build();
    let bytes: Vec<u8> = (0..5000).map(|number| number as u8).collect();
    let packet = Sample::new(bytes.clone())
        .in_segments(&[10, 2000, 1])
        .with_tx_interface(host.interface("b"))
        .with_adjacency(9)
        .with_flow_id(7)
        .with_partial_checksum(0, 0);
    let out = host.run::<Parter>([packet]);
    let part = out.to("copies")[0];
    assert_eq!(part.bytes(), [b"head", &bytes[5..3005]].concat());
    assert_eq!((part.tx_interface(), part.adjacency(), part.flow_id()), (host.interface("b"), 9, 7));
    assert_eq!(part.flags() & raddle_plugin_api::abi::BufferFlags::CHECKSUM_PARTIAL, 0);
    host.assert_no_leaks();
}

/// Makes a part of each packet: 3,000 bytes behind the first five.
struct Parter;

impl Node for Parter {
    const NAME: &'static str = "parter";
    type Next = Ways;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let worker = env.worker();
            let mut reader = packet.reader();
            assert!(reader.skip(5));
            let mut held = worker.allocate_like(packet).unwrap();
            let mut part = worker.open(&mut held);
            assert!(worker.append(&mut part, b"head") && worker.append_from(&mut part, &mut reader, 3000));
            assert_eq!(reader.next_chunk(0), None);
            assert!(reader.skip(packet.len() - 3005) && !reader.skip(1));
            let mut spare = worker.allocate_like(packet).unwrap();
            assert!(!worker.append_from(&mut worker.open(&mut spare), &mut packet.reader(), 5001));
            worker.free(spare);
            env.send(held, Verdict::Next(Ways::Copies));
            Verdict::Next(Ways::Originals)
        });
    }
}
