//! The session log, as a collector gets it.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::time::Duration;

use raddle_plugin_api::testing::packets;
use serde_json::json;

use crate::router::*;

/// A collector, and what templates have told it of records: their lengths.
struct Collector {
    socket: UdpSocket,
    sizes: HashMap<u16, usize>,
}

fn collector() -> Collector {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    Collector { socket, sizes: HashMap::new() }
}

/// So many records: the number of each one's template, and its natEvent.
fn received(collector: &mut Collector, count: usize) -> Vec<(u16, u8)> {
    let Collector { socket, sizes } = collector;
    let mut records = Vec::new();
    let mut bytes = [0; 2048];
    while records.len() < count {
        let length = socket.recv(&mut bytes).unwrap();
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let mut at = 16;
        while at < length {
            let (id, end) = (word(at), at + usize::from(word(at + 2)));
            let mut field = at + 4;
            if id == 2 {
                while field < end {
                    let (template, fields) = (word(field), usize::from(word(field + 2)));
                    let octets = (0..fields).map(|n| usize::from(word(field + 4 + 4 * n + 2))).sum::<usize>();
                    sizes.insert(template, octets);
                    field += 4 + 4 * fields;
                }
            } else {
                records.extend(bytes[field..end].chunks_exact(sizes[&id]).map(|record| (id, record[8])));
            }
            at = end;
        }
    }
    records
}

/// RFC 8158, RFC 6888 REQ-12: what was refused, and who had what.
#[test]
fn log_goes_out_as_ipfix_and_tells_of_limits() {
    let mut collector = collector();
    let config = format!(
        "{CONFIG}log = {{ ipfix = '{}', what = 'sessions' }}\nsubscribers = {{ max-sessions = 1 }}\n",
        collector.socket.local_addr().unwrap()
    );
    let mut router = Router::new(&config);
    router.out(packets::udp(HOST, SERVER6));
    for _ in 0..3 {
        router.out(packets::udp(HOST, "[64:ff9b::198.51.100.3]:80")).assert_all("ip6-icmp-error");
    }
    let records = received(&mut collector, 3);
    assert_eq!(records, [(257, 10), (256, 6), (261, 13)], "one binding, one session, one refusal a second");
}

/// RFC 8158 §4.3: threshold reached.
#[test]
fn log_tells_when_marks_are_reached() {
    let mut collector = collector();
    let config = format!(
        "{CONFIG}[nat64.log]\nipfix = '{}'\n[nat64.log.thresholds]\nmappings-high = 4\n\
         subscriber-mappings-high = 3\npool-high = 1\npool-low = 0\n",
        collector.socket.local_addr().unwrap()
    );
    let mut router = Router::new(&config);
    for port in 5000..5003 {
        router.out(packets::udp(&format!("[2001:db8::1]:{port}"), SERVER6));
    }
    let binding = (257, 10);
    assert_eq!(
        received(&mut collector, 4),
        [binding, binding, binding, (263, 18)],
        "the subscriber's, at once"
    );
    router.host.advance(Duration::from_secs(2));
    router.host.quiesce();
    assert_eq!(received(&mut collector, 1), [(264, 18)], "the pool's address is in use");
    router.out(packets::udp("[2001:db8::2]:5000", SERVER6));
    router.host.advance(Duration::from_secs(2));
    router.host.quiesce();
    assert_eq!(received(&mut collector, 2), [binding, (262, 18)], "four bindings in all");
    router.host.command(CLEAR_SESSIONS, json!({})).unwrap();
    router.host.advance(Duration::from_secs(3));
    router.host.quiesce();
    let over = (257, 11);
    assert_eq!(
        received(&mut collector, 5),
        [over, over, over, over, (265, 18)],
        "told once, and nothing more"
    );
    router.host.unload().unwrap();
}

#[test]
fn mark_of_a_subscriber_is_told_each_time_that_a_binding_reaches_it() {
    let mut collector = collector();
    let config = format!(
        "{CONFIG}[nat64.log]\nipfix = '{}'\n[nat64.log.thresholds]\nsubscriber-mappings-high = 1\n",
        collector.socket.local_addr().unwrap()
    );
    let mut router = Router::new(&config);
    let (given, over, reached) = ((257, 10), (257, 11), (263, 18));
    router.out(packets::udp(HOST, SERVER6));
    router.out(packets::udp(HOST, "[64:ff9b::198.51.100.3]:80"));
    assert_eq!(received(&mut collector, 2), [given, reached], "a session more is no binding more");
    router.out(packets::udp("[2001:db8::1]:5001", SERVER6));
    router.host.command(CLEAR_SESSIONS, json!({})).unwrap();
    router.out(packets::udp(HOST, SERVER6));
    assert_eq!(received(&mut collector, 5), [given, over, over, given, reached]);
    router.host.unload().unwrap();
}
