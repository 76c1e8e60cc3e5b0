//! The driver on taps of the host: these tests need root.

use std::net::UdpSocket;
use std::process::{Command, Stdio};

use raddle_plugin_api::driver::{Change, Device};
use raddle_plugin_api::wire::{Gso, GsoKind, Offload};

use super::*;
use crate::driver::af_packet::AfPacket;
use crate::driver::test_host::{ReceivedPacket, TestHost, TestRx, TestTx, is_root, needs_root};
use crate::driver::test_link::{TestNamespace, gso_frame, ip, try_ip, unique_name, wait_until_up};

fn options(more: serde_json::Value) -> Options {
    serde_json::from_value(more).unwrap()
}

fn open<'h>(host: &'h TestHost, name: &str, options: Options) -> (TapDevice, TestRx<'h>, TestTx<'h>) {
    let mut device = host.open::<Tap>(name, options).unwrap();
    device.change(Change::Up(true)).unwrap();
    let rx = host.rx_queue::<Tap>(device.rx_queue(0).unwrap());
    let tx = host.tx_queue::<Tap>(device.tx_queue(0).unwrap());
    (device, rx, tx)
}

fn exists(name: &str) -> bool {
    std::path::Path::new(&format!("/sys/class/net/{name}")).exists()
}

/// Whether the link goes within a second: a process that another test starts may hold its descriptors for a moment.
fn is_soon_gone(name: &str) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        !exists(name)
    })
}

/// Whether this is the host's question for an IPv4 address (RFC 826).
fn is_arp_request(packet: &ReceivedPacket) -> bool {
    packet.bytes[12..14] == [0x08, 0x06] && packet.bytes[20..22] == [0, 1]
}

/// Receives until `wanted` says yes to a packet; two seconds at most.
fn wait_until(rx: &mut TestRx<'_>, wanted: impl Fn(&ReceivedPacket) -> bool) -> Option<ReceivedPacket> {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(2);
    while std::time::Instant::now() < end {
        if let Some(packet) = rx.receive(256).packets.into_iter().find(|packet| wanted(packet)) {
            return Some(packet);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    None
}

/// Sends a datagram again and again (the host's side takes none for some ms after its carrier came) until `wanted` says
/// yes to what that gave; two seconds at most.
fn send_until<R>(from: &str, to: &str, payload: &[u8], mut wanted: impl FnMut() -> Option<R>) -> Option<R> {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    (0..100).find_map(|_| {
        socket.send_to(payload, (to, 9)).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        wanted()
    })
}

/// What the queue gives now, of what `wanted` says yes to.
fn find(rx: &mut TestRx<'_>, wanted: impl Fn(&ReceivedPacket) -> bool) -> Option<ReceivedPacket> {
    rx.receive(256).packets.into_iter().find(|packet| wanted(packet))
}

/// Answers an ARP request with `mac`.
fn arp_reply(request: &[u8], mac: [u8; 6]) -> Vec<u8> {
    let mut reply = request[..42].to_vec();
    reply[..6].copy_from_slice(&request[6..12]);
    reply[6..12].copy_from_slice(&mac);
    reply[21] = 2;
    reply[22..28].copy_from_slice(&mac);
    reply[28..32].copy_from_slice(&request[38..42]);
    reply[32..42].copy_from_slice(&request[22..32]);
    reply
}

#[test]
fn tap_is_made_as_asked_for_and_gone_at_the_end() {
    if !is_root() {
        return needs_root("a tap");
    }
    let (host, name) = (TestHost::new(), unique_name("rt"));
    let asked = options(serde_json::json!({
        "host-addresses": ["192.0.2.130/30", "2001:db8:77::2/64"], "host-mac": "02:00:00:00:00:99"
    }));
    let (mut device, _rx, _tx) = open(&host, &name, asked);
    let properties = device.properties();
    assert!(properties.link_up && properties.fault.is_none() && properties.tx_gso, "{properties:?}");
    assert!(properties.mac.unwrap().is_local());
    let shown = Command::new("ip").args(["addr", "show", &name]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    for part in ["192.0.2.130/30", "2001:db8:77::2/64", "02:00:00:00:00:99", "LOWER_UP"] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    device.change(Change::Up(false)).unwrap();
    let carrier = std::fs::read_to_string(format!("/sys/class/net/{name}/carrier")).unwrap();
    assert_eq!(carrier.trim(), "0");
    ip(&format!("link set {name} down"));
    assert!(!device.properties().link_up);
    device.change(Change::Mtu(9000)).unwrap();
    assert_eq!(device.properties().mtu, 9000);
    assert!(device.change(Change::Mtu(70_000)).is_err());
    drop((device, _rx, _tx));
    assert!(is_soon_gone(&name));
}

#[test]
fn frames_pass_both_ways() {
    if !is_root() {
        return needs_root("a tap");
    }
    let (host, name, namespace) = (TestHost::new(), unique_name("rt"), TestNamespace::new());
    let asked = options(serde_json::json!({
        "namespace": namespace.0, "host-addresses": ["192.0.2.1/24"]
    }));
    let (mut device, mut rx, mut tx) = open(&host, &name, asked);
    assert!(!exists(&name), "the tap is in the namespace");
    assert!(device.properties().link_up);
    let mac = device.properties().mac.unwrap().0;
    let mut ping = Command::new("ip")
        .args(["netns", "exec", &namespace.0, "ping", "-c1", "-W2", "-s1000", "192.0.2.2"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let request = wait_until(&mut rx, is_arp_request).expect("an ARP request").bytes;
    assert_eq!(tx.transmit(&[(&arp_reply(&request, mac), Offload::default())]), 1);
    let echo = wait_until(&mut rx, |packet| packet.bytes[12..14] == [8, 0] && packet.bytes[23] == 1);
    let mut echo = echo.expect("an echo request").bytes;
    assert_eq!(echo.len(), 14 + 20 + 8 + 1000);
    // Back to whom it came from: addresses swapped, request made reply (RFC 792), checksum changed by as much.
    let (destination, source): ([u8; 6], [u8; 6]) = (echo[6..12].try_into().unwrap(), mac);
    echo[..6].copy_from_slice(&destination);
    echo[6..12].copy_from_slice(&source);
    let (from, to): ([u8; 4], [u8; 4]) = (echo[26..30].try_into().unwrap(), echo[30..34].try_into().unwrap());
    echo[26..30].copy_from_slice(&to);
    echo[30..34].copy_from_slice(&from);
    echo[34] = 0;
    let sum = u32::from(u16::from_be_bytes([echo[36], echo[37]])) + 0x0800;
    let folded = (sum & 0xffff) as u16 + (sum >> 16) as u16;
    echo[36..38].copy_from_slice(&folded.to_be_bytes());
    assert_eq!(tx.transmit(&[(&echo, Offload::default())]), 1);
    assert!(ping.wait().unwrap().success(), "ping took the reply");
}

#[test]
fn datagram_of_the_host_arrives_with_its_checksum_left_to_us() {
    if !is_root() {
        return needs_root("a tap");
    }
    let (host, name) = (TestHost::new(), unique_name("rt"));
    let (_device, mut rx, _tx) =
        open(&host, &name, options(serde_json::json!({ "host-addresses": ["198.51.100.1/24"] })));
    ip(&format!("neigh add 198.51.100.2 lladdr 02:00:00:00:00:02 dev {name}"));
    let is_udp = |packet: &ReceivedPacket| packet.bytes[12..14] == [8, 0] && packet.bytes[23] == 17;
    let packet = send_until("198.51.100.1", "198.51.100.2", &[7; 1200], || find(&mut rx, is_udp)).unwrap();
    assert_eq!(packet.bytes.len(), 14 + 20 + 8 + 1200);
    let checksum = packet.offload.checksum.expect("the checksum is left to us");
    assert_eq!((checksum.start, checksum.offset), (34, 6));
    assert_eq!(packet.buffers, 1);
}

#[test]
fn removed_tap_is_made_again() {
    if !is_root() {
        return needs_root("a tap");
    }
    let (host, name) = (TestHost::new(), unique_name("rt"));
    let (mut device, mut rx, mut tx) =
        open(&host, &name, options(serde_json::json!({ "host-addresses": ["203.0.113.1/29"] })));
    let generation = device.properties().generation;
    ip(&format!("link del {name}"));
    for _ in 0..100 {
        assert_eq!(rx.receive(256).packets.len(), 0);
        assert_eq!(tx.transmit(&[(&[0; 60], Offload::default())]), 0);
    }
    assert!(!rx.is_readable(0), "a queue whose tap is gone is silent");
    let back = device.properties();
    assert_eq!((back.generation, back.fault, back.link_up), (generation + 1, None, true));
    assert!(exists(&name));
    let mut rx = host.rx_queue::<Tap>(device.rx_queue(0).unwrap());
    let mut tx = host.tx_queue::<Tap>(device.tx_queue(0).unwrap());
    assert_eq!(tx.transmit(&[(&[0xff; 60], Offload::default())]), 1);
    assert!(!try_ip(&format!("-4 neigh get 203.0.113.2 dev {name}")));
    let asked = send_until("203.0.113.1", "203.0.113.2", b"x", || find(&mut rx, is_arp_request));
    assert!(asked.is_some());
}

#[test]
fn tap_whose_name_is_taken_meanwhile_says_so_and_comes_back() {
    if !is_root() {
        return needs_root("a tap");
    }
    let (host, name) = (TestHost::new(), unique_name("rt"));
    let (mut device, _rx, _tx) = open(&host, &name, options(serde_json::json!({})));
    let generation = device.properties().generation;
    ip(&format!("link del {name}"));
    ip(&format!("link add {name} type veth peer name {name}b"));
    let gone = device.properties();
    assert!(gone.fault.unwrap().starts_with(&format!("the name {name} is taken on the host")));
    assert_eq!((gone.link_up, gone.generation), (false, generation));
    assert!(device.tx_queue(0).is_err() && device.rx_queue(0).is_none());
    ip(&format!("link del {name}"));
    let back = device.properties();
    assert_eq!((back.fault, back.link_up, back.generation), (None, true, generation + 1));
}

#[test]
fn tap_that_is_moved_or_renamed_goes_on() {
    if !is_root() {
        return needs_root("a tap");
    }
    let (host, name, namespace) = (TestHost::new(), unique_name("rt"), TestNamespace::new());
    let (mut device, _rx, mut tx) = open(&host, &name, options(serde_json::json!({})));
    let generation = device.properties().generation;
    ip(&format!("link set {name} netns {}", namespace.0));
    let moved = device.properties();
    assert_eq!((moved.generation, moved.fault, moved.link_up), (generation, None, false));
    ip(&format!("-n {} link set {name} name other0", namespace.0));
    ip(&format!("-n {} link set other0 up", namespace.0));
    let renamed = device.properties();
    assert_eq!((renamed.generation, renamed.fault, renamed.link_up), (generation, None, true));
    assert_eq!(device.details()["device"], "other0");
    assert_eq!(tx.transmit(&[(&[0xff; 60], Offload::default())]), 1);
}

#[test]
fn tap_that_cannot_be_made_says_why() {
    if !is_root() {
        return needs_root("a tap");
    }
    let (host, name) = (TestHost::new(), unique_name("rt"));
    let error = |name: &str, more| host.open::<Tap>(name, options(more)).err().unwrap().to_string();
    let (_device, _rx, _tx) = open(&host, &name, options(serde_json::json!({})));
    assert_eq!(error(&name, serde_json::json!({})), format!("the tap {name} is in use by another process"));
    let taken = "is taken on the host by a device that is no tap, or by a tap with another number of queues";
    assert_eq!(error("lo", serde_json::json!({})), format!("the name lo {taken}"));
    let missing = error(&unique_name("rt"), serde_json::json!({ "namespace": "no-such-one" }));
    assert!(missing.starts_with("there is no network namespace \"no-such-one\" in /run/netns"), "{missing}");
}

#[test]
fn several_queues_work_and_all_are_closed_at_the_end() {
    if !is_root() {
        return needs_root("a tap");
    }
    let (host, name) = (TestHost::new(), unique_name("rt"));
    let mut device = host.open::<Tap>(&name, options(serde_json::json!({ "queues": 3 }))).unwrap();
    device.change(Change::Up(true)).unwrap();
    assert_eq!(device.properties().rx_queues, 3);
    let queues: Vec<_> = (0..3).map(|index| host.rx_queue::<Tap>(device.rx_queue(index).unwrap())).collect();
    for thread in 0..4 {
        let mut tx = host.tx_queue::<Tap>(device.tx_queue(thread).unwrap());
        assert_eq!(tx.transmit(&[(&[0xff; 60], Offload::default())]), 1);
    }
    drop(device);
    assert!(exists(&name), "the queues hold it");
    drop(queues);
    assert!(is_soon_gone(&name));
}

#[test]
fn without_buffers_frames_are_lost_and_counted() {
    if !is_root() {
        return needs_root("a tap");
    }
    let (host, name) = (TestHost::new(), unique_name("rt"));
    let (_device, mut rx, _tx) =
        open(&host, &name, options(serde_json::json!({ "host-addresses": ["198.51.100.65/30"] })));
    ip(&format!("neigh add 198.51.100.66 lladdr 02:00:00:00:00:02 dev {name}"));
    {
        let _none = host.exhaust(0);
        let lost = send_until("198.51.100.65", "198.51.100.66", b"x", || {
            let call = rx.receive(256);
            assert!(call.packets.is_empty());
            (call.lost > 0).then_some(())
        });
        assert!(lost.is_some());
    }
    let is_ours = |packet: &ReceivedPacket| packet.bytes.ends_with(b"y");
    assert!(send_until("198.51.100.65", "198.51.100.66", b"y", || find(&mut rx, is_ours)).is_some());
}

#[test]
fn gso_packets_pass_whole_both_ways() {
    if !is_root() {
        return needs_root("a tap");
    }
    let (host, name) = (TestHost::new(), unique_name("rt"));
    let (_device, mut rx, mut tx) = open(&host, &name, options(serde_json::json!({})));
    wait_until_up(&name);
    // The host's side by a packet socket.
    let asked = serde_json::from_value(serde_json::json!({ "device": name })).unwrap();
    let mut other = host.open::<AfPacket>("other", asked).unwrap();
    let mut other_rx = host.rx_queue::<AfPacket>(other.rx_queue(0).unwrap());
    let mut other_tx = host.tx_queue::<AfPacket>(other.tx_queue(0).unwrap());
    for payload in [100, 1990, 2048, 4000, 30_000, 65_000] {
        let (bytes, offload) = gso_frame(payload);
        let check = |packet: ReceivedPacket| {
            assert_eq!(packet.bytes, bytes);
            assert_eq!(packet.offload.checksum, offload.checksum);
            if payload > 1400 {
                let gso = packet.offload.gso.expect("a GSO packet");
                assert_eq!((gso.kind, gso.size), (GsoKind::Tcp4, 1400));
            }
        };
        // The kernel refuses GSO packets that are none.
        let offload = Offload { gso: offload.gso.filter(|_: &Gso| payload > 1400), ..offload };
        assert_eq!(tx.transmit(&[(&bytes, offload)]), 1);
        let is_ours = |packet: &ReceivedPacket| packet.bytes.len() == bytes.len();
        check(wait_until(&mut other_rx, is_ours).expect("from the tap"));
        assert_eq!(other_tx.transmit(&[(&bytes, offload)]), 1);
        check(wait_until(&mut rx, is_ours).expect("to the tap"));
    }
}
