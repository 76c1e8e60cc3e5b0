//! The plugin in the SDK's harness: packets in, packets out, with virtual time.

use std::time::Duration;

use nat64 as _;
use proptest::prelude::*;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Run, Sample, packets, strategy};
use raddle_plugin_api::wire::{
    Icmp4Header, Icmp6Header, Ip4Address, Ip4Header, Ip6FragmentHeader, Ip6Header, Ip6Upper, IpProtocol,
    TcpFlags, TcpHeader, UdpHeader, checksum,
};
use raddle_plugin_api::{Field, L4Ports};
use serde_json::{Value, json};

const CONFIG: &str = "[nat64]\npool = ['192.0.2.1']\ninterfaces = ['lan', 'wan']\n";
const HOST: &str = "[2001:db8::1]:5000";
const SERVER6: &str = "[64:ff9b::198.51.100.2]:80";
const SERVER4: &str = "198.51.100.2:80";

const SHOW_SESSIONS: &str = "show nat64 sessions [protocol <protocol:word>] [tenant <tenant:word>] [inside <inside:word>] [outside <outside:word>] [remote <remote:word>] [count <count:u32>]";
const CLEAR_SESSIONS: &str = "clear nat64 sessions [protocol <protocol:word>] [tenant <tenant:word>] [inside <inside:word>] [outside <outside:word>] [remote <remote:word>]";

struct Router {
    host: Harness,
    lan: InterfaceIndex,
    wan: InterfaceIndex,
}

impl Router {
    fn new(config: &str) -> Self {
        Self::with_workers(config, 0)
    }

    fn with_workers(config: &str, workers: usize) -> Self {
        Self::made(config, workers, |_| {})
    }

    fn made(config: &str, workers: usize, prepare: impl FnOnce(&mut Harness)) -> Self {
        let mut host = Harness::builder()
            .config(config)
            .workers(workers)
            .interface("lan", |lan| lan)
            .interface("wan", |wan| wan)
            .build();
        host.mock("route.change", |_| Ok(json!({ "routes": 0 })));
        prepare(&mut host);
        host.load();
        host.nodes(&["nat64-4to6-routed"]);
        let (lan, wan) = (host.interface("lan"), host.interface("wan"));
        Self { host, lan, wan }
    }

    fn out(&mut self, packet: impl Into<Sample>) -> Run {
        self.host.run_arc("ip6-unicast", self.lan, [packet.into()])
    }

    fn inward(&mut self, packet: impl Into<Sample>) -> Run {
        self.host.run_arc("ip4-unicast", self.wan, [packet.into()])
    }

    fn show(&mut self, what: &str) -> Value {
        let usage = match what {
            "sessions" => SHOW_SESSIONS,
            "bib" => {
                "show nat64 bib [protocol <protocol:word>] [tenant <tenant:word>] [inside <inside:word>] [outside <outside:word>] [count <count:u32>]"
            }
            "pools" => "show nat64 pools",
            _ => "show nat64 summary",
        };
        self.host.command(usage, json!({})).unwrap().json.clone()
    }
}

fn sent(run: &Run, to: &str) -> Vec<u8> {
    let found = run.to(to);
    assert_eq!(found.len(), 1, "{}", run.summary());
    found[0].bytes().to_vec()
}

/// The transport checksum of an IPv4 packet is right.
fn is_right4(bytes: &[u8]) -> bool {
    let ip = Ip4Header::check(bytes, bytes.len()).unwrap();
    let upper = &bytes[20..usize::from(ip.total_length())];
    assert!(checksum::is_valid(&bytes[..20]));
    match ip.protocol() {
        IpProtocol::ICMP4 => checksum::is_valid(upper),
        IpProtocol::UDP => UdpHeader::is_checksum_valid(ip.pseudo_header(upper.len() as u16), upper),
        _ => TcpHeader::is_checksum_valid(ip.pseudo_header(upper.len() as u16), upper),
    }
}

fn is_right6(bytes: &[u8]) -> bool {
    let ip = Ip6Header::check(bytes, bytes.len()).unwrap();
    let upper = &bytes[40..];
    let pseudo = ip.pseudo_header(ip.next_header(), upper.len() as u32);
    pseudo.add_bytes(upper).is_valid()
}

fn addresses4(bytes: &[u8]) -> (String, String) {
    let (ip, _) = Ip4Header::parse(bytes).unwrap();
    (ip.source().to_string(), ip.destination().to_string())
}

fn addresses6(bytes: &[u8]) -> (String, String) {
    let (ip, _) = Ip6Header::parse(bytes).unwrap();
    (ip.source().to_string(), ip.destination().to_string())
}

#[test]
fn without_pool_or_mapping_all_packets_are_left_alone() {
    let mut router = Router::new("");
    let packet = packets::udp(HOST, SERVER6);
    let run = router.out(packet.clone());
    assert_eq!(run.to("ip6-lookup").len(), 1);
    assert_eq!(run.one().packet.bytes(), Sample::from(packet).bytes());
}

#[test]
fn udp_and_tcp_go_out_and_come_back() {
    let mut router = Router::new(CONFIG);
    for (out, back, back6) in [
        (packets::udp(HOST, SERVER6), packets::udp(SERVER4, "192.0.2.1:5000"), packets::udp(SERVER6, HOST)),
        (
            packets::tcp(HOST, SERVER6).flags(TcpFlags::SYN),
            packets::tcp(SERVER4, "192.0.2.1:5000").flags(TcpFlags(0x12)),
            packets::tcp(SERVER6, HOST).flags(TcpFlags(0x12)),
        ),
    ] {
        for _ in 0..2 {
            let run = router.out(out.clone().payload([7; 33]));
            let bytes = sent(&run, "ip4-lookup");
            assert!(is_right4(&bytes));
            assert_eq!(addresses4(&bytes), ("192.0.2.1".into(), "198.51.100.2".into()));
            assert_eq!(bytes[20..24], [0x13, 0x88, 0, 80]);
            let run = router.inward(back.clone().payload([9; 34]));
            assert_eq!(sent(&run, "ip6-lookup"), back6.clone().payload([9; 34]).to_vec());
        }
    }
    let summary = router.show("summary");
    assert_eq!((&summary["packets-to-ip4"], &summary["sessions"]["tcp"]), (&json!(4), &json!(1)));
    router.host.assert_no_leaks();
}

#[test]
fn echo_goes_out_and_its_reply_comes_back() {
    let mut router = Router::new(CONFIG);
    let run =
        router.out(packets::echo("2001:db8::1", "64:ff9b::198.51.100.2").identifier(77).payload([1; 5]));
    let bytes = sent(&run, "ip4-lookup");
    let expected = packets::echo("192.0.2.1", "198.51.100.2").identifier(77).payload([1; 5]).to_vec();
    assert_eq!(bytes[20..], expected[20..]);
    let mut reply = packets::echo("198.51.100.2", "192.0.2.1").identifier(77).payload([1; 5]).to_vec();
    assert!(Icmp4Header::parse_mut(&mut reply[20..]).unwrap().0.make_echo_reply());
    let bytes = sent(&router.inward(&reply[..]), "ip6-lookup");
    assert!(is_right6(&bytes));
    assert_eq!((bytes[40], addresses6(&bytes).1.as_str()), (129, "2001:db8::1"));
    assert_eq!(Icmp6Header::parse(&bytes[40..]).unwrap().0.identifier(), 77);
}

#[test]
fn what_is_for_nobody_here_goes_on_or_is_dropped() {
    let mut router = Router::new(CONFIG);
    router.out(packets::udp(HOST, "[2001:db8:9::1]:53")).assert_all("ip6-lookup");
    router.inward(packets::udp(SERVER4, "203.0.113.9:53")).assert_all("ip4-lookup");
    // Nobody has the port: host unreachable.
    router.inward(packets::udp(SERVER4, "192.0.2.1:53")).assert_all("ip4-icmp-error");
    for (packet, reason) in [
        (packets::udp("[64:ff9b::1.2.3.4]:1", SERVER6), "illegal-source"),
        (packets::udp("[fe80::1]:1", SERVER6), "illegal-source"),
        (packets::udp(HOST, "[64:ff9b::10.0.0.1]:53"), "non-global"),
        (packets::udp(HOST, "[64:ff9b::224.0.0.1]:53"), "illegal-destination"),
        (packets::udp(HOST, "[64:ff9b::127.0.0.1]:53"), "illegal-destination"),
        (packets::tcp(HOST, SERVER6).flags(TcpFlags::ACK), "not-syn"),
    ] {
        assert_eq!(router.out(packet).dropped(reason), 1, "{reason}");
    }
    router
        .out(packets::ip("2001:db8::1", "64:ff9b::198.51.100.2", IpProtocol::OSPF))
        .assert_all("ip6-icmp-error");
    router.out(packets::udp(HOST, SERVER6).ttl(1)).assert_all("ip6-icmp-error");
    router.host.assert_no_leaks();
}

/// RFC 7915 §5.1.
#[test]
fn extension_headers_are_left_out_and_routing_headers_refused() {
    let mut router = Router::new(CONFIG);
    let options = [0, 0, 1, 4, 0, 0, 0, 0];
    let packet = packets::udp(HOST, SERVER6).extension(IpProtocol::HOP_BY_HOP, options).payload([3; 10]);
    let bytes = sent(&router.out(packet), "ip4-lookup");
    assert!(is_right4(&bytes));
    assert_eq!(bytes.len(), 20 + 8 + 10);
    let visited = packets::udp(HOST, SERVER6).extension(IpProtocol::ROUTING, [0, 0, 4, 0, 0, 0, 0, 0]);
    assert!(is_right4(&sent(&router.out(visited), "ip4-lookup")));
    let to_visit = packets::udp(HOST, SERVER6).extension(IpProtocol::ROUTING, [0, 0, 4, 1, 0, 0, 0, 0]);
    router.out(to_visit).assert_all("ip6-icmp-error");
}

/// RFC 6146 §3.8, RFC 4787 REQ-9.
#[test]
fn hosts_inside_reach_each_other_by_their_outside_addresses() {
    let mut router = Router::new(CONFIG);
    router.out(packets::udp("[2001:db8::2]:7000", SERVER6));
    let run = router.out(packets::udp(HOST, "[64:ff9b::192.0.2.1]:7000").payload([5; 9]));
    let bytes = sent(&run, "ip6-lookup");
    assert!(is_right6(&bytes));
    let expected = packets::udp("[64:ff9b::192.0.2.1]:5000", "[2001:db8::2]:7000").payload([5; 9]).to_vec();
    assert_eq!(bytes[8..], expected[8..]);
}

/// RFC 7915 §4.5.
#[test]
fn udp_without_checksum_gets_one_or_is_dropped() {
    let zero = |payload: &[u8]| {
        let mut bytes = packets::udp(SERVER4, "192.0.2.1:5000").payload(payload).to_vec();
        bytes[26..28].fill(0);
        bytes
    };
    let mut router = Router::new(CONFIG);
    router.out(packets::udp(HOST, SERVER6));
    let bytes = sent(&router.inward(&zero(b"hello")[..]), "ip6-lookup");
    assert_eq!(bytes, packets::udp(SERVER6, HOST).payload(b"hello").to_vec());
    assert_eq!(router.show("summary")["udp-checksums-computed"], 1);
    let mut router = Router::new(&format!("{CONFIG}udp-zero-checksum = 'drop'\n"));
    router.out(packets::udp(HOST, SERVER6));
    assert_eq!(router.inward(&zero(b"hello")[..]).dropped("zero-checksum"), 1);
}

#[test]
fn wrong_checksums_stay_wrong() {
    let mut router = Router::new(CONFIG);
    let bytes = sent(&router.out(packets::udp(HOST, SERVER6).payload([1; 8]).wrong_checksum()), "ip4-lookup");
    assert!(!is_right4(&bytes));
    let back = packets::udp(SERVER4, "192.0.2.1:5000").payload([1; 8]).wrong_checksum();
    assert!(!is_right6(&sent(&router.inward(back), "ip6-lookup")));
}

/// A fragment's ports, as virtual reassembly notes them.
fn with_ports(
    host: &mut Harness,
    bytes: &[u8],
    first: &[u8],
    protocol: IpProtocol,
    is_first: bool,
) -> Sample {
    let field: Field<L4Ports> = host.control(|control| L4Ports::field(control)).unwrap();
    let ports = L4Ports::of_first(protocol, first);
    Sample::new(bytes).with_field(&field, if is_first { ports } else { ports.of_later() })
}

#[test]
fn fragments_are_translated_one_by_one() {
    let mut router = Router::new(CONFIG);
    let whole = packets::udp(HOST, SERVER6).payload([6; 1992]).to_vec();
    let data = &whole[40..];
    let fragment = |from: usize, to: usize| {
        let head = Ip6FragmentHeader::new(IpProtocol::UDP, from as u16, to < data.len(), 0x1234_5678);
        let payload = [zerocopy::IntoBytes::as_bytes(&head), &data[from..to]].concat();
        packets::ip("2001:db8::1", "64:ff9b::198.51.100.2", IpProtocol::FRAGMENT).payload(payload).to_vec()
    };
    let (one, two) = (fragment(0, 1000), fragment(1000, 2000));
    let mut joined = Vec::new();
    for (bytes, is_first) in [(one, true), (two, false)] {
        let sample = with_ports(&mut router.host, &bytes, data, IpProtocol::UDP, is_first);
        let out = sent(&router.out(sample), "ip4-lookup");
        let ip = Ip4Header::check(&out, out.len()).unwrap();
        assert_eq!((ip.identification(), ip.dont_fragment()), (0x5678, false));
        assert_eq!((usize::from(ip.fragment_offset()), ip.more_fragments()), (joined.len(), is_first));
        joined.extend_from_slice(&out[20..]);
    }
    let expected = packets::udp("192.0.2.1:5000", SERVER4).payload([6; 1992]).to_vec();
    assert_eq!(joined, expected[20..]);

    let whole = packets::udp(SERVER4, "192.0.2.1:5000").payload([8; 1992]).to_vec();
    let mut joined = Vec::new();
    for (from, to) in [(0, 1000), (1000, 2000)] {
        let bytes = packets::ip("198.51.100.2", "192.0.2.1", IpProtocol::UDP)
            .payload(&whole[20 + from..20 + to])
            .identification(0x4321)
            .fragment(from as u16, to < 2000)
            .to_vec();
        let sample = with_ports(&mut router.host, &bytes, &whole[20..], IpProtocol::UDP, from == 0);
        let out = sent(&router.inward(sample), "ip6-lookup");
        let upper = Ip6Upper::find(&out).unwrap();
        let fragment = upper.fragment.unwrap();
        assert_eq!((fragment.identification, usize::from(fragment.offset)), (0x4321, from));
        joined.extend_from_slice(&out[upper.offset..]);
    }
    assert_eq!(joined, packets::udp(SERVER6, HOST).payload([8; 1992]).to_vec()[40..]);
    router.host.assert_no_leaks();
}

/// RFC 7915 §4: what may be cut and would be larger than 1,280 bytes is cut.
#[test]
fn large_packets_that_may_be_cut_go_in_as_fragments() {
    let mut router = Router::new(CONFIG);
    router.out(packets::udp(HOST, SERVER6));
    let back = packets::udp(SERVER4, "192.0.2.1:5000").payload([4; 1400]).identification(99);
    let run = router.inward(back.clone());
    let parts = run.to("ip6-lookup");
    assert_eq!(parts.len(), 2);
    let mut joined = Vec::new();
    for part in parts {
        let bytes = part.bytes();
        let upper = Ip6Upper::find(bytes).unwrap();
        assert!(bytes.len() <= 1280 && upper.fragment.unwrap().identification == 99);
        assert_eq!(usize::from(upper.fragment.unwrap().offset), joined.len());
        joined.extend_from_slice(&bytes[upper.offset..]);
    }
    assert_eq!(joined, packets::udp(SERVER6, HOST).payload([4; 1400]).to_vec()[40..]);
    // With "don't fragment" it goes on whole, and routers tell who sent it.
    assert_eq!(sent(&router.inward(back.dont_fragment()), "ip6-lookup").len(), 1448);
    router.host.assert_no_leaks();
}

#[test]
fn partial_checksums_and_gso_packets_are_the_other_familys_afterwards() {
    let mut router = Router::new(CONFIG);
    router.out(packets::tcp(HOST, SERVER6).flags(TcpFlags::SYN));
    let mut bytes = packets::tcp(HOST, SERVER6).payload([2; 3000]).to_vec();
    let pseudo = Ip6Header::parse(&bytes).unwrap().0.pseudo_header(IpProtocol::TCP, 3020);
    bytes[56..58].copy_from_slice(&pseudo.partial().to_be_bytes());
    let sample = Sample::new(bytes)
        .with_partial_checksum(40, 16)
        .with_gso(4, 1400, 60)
        .in_segments(&[500, 1500, 1060]);
    let run = router.out(sample);
    let out = run.one();
    let bytes = out.packet.bytes();
    let ip = Ip4Header::parse(bytes).unwrap().0;
    let partial = ip.pseudo_header(3020).partial();
    assert_eq!(u16::from_be_bytes([bytes[36], bytes[37]]), partial);
    assert_eq!(
        (out.packet.header().gso_kind, out.packet.header().gso_size, out.packet.len()),
        (1, 1400, 3040)
    );
    router.host.assert_no_leaks();
}

/// RFC 6146 §3.5.2.2.
#[test]
fn syn_from_outside_waits_for_one_from_inside_and_is_answered_if_none_comes() {
    let mut router = Router::new(CONFIG);
    let syn = packets::tcp(SERVER4, "192.0.2.1:5000").flags(TcpFlags::SYN);
    router.inward(syn.clone()).assert_nothing();
    sent(&router.out(packets::tcp(HOST, SERVER6).flags(TcpFlags::SYN)), "ip4-lookup");
    assert_eq!(router.show("sessions")[0]["state"], "established");
    router.inward(packets::tcp(SERVER4, "192.0.2.1:6000").flags(TcpFlags::SYN)).assert_nothing();
    router.host.advance(Duration::from_millis(5900));
    assert_eq!(router.host.poll_node("nat64-age").sent().len(), 0);
    router.host.advance(Duration::from_millis(300));
    let run = router.host.poll_node("nat64-age");
    assert_eq!(run.to("ip4-icmp-error").len(), 1);
    router.host.assert_no_leaks();
}

#[test]
fn errors_from_both_sides_reach_whom_they_are_for() {
    let mut router = Router::new(CONFIG);
    router.out(packets::udp(HOST, SERVER6));
    // A router outside about what went out.
    let quoted = packets::udp("192.0.2.1:5000", SERVER4).payload([0; 20]).to_vec();
    let mut message = vec![11, 0, 0, 0, 0, 0, 0, 0];
    message.extend(&quoted);
    let sum = checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let error = packets::ip("203.0.113.9", "192.0.2.1", IpProtocol::ICMP4).payload(&message);
    let bytes = sent(&router.inward(error), "ip6-lookup");
    assert!(is_right6(&bytes));
    assert_eq!(addresses6(&bytes), ("64:ff9b::cb00:7109".into(), "2001:db8::1".into()));
    assert_eq!(bytes[48..], packets::udp(HOST, SERVER6).payload([0; 20]).to_vec());
    // For somebody else than whom the quoted packet is from.
    let lie = packets::ip("203.0.113.9", "192.0.2.1", IpProtocol::ICMP4).payload({
        let mut lie = message.clone();
        lie[8 + 12..8 + 16].copy_from_slice(&Ip4Address([192, 0, 2, 2]).0);
        lie
    });
    assert_eq!(router.inward(lie).dropped("error-quote"), 1);
    let other = packets::udp("192.0.2.1:5001", SERVER4).payload([0; 20]).to_vec();
    let unknown = [&message[..8], &other].concat();
    let unknown = packets::ip("203.0.113.9", "192.0.2.1", IpProtocol::ICMP4).payload(unknown);
    assert_eq!(router.inward(unknown).dropped("no-session"), 1);
    // A router inside about what came in.
    let quoted = packets::udp(SERVER6, HOST).payload([0; 20]).to_vec();
    let message = [&[1, 4, 0, 0, 0, 0, 0, 0], &quoted[..]].concat();
    let error = packets::ip("2001:db8::1", "64:ff9b::198.51.100.2", IpProtocol::ICMP6).payload(&message);
    let bytes = sent(&router.out(error), "ip4-lookup");
    assert_eq!(addresses4(&bytes), ("192.0.2.1".into(), "198.51.100.2".into()));
    assert_eq!((bytes[20], bytes[21]), (3, 3));
    assert_eq!(bytes[28 + 20..], packets::udp(SERVER4, "192.0.2.1:5000").payload([0; 20]).to_vec()[20..]);
    router.host.assert_no_leaks();
}

/// RFC 7757.
#[test]
fn explicit_mappings_need_no_session() {
    let config = "[nat64]\ninterfaces = ['lan', 'wan']\neam = [{ ip4 = '192.0.2.16/28', ip6 = '2001:db8:cc::/124' }]\n";
    let mut router = Router::new(config);
    let bytes = sent(&router.out(packets::tcp("[2001:db8:cc::3]:9", SERVER6).payload([1; 7])), "ip4-lookup");
    assert!(is_right4(&bytes));
    assert_eq!(addresses4(&bytes).0, "192.0.2.19");
    let bytes =
        sent(&router.inward(packets::echo("198.51.100.2", "192.0.2.19").payload([1; 7])), "ip6-lookup");
    assert!(is_right6(&bytes));
    assert_eq!(addresses6(&bytes), ("64:ff9b::c633:6402".into(), "2001:db8:cc::3".into()));
    assert_eq!(router.show("sessions"), json!([]));
}

#[test]
fn each_worker_has_its_own_hosts_and_packets_find_them() {
    let mut router = Router::with_workers(CONFIG, 2);
    let mut workers = std::collections::HashSet::new();
    for host in 1..40_u16 {
        let inside = format!("[2001:db8::{host:x}]:5000");
        for thread in [1, 2] {
            let run =
                router.host.run_arc_on(thread, "ip6-unicast", router.lan, [packets::udp(&inside, SERVER6)]);
            let out = sent(&run, "ip4-lookup");
            let port = u16::from_be_bytes([out[20], out[21]]);
            let back = packets::udp(SERVER4, &format!("192.0.2.1:{port}"));
            let run = router.host.run_arc_on(thread, "ip4-unicast", router.wan, [back]);
            assert_eq!(sent(&run, "ip6-lookup"), packets::udp(SERVER6, &inside).to_vec());
            workers.insert(run.sent()[0].thread);
        }
    }
    assert_eq!(workers.len(), 2);
    assert_eq!(router.show("summary")["sessions"]["udp"], 39);
    router.host.assert_no_leaks();
}

#[test]
fn new_configuration_holds_for_what_comes_and_sessions_stay() {
    let mut router = Router::new(CONFIG);
    router.out(packets::udp(HOST, SERVER6));
    router.host.set_config(CONFIG.replace("192.0.2.1", "203.0.113.7"));
    router.host.event("config", &()).unwrap();
    let bytes = sent(&router.out(packets::udp(HOST, SERVER6)), "ip4-lookup");
    assert_eq!(addresses4(&bytes).0, "192.0.2.1", "its session is there still");
    let bytes = sent(&router.out(packets::udp("[2001:db8::2]:5000", SERVER6)), "ip4-lookup");
    assert_eq!(addresses4(&bytes).0, "203.0.113.7");
    let wrong = CONFIG.replace("interfaces", "prefixes = ['64:ff9b::/96', '64:ff9b::/96']\ninterfaces");
    router.host.set_config(wrong);
    assert!(router.host.event("config", &()).unwrap_err().to_string().contains("overlap"));
}

/// A router whose wan has addresses as given, and which knows tables.
fn surrounded(config: &str, addresses: &std::sync::Arc<std::sync::Mutex<Vec<&'static str>>>) -> Router {
    let given = addresses.clone();
    Router::made(config, 0, move |host| {
        host.mock("address.list", move |_| {
            let list =
                given.lock().unwrap().iter().map(|text| json!({ "address": text, "given": true })).collect();
            Ok(json!({ "addresses": Value::Array(list), "table": 0 }))
        });
        host.mock("route.fib-index", |table| match table {
            Value::String(name) if name == "red" => Ok(json!(3)),
            Value::String(name) if name == "blue" => Ok(json!(4)),
            _ => Err(Failure::new("there is no such table")),
        });
    })
}

#[test]
fn pool_of_an_interface_follows_its_addresses_and_raddle_keeps_what_is_its_own() {
    let addresses = std::sync::Arc::new(std::sync::Mutex::new(vec!["203.0.113.1/24", "2001:db8:9::1/64"]));
    let mut router =
        surrounded("[nat64]\npool-interfaces = ['wan']\ninterfaces = ['lan', 'wan']\n", &addresses);
    let bytes = sent(&router.out(packets::udp(HOST, SERVER6)), "ip4-lookup");
    assert_eq!(addresses4(&bytes).0, "203.0.113.1");
    sent(&router.inward(packets::udp(SERVER4, "203.0.113.1:5000")), "ip6-lookup");
    // What no binding is for is for raddle itself, whatever it is.
    for packet in [
        packets::udp(SERVER4, "203.0.113.1:5001"),
        packets::tcp(SERVER4, "203.0.113.1:22").flags(TcpFlags::SYN),
        packets::udp(SERVER4, "203.0.113.1:5001").ttl(1),
        packets::echo("198.51.100.2", "203.0.113.1"),
        packets::ip("198.51.100.2", "203.0.113.1", IpProtocol::OSPF),
    ] {
        router.inward(packet).assert_all("ip4-lookup");
    }
    // From inside by way of the hairpin, too.
    router.out(packets::udp(HOST, "[64:ff9b::203.0.113.1]:53")).assert_all("ip4-lookup");
    *addresses.lock().unwrap() = vec!["203.0.113.9/24"];
    router.host.control(|control| control.signal("addresses-changed", &json!({ "interface": 1 }))).unwrap();
    router.host.quiesce();
    let bytes = sent(&router.out(packets::udp("[2001:db8::2]:5000", SERVER6)), "ip4-lookup");
    assert_eq!(addresses4(&bytes).0, "203.0.113.9");
    let pools = router.show("pools");
    let shown =
        |address: &str| pools.as_array().unwrap().iter().find(|row| row["address"] == address).cloned();
    assert_eq!(shown("203.0.113.9").unwrap()["is-shared"], true);
    assert_eq!(shown("203.0.113.1").unwrap()["in-pool"], false, "its sessions end in their time");
    router.host.assert_no_leaks();
}

const TENANTS: &str = "[nat64]\npool = ['192.0.2.1']\ninterfaces = ['lan', 'wan']\n\
    [nat64.tenant.red]\ntable = 'red'\npool = ['192.0.2.2']\n\
    [nat64.tenant.blue]\ntable = 'blue'\noutside-table = 'blue'\npool = ['192.0.2.3']\n\
    [nat64.tenant.green]\ntable = 'green'\npool = ['192.0.2.4']\n";

#[test]
fn tenants_with_one_prefix_and_one_address_keep_apart() {
    let mut router = surrounded(TENANTS, &std::sync::Arc::default());
    router.host.quiesce();
    let packet = || Sample::from(packets::udp(HOST, SERVER6));
    for (table, outside) in [(0, "192.0.2.1"), (3, "192.0.2.2"), (4, "192.0.2.3")] {
        for _ in 0..2 {
            let run = router.out(packet().with_fib_index(table));
            let bytes = sent(&run, "ip4-lookup");
            assert_eq!(addresses4(&bytes).0, outside);
            assert_eq!(run.one().packet.header().fib_index, if table == 4 { 4 } else { 0 });
        }
    }
    // Each comes back into its own table; blue's pool only from its own table.
    for (outside, from, table) in [("192.0.2.1", 0, 0), ("192.0.2.2", 0, 3), ("192.0.2.3", 4, 4)] {
        for _ in 0..2 {
            let back = Sample::from(packets::udp(SERVER4, &format!("{outside}:5000"))).with_fib_index(from);
            let run = router.inward(back);
            assert_eq!(addresses6(&sent(&run, "ip6-lookup")).1, "2001:db8::1");
            assert_eq!(run.one().packet.header().fib_index, table);
        }
    }
    let foreign = Sample::from(packets::udp(SERVER4, "192.0.2.3:5000")).with_fib_index(0);
    assert_eq!(router.inward(foreign).dropped("other-table"), 1);
    let sessions = router.show("sessions");
    let tenants: std::collections::BTreeSet<_> =
        sessions.as_array().unwrap().iter().map(|row| row["tenant"].to_string()).collect();
    assert_eq!(tenants, ["\"blue\"", "\"red\"", "null"].map(String::from).into());
    let rows = router.host.command("show nat64 tenants", json!({})).unwrap().json.clone();
    let status: Vec<_> =
        rows.as_array().unwrap().iter().map(|row| row["status"].as_str().unwrap().to_owned()).collect();
    assert_eq!(status, ["in force", "in force", "waits for its tables", "in force"]);
    router.host.assert_no_leaks();
}

/// Another version of the plugin goes on with bindings and sessions as they are, and gives no port twice.
#[test]
fn sessions_and_bindings_outlive_an_upgrade() {
    for (workers, more) in
        [(0, ""), (2, "subscribers = { port-block-size = 256 }\n"), (0, "filtering = 'address-dependent'\n")]
    {
        let mut router = Router::with_workers(&format!("{CONFIG}{more}"), workers);
        let mut ports = std::collections::HashMap::new();
        for host in 1..=30_u16 {
            let inside = format!("[2001:db8::{host:x}]:5000");
            let out = sent(&router.out(packets::udp(&inside, SERVER6)), "ip4-lookup");
            ports.insert(host, u16::from_be_bytes([out[20], out[21]]));
        }
        router.out(packets::tcp(HOST, SERVER6).flags(TcpFlags::SYN));
        let out = sent(&router.out(packets::tcp(HOST, SERVER6).flags(TcpFlags::SYN)), "ip4-lookup");
        let port = u16::from_be_bytes([out[20], out[21]]);
        let syn_ack = packets::tcp(SERVER4, &format!("192.0.2.1:{port}")).flags(TcpFlags(0x12));
        sent(&router.inward(syn_ack), "ip6-lookup");
        router.host.upgrade();
        router.host.nodes(&["nat64-4to6-routed"]);
        // From outside first: nobody has sent anything yet that could have made it anew.
        for (host, port) in &ports {
            let back = packets::udp(SERVER4, &format!("192.0.2.1:{port}"));
            let bytes = sent(&router.inward(back), "ip6-lookup");
            assert_eq!(addresses6(&bytes).1, format!("2001:db8::{host:x}"));
        }
        let ack = packets::tcp(HOST, SERVER6).flags(TcpFlags::ACK);
        assert_eq!(sent(&router.out(ack), "ip4-lookup")[20..22], port.to_be_bytes());
        let mut all: std::collections::HashSet<_> = ports.values().copied().collect();
        for host in 31..=60_u16 {
            let inside = format!("[2001:db8::{host:x}]:5000");
            let out = sent(&router.out(packets::udp(&inside, SERVER6)), "ip4-lookup");
            assert!(
                all.insert(u16::from_be_bytes([out[20], out[21]])),
                "host {host} was given another's port"
            );
        }
        router.host.poll_named("nat64-age");
        let summary = router.show("summary");
        assert_eq!((&summary["sessions"]["udp"], &summary["sessions"]["tcp"]), (&json!(60), &json!(1)));
        let states = router.host.command(SHOW_SESSIONS, json!({ "protocol": "tcp" })).unwrap().json.clone();
        assert_eq!(states[0]["state"], "established");
        // Their time goes on, too.
        router.host.advance(Duration::from_secs(301));
        for _ in 0..3 {
            router.host.poll_named("nat64-age");
        }
        let left = router.host.command(SHOW_SESSIONS, json!({})).unwrap().json.clone();
        assert_eq!(left.as_array().unwrap().len(), 1, "{left}");
        router.host.assert_no_leaks();
    }
}

#[test]
fn prefixes_and_tenants_keep_their_numbers_over_an_upgrade() {
    let mut router = Router::new(
        &CONFIG.replace("interfaces", "prefixes = ['2001:db8:64::/96', '64:ff9b::/96']\ninterfaces"),
    );
    sent(&router.out(packets::udp(HOST, SERVER6)), "ip4-lookup");
    // Read from the start, the second prefix would be the first one.
    router.host.set_config(CONFIG);
    router.host.event("config", &()).unwrap();
    router.host.upgrade();
    router.host.nodes(&["nat64-4to6-routed"]);
    let bytes = sent(&router.inward(packets::udp(SERVER4, "192.0.2.1:5000")), "ip6-lookup");
    assert_eq!(addresses6(&bytes), ("64:ff9b::c633:6402".into(), "2001:db8::1".into()));
    sent(&router.out(packets::udp(HOST, SERVER6)), "ip4-lookup");
}

#[test]
fn sessions_are_shown_and_ended_by_filter_on_every_worker() {
    let mut router = Router::with_workers(CONFIG, 2);
    for host in 1..=40_u16 {
        let inside = format!("[2001:db8::{host:x}]:5000");
        router.host.run_arc_on(1, "ip6-unicast", router.lan, [packets::udp(&inside, SERVER6)]);
    }
    let mut run = |usage: &str, arguments: Value| router.host.command(usage, arguments).unwrap().json.clone();
    let one = run(SHOW_SESSIONS, json!({ "inside": "2001:db8::7" }));
    assert_eq!((one.as_array().unwrap().len(), &one[0]["remote"]), (1, &json!("198.51.100.2:80")));
    assert_eq!(run(SHOW_SESSIONS, json!({ "count": 7 })).as_array().unwrap().len(), 7);
    assert_eq!(run(CLEAR_SESSIONS, json!({ "inside": "2001:db8::7" })), json!({ "sessions": 1 }));
    assert_eq!(run(CLEAR_SESSIONS, json!({ "protocol": "tcp" })), json!({ "sessions": 0 }));
    assert_eq!(run(CLEAR_SESSIONS, json!({})), json!({ "sessions": 39 }));
    let summary = router.show("summary");
    assert_eq!(
        (
            &summary["sessions"]["udp"],
            &summary["bindings"]["udp"],
            &summary["subscribers"],
            &summary["sessions-ended"]
        ),
        (&json!(0), &json!(0), &json!(0), &json!(40))
    );
    let wrong = router.host.command(SHOW_SESSIONS, json!({ "tenant": "nobody" })).unwrap_err();
    assert!(wrong.to_string().contains("show nat64 tenants"), "{wrong}");
}

#[test]
fn what_is_held_is_let_go_of_when_the_configuration_says_so() {
    let mut router = Router::new(CONFIG);
    assert_eq!(router.host.features("ip6-unicast", router.lan), ["nat64"]);
    router.host.set_config(CONFIG.replace("['lan', 'wan']", "['wan']"));
    router.host.event("config", &()).unwrap();
    assert!(router.host.features("ip6-unicast", router.lan).is_empty());
    assert_eq!(router.host.features("ip4-unicast", router.wan), ["nat64"]);
}

#[test]
fn counts_and_levels_are_metrics() {
    let mut router = Router::new(CONFIG);
    router.out(packets::udp(HOST, SERVER6));
    router.out(packets::udp(HOST, SERVER6));
    router.host.event("metrics", &()).unwrap();
    let reports = router.host.calls("metric.report");
    let packets = reports.iter().find(|report| report["metric"]["name"] == "packets").unwrap();
    assert_eq!(packets["values"], json!([2.0, 0.0]));
    let opened = reports.iter().find(|report| report["metric"]["name"] == "sessions_opened").unwrap();
    assert_eq!((&opened["values"], &opened["kind"]), (&json!([1.0]), &json!("counter")));
    let registered = router.host.calls("metric.register");
    let names: Vec<_> = registered.iter().map(|call| call["metric"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["sessions", "bindings", "subscribers"]);
    assert_eq!(registered[0]["metric"]["series"].as_array().unwrap().len(), 3);
}

/// RFC 8158, RFC 6888 REQ-12: what was refused, and who had what.
#[test]
fn log_goes_out_as_ipfix_and_tells_of_limits() {
    let collector = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    collector.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let config = format!(
        "{CONFIG}log = {{ ipfix = '{}', what = 'sessions' }}\nsubscribers = {{ max-sessions = 1 }}\n",
        collector.local_addr().unwrap()
    );
    let mut router = Router::new(&config);
    router.out(packets::udp(HOST, SERVER6));
    for _ in 0..3 {
        router.out(packets::udp(HOST, "[64:ff9b::198.51.100.3]:80")).assert_all("ip6-icmp-error");
    }
    let mut records = Vec::new();
    let mut bytes = [0; 2048];
    while records.len() < 3 {
        let length = collector.recv(&mut bytes).unwrap();
        let mut sets = &bytes[16..length];
        while let [a, b, c, d, ..] = *sets {
            let (id, end) = (u16::from_be_bytes([a, b]), usize::from(u16::from_be_bytes([c, d])));
            let size = match id {
                256 => 62,
                257 => 38,
                261 => 37,
                _ => usize::MAX,
            };
            let body = sets[4..end].chunks_exact(size.min(end)).map(|record| (id, record[8]));
            records.extend(body);
            sets = &sets[end..];
        }
    }
    assert_eq!(records, [(257, 10), (256, 6), (261, 13)], "one binding, one session, one refusal a second");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// 6→4→6: payload and validity of the checksum are what they were.
    #[test]
    fn there_and_back_keeps_payload_and_checksum(
        payload in proptest::collection::vec(any::<u8>(), 0..1200),
        kind in 0..3_u8, wrong: bool, inside: u16, port in 1024_u16..,
    ) {
        let mut router = Router::new(CONFIG);
        let (from, to) = (format!("2001:db8::{inside:x}"), "64:ff9b::198.51.100.2");
        let packet = match kind {
            0 => packets::udp(&format!("[{from}]:{port}"), SERVER6),
            1 => packets::tcp(&format!("[{from}]:{port}"), SERVER6).flags(TcpFlags::SYN),
            _ => packets::echo(&from, to).identifier(port),
        };
        prop_assume!(inside != 0);
        let packet = packet.payload(&payload);
        let out = sent(&router.out(if wrong { packet.wrong_checksum() } else { packet }), "ip4-lookup");
        prop_assert_eq!(is_right4(&out), !wrong);
        // The server sends it back as it came.
        let (ip, upper) = Ip4Header::parse(&out).unwrap();
        let mut back = packets::ip(&ip.destination().to_string(), &ip.source().to_string(), ip.protocol()).payload(upper).to_vec();
        if kind < 2 {
            let (first, second) = (out[20..22].to_vec(), out[22..24].to_vec());
            back[20..22].copy_from_slice(&second);
            back[22..24].copy_from_slice(&first);
        } else {
            prop_assert!(Icmp4Header::parse_mut(&mut back[20..]).unwrap().0.make_echo_reply());
        }
        let again = sent(&router.inward(&back[..]), "ip6-lookup");
        prop_assert_eq!(is_right6(&again), !wrong);
        prop_assert!(again.ends_with(&payload));
        prop_assert_eq!(addresses6(&again), (Ip6Header::parse(&again).unwrap().0.source().to_string(), from));
        router.host.assert_no_leaks();
    }

    #[test]
    fn no_packet_is_lost_whatever_its_bytes(
        four in proptest::collection::vec(strategy::hostile_ip4(), 1..30),
        six in proptest::collection::vec(strategy::hostile_ip6(), 1..30),
    ) {
        let mut router = Router::new(CONFIG);
        router.out(packets::udp(HOST, SERVER6));
        let six: Vec<_> = six.into_iter().map(|mut bytes| {
            if let Some(destination) = bytes.get_mut(24..40) {
                destination.copy_from_slice(&[0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 198, 51, 100, 2]);
            }
            bytes
        }).collect();
        let four: Vec<_> = four.into_iter().map(|mut bytes| {
            if let Some(destination) = bytes.get_mut(16..20) {
                destination.copy_from_slice(&[192, 0, 2, 1]);
            }
            bytes
        }).collect();
        router.host.run_arc("ip6-unicast", router.lan, six);
        router.host.run_arc("ip4-unicast", router.wan, four);
        router.host.advance(Duration::from_secs(60));
        router.host.poll_node("nat64-age");
        router.host.assert_no_leaks();
    }
}
