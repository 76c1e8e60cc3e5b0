//! The driver on veth pairs of the host: these tests need root.

use raddle_plugin_api::driver::{Change, Device, Request};
use raddle_plugin_api::wire::{ChecksumOffload, Gso, GsoKind, MacAddress, Offload};

use super::*;
use crate::driver::test_host::{TestHost, TestRx, TestTx, is_root, needs_root};
use crate::driver::test_link::{TestNamespace, VethPair, gso_frame, ip, wait_until_up};

fn options(device: &str) -> Options {
    serde_json::from_value(serde_json::json!({ "device": device })).unwrap()
}

fn open<'h>(host: &'h TestHost, options: Options) -> (AfPacketDevice, TestRx<'h>, TestTx<'h>) {
    let mut device = host.open::<AfPacket>("test", options).unwrap();
    let rx = host.rx_queue::<AfPacket>(device.rx_queue(0).unwrap());
    let tx = host.tx_queue::<AfPacket>(device.tx_queue(0).unwrap());
    (device, rx, tx)
}

/// An Ethernet frame of the experimental type 0x88b5 with a payload that tells its bytes apart.
fn frame(length: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
    bytes.extend((bytes.len()..length).map(|position| (position * 7) as u8 ^ seed));
    bytes
}

#[test]
fn frames_pass_over_veth_both_ways() {
    if !is_root() {
        return needs_root("veth");
    }
    let (pair, host) = (VethPair::new(), TestHost::new());
    let (_left, mut left_rx, mut left_tx) = open(&host, options(&pair.left));
    let (_right, mut right_rx, mut right_tx) = open(&host, options(&pair.right));
    let frames: Vec<_> = [60, 61, 590, 1514].map(|length| frame(length, length as u8)).into();
    let packets: Vec<_> = frames.iter().map(|bytes| (&bytes[..], Offload::default())).collect();
    assert_eq!(left_tx.transmit(&packets), 4);
    assert!(right_rx.is_readable(1000));
    let received = right_rx.wait_for(4);
    assert_eq!(
        received.iter().map(|packet| &packet.bytes).collect::<Vec<_>>(),
        frames.iter().collect::<Vec<_>>()
    );
    assert_eq!(left_rx.receive(256).packets.len(), 0, "own frames are left out");
    assert_eq!(right_tx.transmit(&packets[..1]), 1);
    assert_eq!(left_rx.wait_for(1)[0].bytes, frames[0]);
    assert!(!left_rx.is_readable(0));
}

#[test]
fn gso_packet_is_carried_whole() {
    if !is_root() {
        return needs_root("veth");
    }
    let (pair, host) = (VethPair::new(), TestHost::new());
    let (_left, _, mut left_tx) = open(&host, options(&pair.left));
    let (right, mut right_rx, _) = open(&host, options(&pair.right));
    let (large, offload) = gso_frame(60_000);
    let small = frame(60, 1);
    let packets = [(&small[..], Offload::default()), (&large[..], offload), (&small[..], Offload::default())];
    assert_eq!(left_tx.transmit(&packets), 3);
    let received = right_rx.wait_for(3);
    assert_eq!(received.iter().map(|packet| packet.bytes.len()).collect::<Vec<_>>(), [60, large.len(), 60]);
    assert_eq!(received[1].bytes, large);
    assert_eq!(received[1].offload.checksum, offload.checksum);
    let gso = received[1].offload.gso.unwrap();
    assert_eq!((gso.kind, gso.size), (GsoKind::Tcp4, 1400));
    assert_eq!(received[1].buffers, large.len().div_ceil(2048));
    assert_eq!(right.counts_for_test().rx_malformed.sum(), 0);
}

#[test]
fn gso_packets_of_every_size_around_the_slot_pass() {
    if !is_root() {
        return needs_root("veth");
    }
    let (pair, host) = (VethPair::new(), TestHost::new());
    let (_left, _, mut left_tx) = open(&host, options(&pair.left));
    let (_right, mut right_rx, _) = open(&host, options(&pair.right));
    for payload in [1401, 1980, 1990, 1994, 1995, 2000, 2010, 2020, 2040, 2048, 2100, 4096, 65_000] {
        let (bytes, offload) = gso_frame(payload);
        assert_eq!(left_tx.transmit(&[(&bytes, offload)]), 1, "{payload}");
        let received = right_rx.wait_for(1);
        assert_eq!(received.len(), 1, "{payload}");
        assert_eq!(received[0].bytes, bytes, "{payload}");
    }
}

#[test]
fn vlan_tag_comes_back_into_the_frame() {
    if !is_root() {
        return needs_root("veth");
    }
    let (pair, host) = (VethPair::new(), TestHost::new());
    let (_left, _, mut left_tx) = open(&host, options(&pair.left));
    let (_right, mut right_rx, _) = open(&host, options(&pair.right));
    let mut tagged = frame(100, 9);
    tagged.splice(12..12, [0x81, 0x00, 0x60, 0x64]);
    let (mut large, mut offload) = gso_frame(30_000);
    large.splice(12..12, [0x81, 0x00, 0x00, 0x07]);
    offload.checksum = Some(ChecksumOffload { start: 38, offset: 16 });
    offload.gso = offload.gso.map(|gso| Gso { header_length: 58, ..gso });
    assert_eq!(left_tx.transmit(&[(&tagged, Offload::default()), (&large, offload)]), 2);
    let received = right_rx.wait_for(2);
    assert_eq!(received[0].bytes, tagged);
    assert_eq!(received[1].bytes.len(), large.len());
    assert_eq!(received[1].bytes, large);
    assert_eq!(received[1].offload.checksum, offload.checksum);
}

#[test]
fn full_rings_lose_packets_and_go_on() {
    if !is_root() {
        return needs_root("veth");
    }
    let (pair, host) = (VethPair::new(), TestHost::new());
    let (_left, _, mut left_tx) = open(&host, options(&pair.left));
    let small = Options { rx_slots: 64, ..options(&pair.right) };
    let (right, mut right_rx, _) = open(&host, small.clone());
    let bytes = frame(60, 0);
    let packets = vec![(&bytes[..], Offload::default()); 256];
    let mut sent = 0;
    for _ in 0..8 {
        sent += left_tx.transmit(&packets);
    }
    assert_eq!(sent, 2048, "the kernel frees slots as fast as they are filled on veth");
    let (mut received, mut lost) = (0, 0);
    for _ in 0..600 {
        let call = right_rx.receive(256);
        received += call.packets.len();
        lost += call.lost;
    }
    assert_eq!(received, small.rx_geometry(1500).slots() as usize);
    assert_eq!(received + lost as usize, 2048);
    assert_eq!(right.counts_for_test().rx_overruns.sum(), lost);
    assert_eq!(left_tx.transmit(&packets[..10]), 10);
    assert_eq!(right_rx.wait_for(10).len(), 10);
}

#[test]
fn without_buffers_frames_are_lost_and_counted() {
    if !is_root() {
        return needs_root("veth");
    }
    let (pair, host) = (VethPair::new(), TestHost::new());
    let (_left, _, mut left_tx) = open(&host, options(&pair.left));
    let (_right, mut right_rx, _) = open(&host, options(&pair.right));
    let (large, offload) = gso_frame(20_000);
    let small = frame(60, 3);
    assert_eq!(left_tx.transmit(&[(&large, offload), (&small, Offload::default())]), 2);
    {
        let _none = host.exhaust(0);
        let call = right_rx.receive(256);
        assert_eq!((call.packets.len(), call.lost), (0, 2));
    }
    assert_eq!(left_tx.transmit(&[(&large, offload), (&small, Offload::default())]), 2);
    let received = right_rx.wait_for(2);
    assert_eq!((received[0].bytes.len(), received[1].bytes.len()), (large.len(), 60));
}

#[test]
fn device_that_comes_back_is_used_again() {
    if !is_root() {
        return needs_root("veth");
    }
    let (pair, host) = (VethPair::new(), TestHost::new());
    let (mut device, mut rx, mut tx) = open(&host, options(&pair.left));
    let before = device.properties();
    assert!(before.link_up && before.fault.is_none());
    pair.remove();
    let bytes = frame(60, 0);
    for _ in 0..300 {
        assert_eq!(rx.receive(256).packets.len(), 0);
        assert_eq!(tx.transmit(&[(&bytes, Offload::default())]), 0);
    }
    let (large, offload) = gso_frame(20_000);
    assert_eq!(tx.transmit(&[(&large, offload)]), 0);
    assert!(!rx.is_readable(0), "a queue whose device is gone is silent");
    let gone = device.properties();
    assert_eq!((gone.link_up, gone.generation), (false, before.generation));
    assert_eq!(gone.fault.unwrap(), format!("the host's interface {} went away", pair.left));
    assert!(device.tx_queue(0).is_err());
    pair.make();
    let back = device.properties();
    assert_eq!((back.link_up, back.generation, back.fault), (true, before.generation + 1, None));
    let (_rx, mut tx) = (
        host.rx_queue::<AfPacket>(device.rx_queue(0).unwrap()),
        host.tx_queue::<AfPacket>(device.tx_queue(0).unwrap()),
    );
    let (_other, mut other_rx, _) = open(&host, options(&pair.right));
    assert_eq!(tx.transmit(&[(&bytes, Offload::default())]), 1);
    assert_eq!(other_rx.wait_for(1).len(), 1);
}

#[test]
fn device_that_was_replaced_or_moved_between_two_looks_is_taken_up_again() {
    if !is_root() {
        return needs_root("veth");
    }
    let (pair, host, namespace) = (VethPair::new(), TestHost::new(), TestNamespace::new());
    let (mut device, _rx, _tx) = open(&host, options(&pair.left));
    let generation = device.properties().generation;
    pair.remove();
    pair.make();
    assert_eq!(device.properties().generation, generation + 1);
    // To another namespace and back: name and index may well be the same as before.
    ip(&format!("link set {} netns {}", pair.left, namespace.0));
    ip(&format!("-n {} link set {} netns 1", namespace.0, pair.left));
    ip(&format!("link set {} up", pair.left));
    let back = device.properties();
    assert_eq!((back.generation, back.fault), (generation + 2, None));
}

#[test]
fn link_that_goes_down_and_up_again_needs_nothing() {
    if !is_root() {
        return needs_root("veth");
    }
    let (pair, host) = (VethPair::new(), TestHost::new());
    let (_left, _, mut left_tx) = open(&host, options(&pair.left));
    let (mut right, mut right_rx, _) = open(&host, options(&pair.right));
    let generation = right.properties().generation;
    ip(&format!("link set {} down", pair.right));
    let down = right.properties();
    assert_eq!((down.link_up, down.fault), (false, None));
    for _ in 0..300 {
        assert_eq!(right_rx.receive(256).packets.len(), 0);
    }
    assert!(!right_rx.is_readable(0));
    ip(&format!("link set {} up", pair.right));
    wait_until_up(&pair.left);
    wait_until_up(&pair.right);
    let up = right.properties();
    assert_eq!((up.link_up, up.generation), (true, generation));
    let bytes = frame(60, 0);
    assert_eq!(left_tx.transmit(&[(&bytes, Offload::default())]), 1);
    assert_eq!(right_rx.wait_for(1).len(), 1);
}

#[test]
fn host_interface_is_left_as_it_was_found() {
    if !is_root() {
        return needs_root("veth");
    }
    let (pair, host) = (VethPair::new(), TestHost::new());
    ip(&format!("link set {} down", pair.left));
    let state = || {
        let read = |what| std::fs::read_to_string(format!("/sys/class/net/{}/{what}", pair.left)).unwrap();
        let flags = u32::from_str_radix(read("flags").trim().trim_start_matches("0x"), 16).unwrap();
        (flags & 1 != 0, read("mtu").trim().parse::<u32>().unwrap())
    };
    let request = Request { name: "test".to_owned(), mac: None, mtu: Some(1400), threads: 1 };
    let mut device = host.open_as::<AfPacket>(&request, options(&pair.left)).unwrap();
    assert_eq!((state(), device.properties().mtu), ((false, 1400), 1400));
    device.change(Change::Up(true)).unwrap();
    assert!(state().0 && device.properties().link_up);
    device.change(Change::Up(false)).unwrap();
    assert!(!state().0);
    device.change(Change::Up(true)).unwrap();
    device.change(Change::Mtu(9000)).unwrap();
    assert_eq!(state(), (true, 9000));
    let error = device.change(Change::Mtu(70_000)).unwrap_err().to_string();
    assert!(error.starts_with("the MTU 70000 is too large, "), "{error}");
    drop(device);
    assert_eq!(state(), (false, 1500));
}

#[test]
fn own_mac_address_makes_the_host_interface_promiscuous() {
    if !is_root() {
        return needs_root("veth");
    }
    let (pair, host) = (VethPair::new(), TestHost::new());
    let (mut device, _, _) = open(&host, options(&pair.left));
    let found = device.properties().mac.unwrap();
    assert_eq!(device.details()["promiscuous"], false);
    device.change(Change::Mac(MacAddress([2, 0, 0, 0, 0, 7]))).unwrap();
    assert_eq!(device.properties().mac, Some(MacAddress([2, 0, 0, 0, 0, 7])));
    assert_eq!(device.details()["promiscuous"], true);
    device.change(Change::Mac(found)).unwrap();
    assert_eq!(device.details()["promiscuous"], false);
    device.change(Change::Promiscuous(true)).unwrap();
    assert_eq!(device.details()["promiscuous"], true);
    assert!(device.change(Change::Mac(MacAddress::BROADCAST)).is_err());
}

#[test]
fn further_addresses_are_asked_of_the_host_interface_and_given_back() {
    if !is_root() {
        return needs_root("veth");
    }
    let (pair, host) = (VethPair::new(), TestHost::new());
    let (mut device, _, _) = open(&host, options(&pair.left));
    // `packet_mreq` of a group is seen where the kernel lists the groups of links.
    let listed = |text: &str| {
        let groups = std::fs::read_to_string("/proc/thread-self/net/dev_mcast").unwrap();
        groups.lines().any(|line| line.contains(&pair.left) && line.ends_with(text))
    };
    let group = MacAddress([0x01, 0, 0x5e, 0x7f, 0x12, 0x34]);
    let station = MacAddress([2, 0, 0, 0, 0, 0x77]);
    for on in [true, true, false, false, true] {
        device.change(Change::Address { mac: group, on }).unwrap();
        device.change(Change::Address { mac: station, on }).unwrap();
        assert_eq!(listed("01005e7f1234"), on);
    }
    drop(device);
    // A child that another test has just forked has the socket too, until it runs its program.
    let is_gone = || {
        std::thread::sleep(std::time::Duration::from_millis(5));
        !listed("01005e7f1234")
    };
    assert!((0..600).any(|_| is_gone()));
}

#[test]
fn several_queues_share_the_frames() {
    if !is_root() {
        return needs_root("veth");
    }
    let (pair, host) = (VethPair::new(), TestHost::new());
    let (_left, _, mut left_tx) = open(&host, options(&pair.left));
    for fanout in [Fanout::Hash, Fanout::Cpu] {
        let mut device =
            host.open::<AfPacket>("test", Options { queues: 3, fanout, ..options(&pair.right) }).unwrap();
        assert_eq!(device.properties().rx_queues, 3);
        let mut queues: Vec<_> =
            (0..3).map(|index| host.rx_queue::<AfPacket>(device.rx_queue(index).unwrap())).collect();
        assert!(device.rx_queue(0).is_none() && device.rx_queue(3).is_none());
        // UDP over IPv4 from many ports.
        let frames: Vec<_> = (0..90_u16)
            .map(|port| {
                let mut bytes = vec![0xff; 6];
                bytes.extend([2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0]);
                bytes.extend([192, 0, 2, 1, 192, 0, 2, 2]);
                bytes.extend(port.to_be_bytes());
                bytes.extend([0, 9, 0, 26, 0, 0]);
                bytes.resize(60, 0);
                bytes
            })
            .collect();
        let packets: Vec<_> = frames.iter().map(|bytes| (&bytes[..], Offload::default())).collect();
        assert_eq!(left_tx.transmit(&packets), 90);
        std::thread::sleep(std::time::Duration::from_millis(50));
        let counts: Vec<_> = queues.iter_mut().map(|queue| queue.receive(256).packets.len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 90, "{fanout:?} {counts:?}");
        let mut own = host.tx_queue::<AfPacket>(device.tx_queue(0).unwrap());
        assert_eq!(own.transmit(&packets), 90);
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(queues.iter_mut().all(|queue| queue.receive(256).packets.is_empty()), "own frames");
        if fanout == Fanout::Hash {
            assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        }
    }
}

#[test]
fn devices_that_cannot_be_opened_are_named() {
    if !is_root() {
        return needs_root("packet sockets");
    }
    let host = TestHost::new();
    let wrong = Options { queues: 0, ..options("lo") };
    let message = host.open::<AfPacket>("test", wrong).err().unwrap().to_string();
    assert_eq!(message, "queues = 0 is out of range, it can be 1 to 64");
}

#[test]
fn device_that_is_missing_is_named_and_used_once_it_is_there() {
    if !is_root() {
        return needs_root("veth");
    }
    let host = TestHost::new();
    let mut device = host.open::<AfPacket>("test", options("lo1")).unwrap();
    let missing = device.properties();
    assert_eq!(missing.fault.as_deref(), Some("the host has no interface lo1, did you mean lo?"));
    assert!(!missing.link_up && device.rx_queue(0).is_none() && device.tx_queue(0).is_err());
    let pair = VethPair::new();
    ip(&format!("link set {} down", pair.left));
    ip(&format!("link set {} name lo1", pair.left));
    device.change(Change::Up(true)).unwrap();
    let found = device.properties();
    ip("link set lo1 down");
    ip(&format!("link set lo1 name {}", pair.left));
    assert_eq!((found.fault, found.generation), (None, missing.generation + 1));
    assert!(found.mac.is_some() && device.rx_queue(0).is_some());
}

#[test]
fn packet_that_contradicts_itself_is_not_sent() {
    if !is_root() {
        return needs_root("veth");
    }
    let (pair, host) = (VethPair::new(), TestHost::new());
    let (left, _, mut left_tx) = open(&host, options(&pair.left));
    let (_right, mut right_rx, _) = open(&host, options(&pair.right));
    let bytes = frame(60, 0);
    let outside = Offload { checksum: Some(ChecksumOffload { start: 50, offset: 9 }), ..Offload::default() };
    let plain = Offload::default();
    let packets = [(&bytes[..], plain), (&bytes, outside), (&bytes[..13], plain), (&bytes, plain)];
    assert_eq!(left_tx.transmit(&packets), 2);
    assert_eq!(right_rx.wait_for(2).len(), 2);
    assert_eq!(left.counts_for_test().tx_malformed.sum(), 2);
}

#[test]
fn interface_that_is_down_when_it_is_opened_passes_frames_once_it_is_up() {
    if !is_root() {
        return needs_root("veth");
    }
    let (pair, host) = (VethPair::new(), TestHost::new());
    ip(&format!("link set {} down", pair.right));
    let asked = Options { queues: 2, ..options(&pair.right) };
    let mut device = host.open::<AfPacket>("test", asked).unwrap();
    let mut queues: Vec<_> =
        (0..2).map(|index| host.rx_queue::<AfPacket>(device.rx_queue(index).unwrap())).collect();
    assert!(!device.properties().link_up);
    device.change(Change::Up(true)).unwrap();
    wait_until_up(&pair.left);
    let (_left, _, mut left_tx) = open(&host, options(&pair.left));
    let bytes = frame(60, 0);
    assert_eq!(left_tx.transmit(&[(&bytes[..], Offload::default()); 20]), 20);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(queues.iter_mut().map(|queue| queue.receive(256).packets.len()).sum::<usize>(), 20);
}
