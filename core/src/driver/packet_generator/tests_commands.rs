//! The driver's queues and commands on the SDK's harness: real buffers, virtual time, no root.

use std::time::Duration;

use raddle_plugin_api::driver::{Device, Driver, Request};
use raddle_plugin_api::testing::{Harness, Sample};
use serde_json::{Value, json};

use super::device::{GeneratorDevice, PacketGenerator};
use super::options::GeneratorOptions;
use super::queue::GeneratorRx;

const PACKET: &str = "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 / ip4 10.0.0.1 > 10.0.1.0/24 / udp 1 > 2";

fn harness() -> Harness {
    let mut harness = Harness::builder().interface("pg0", |interface| interface).build();
    harness.load_only(&["packet-generator"]).unwrap();
    harness
}

fn open(harness: &mut Harness, options: &str) -> GeneratorDevice {
    let options: GeneratorOptions = toml::from_str(options).unwrap();
    let request = Request { name: "pg0".into(), mac: None, mtu: None, threads: 1 };
    harness.control(|control| PacketGenerator::open(control, &request, options)).unwrap()
}

fn received(harness: &mut Harness, queue: &mut GeneratorRx) -> Vec<Sample> {
    harness.receive(queue, 256).packets
}

fn command(harness: &mut Harness, usage: &str, mut arguments: Value) -> Result<Value, String> {
    arguments["interface"] = json!("pg0");
    harness.command(usage, arguments).map(|answer| answer.json).map_err(|failure| failure.to_string())
}

#[test]
fn a_stream_added_by_command_comes_in_as_packets() {
    let mut harness = harness();
    let mut device = open(&mut harness, "");
    let mut queue = device.rx_queue(0).unwrap();
    let add = json!({ "name": "a", "packet": PACKET, "count": 10, "size": "64-66", "rate": "1mpps", "in-step": true });
    command(&mut harness, "packet-generator add", add.clone()).unwrap();
    assert_eq!(received(&mut harness, &mut queue).len(), 0);
    command(&mut harness, "packet-generator start", json!({ "stream": "a" })).unwrap();
    let mut packets = received(&mut harness, &mut queue);
    harness.advance(Duration::from_millis(1));
    packets.extend(received(&mut harness, &mut queue));
    let facts: Vec<(usize, u8)> = packets.iter().map(|packet| (packet.len(), packet.bytes()[33])).collect();
    let expected: Vec<(usize, u8)> = (0..10).map(|number| (64 + number % 3, number as u8)).collect();
    assert_eq!(facts, expected);
    let shown = command(&mut harness, "show packet-generator", json!({})).unwrap();
    assert_eq!(
        (&shown[0]["state"], &shown[0]["sent"], &shown[0]["remaining"]),
        (&json!("completed"), &json!(10), &json!(0))
    );
    assert_eq!(
        command(&mut harness, "packet-generator add", add).unwrap_err(),
        "interface pg0 has a stream a already"
    );
    command(&mut harness, "packet-generator del", json!({ "stream": "a" })).unwrap();
    assert_eq!(command(&mut harness, "show packet-generator", json!({})).unwrap(), json!([]));
    drop(queue);
    drop(device);
    assert!(command(&mut harness, "packet-generator stop", json!({})).is_err(), "the interface is gone");
    harness.assert_no_leaks();
}

#[test]
fn wrong_commands_say_what_is_wrong() {
    let mut harness = harness();
    let _device = open(&mut harness, "");
    let cases = [
        (
            "packet-generator start",
            json!({}),
            "interface pg0 has no streams; add one by `packet-generator add`",
        ),
        (
            "packet-generator add",
            json!({ "name": "a", "packet": "eth" }),
            "eth: source: `` is not a MAC address",
        ),
        (
            "packet-generator add",
            json!({ "name": "a", "packet": PACKET, "rate": "9" , "size": "9" }),
            "stream a: size 9 is below the 42 bytes of the packet's headers",
        ),
        ("packet-generator del", json!({ "stream": "a" }), "interface pg0 has no stream a"),
    ];
    for (usage, arguments, message) in cases {
        assert_eq!(
            command(&mut harness, usage, arguments.clone()).unwrap_err(),
            message,
            "{usage} {arguments}"
        );
    }
    let missing = json!({ "name": "a", "file": "/nowhere/x.pcap" });
    let error = command(&mut harness, "packet-generator replay", missing).unwrap_err();
    assert!(error.starts_with("stream a: cannot read /nowhere/x.pcap"), "{error}");
}

#[test]
fn a_packet_of_several_buffers_comes_in_whole_and_is_captured_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.pcap");
    let mut harness = harness();
    let text = format!(
        "capture = '{}'\n[[streams]]\nname = 'a'\nstart = true\ncount = 3\nsize = 9000\npacket = '{PACKET} / payload 0102030405'",
        path.display()
    );
    let mut device = open(&mut harness, &text);
    let mut queue = device.rx_queue(0).unwrap();
    let packets = received(&mut harness, &mut queue);
    assert_eq!(packets.iter().map(Sample::len).collect::<Vec<_>>(), [9000; 3]);
    assert!(packets[0].segments().len() > 1);
    let ip = &packets[1].bytes()[14..];
    let header = raddle_plugin_api::wire::Ip4Header::check(ip, ip.len()).unwrap();
    assert!(raddle_plugin_api::wire::UdpHeader::is_checksum_valid(header.pseudo_header(8966), &ip[20..]));
    let mut tx = device.tx_queue(0).unwrap();
    assert_eq!(harness.transmit(&mut tx, packets.clone()), 3);
    assert_eq!(device.generator().taken(), 3);
    device.properties();
    let replay = super::read_packets(&path).unwrap();
    let captured: Vec<&[u8]> = (0..replay.len()).map(|at| replay.packet(at)).collect();
    assert_eq!(captured, packets.iter().map(Sample::bytes).collect::<Vec<_>>());
    drop((queue, tx));
    harness.assert_no_leaks();
}

#[test]
fn without_buffers_nothing_is_sent_and_nothing_is_lost_of_the_stream() {
    let mut harness = harness();
    let text = format!("[[streams]]\nname = 'a'\nstart = true\ncount = 20\npacket = '{PACKET}'");
    let mut device = open(&mut harness, &text);
    let mut queue = device.rx_queue(0).unwrap();
    harness.limit_buffers(Some(0));
    assert_eq!(received(&mut harness, &mut queue).len(), 0);
    harness.limit_buffers(None);
    let packets = received(&mut harness, &mut queue);
    let last: Vec<u8> = packets.iter().map(|packet| packet.bytes()[33]).collect();
    assert_eq!(last, (0..20).collect::<Vec<u8>>());
}

#[test]
fn a_run_tells_what_was_sent_when_its_time_is_over() {
    let mut harness = harness();
    let text = format!("[[streams]]\nname = 'a'\npacket = '{PACKET}'");
    let _device = open(&mut harness, &text);
    let error = command(&mut harness, "packet-generator run", json!({})).unwrap_err();
    assert_eq!(error, "stream a has no end; give a timeout");
    let before = harness.now_ns();
    let report = command(&mut harness, "packet-generator run", json!({ "timeout": 100_000_000 })).unwrap();
    assert!(harness.now_ns() - before >= 100_000_000);
    assert_eq!(
        (&report["complete"], &report["sent"], &report["lost"]),
        (&json!(false), &json!(0), &json!(0))
    );
    assert_eq!(report["received"], json!([{ "interface": "pg0", "packets": 0 }]));
    let shown = command(&mut harness, "show packet-generator", json!({})).unwrap();
    assert_eq!(shown[0]["state"], "stopped");
}
