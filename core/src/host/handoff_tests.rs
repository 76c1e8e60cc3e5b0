//! Packets that a feature hands from thread to thread, in an engine with all its threads.

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip4Header;
use serde_json::{Value, json};

use crate::control::test_engine::{Session, with_engine};

const PACKETS: u64 = 3000;

error! {
    enum SpreadError { Congested => "congested": "the way to the flow's thread is full" }
}

/// Has each flow, by its source port, go on on a thread of its own.
struct Spread;

impl Node for Spread {
    const NAME: &'static str = "test-spread";
    type Next = NoNext;
    type Error = SpreadError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let port =
                Ip4Header::parse(packet.bytes()).map_or(0, |(_, rest)| rest.get(1).copied().unwrap_or(0));
            let thread = env.worker().thread_of(u32::from(port).wrapping_mul(0x9e37_79b9));
            if let Err(refused) = env.hand_off(packet.take(), thread, Verdict::Continue) {
                env.send(refused, Verdict::Drop(SpreadError::Congested));
            }
            Verdict::Continue
        });
    }
}

node!(Spread);
feature! { "test-spread", node: Spread, arc: "ip4-unicast" }

fn start_traffic(session: &Session) {
    for line in [
        "interface create in driver packet-generator mac 02:fe:00:00:00:01 up",
        "interface create out driver packet-generator mac 02:fe:00:00:00:02 up",
        "set interface address in add 10.0.0.1/24",
        "set interface address out add 10.0.1.1/24",
        "neighbor add out 10.0.1.2 02:00:00:00:00:02",
        "set interface feature in test-spread on",
    ] {
        session.text(line);
    }
    let packet = "eth 02:00:00:00:00:01 > 02:fe:00:00:00:01 / ip4 10.0.0.2 > 10.0.1.2 / udp 1000-1063 > 2000";
    session.text(&format!("packet-generator add in flows \"{packet}\" count {PACKETS} size 64"));
    session.text("trace add packet-generator-input 20");
    session.text("packet-generator start in");
}

/// Packets that came through a node, by thread.
fn through(session: &Session, node: &str) -> Vec<u64> {
    let runtime = session.data("show runtime verbose");
    let packets = |thread: &Value| {
        let nodes = thread["nodes"].as_array().expect("nodes");
        nodes
            .iter()
            .find(|other| other["name"] == node)
            .and_then(|node| node["packets"].as_u64())
            .expect("a count")
    };
    runtime["threads"].as_array().expect("threads").iter().map(packets).collect()
}

fn wait_for_packets(session: &Session) {
    let accounted = || {
        let errors = session.data("show errors");
        let congested = errors.as_array().expect("rows").iter().filter(|row| row["reason"] == "congested");
        through(session, "ip4-lookup").iter().sum::<u64>()
            + congested.filter_map(|row| row["count"].as_u64()).sum::<u64>()
    };
    for _ in 0..2000 {
        if accounted() == PACKETS {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("of {PACKETS} packets {} are accounted for: {}", accounted(), session.text("show runtime"));
}

#[test]
fn every_packet_goes_on_on_the_thread_of_its_flow() {
    with_engine(2, |session| {
        start_traffic(session);
        wait_for_packets(session);
        let ways = session.data("show handoff");
        let ways = ways.as_array().expect("rows");
        assert_eq!(ways.len(), 1, "one of the workers has the only queue: {ways:?}");
        let over = ways[0]["packets"].as_u64().expect("a count");
        assert!((1..PACKETS).contains(&over), "flows are on both workers: {over}");
        assert_eq!(ways[0]["waiting"], json!(0));
        let sent = through(session, "ip4-lookup");
        assert!(sent[0] == 0 && sent[1] > 0 && sent[2] > 0, "{sent:?}");
        // A trace goes on on the other thread.
        let traces = session.data("show trace");
        let packets = traces["packets"].as_array().expect("packets");
        let goes_out = |packet: &Value| packet["nodes"].to_string().contains("interface-output");
        assert!(packets.len() == 20 && packets.iter().all(goes_out), "{traces}");
    });
}

#[test]
fn without_workers_the_main_thread_hands_to_itself() {
    with_engine(0, |session| {
        start_traffic(session);
        wait_for_packets(session);
        assert_eq!(session.data("show handoff"), json!([]));
        assert_eq!(session.text("show handoff"), "no packet was handed from one thread to another");
    });
}
