//! Laws that hold whatever comes.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;
use raddle_plugin_api::testing::{packets, strategy};
use raddle_plugin_api::wire::{
    Icmp4Header, Icmp6Header, Ip4Header, Ip6FragmentHeader, Ip6Header, IpProtocol, TcpFlags,
};
use serde_json::Value;

use crate::router::*;

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

    /// 4→6→4, as above: by a session of the operator's mapping, or without any.
    #[test]
    fn in_and_out_again_keeps_payload_and_checksum(
        payload in proptest::collection::vec(any::<u8>(), 0..1200), kind in 0..3_u8, wrong: bool, port in 1_u16.., mapped: bool,
    ) {
        let mapping = match mapped {
            true => "eam = [{ ip4 = '192.0.2.16/28', ip6 = '2001:db8:cc::/124' }]",
            false => "static = [{ inside = '2001:db8:cc::3', outside = '192.0.2.19' }]",
        };
        let mut router = Router::new(&format!("{CONFIG}{mapping}\n"));
        let packet = match kind {
            0 => packets::udp(&format!("198.51.100.2:{port}"), "192.0.2.19:80"),
            1 => packets::tcp(&format!("198.51.100.2:{port}"), "192.0.2.19:80").flags(TcpFlags::SYN),
            _ => packets::echo("198.51.100.2", "192.0.2.19").identifier(port),
        };
        let packet = packet.payload(&payload).dont_fragment();
        let inside = sent(&router.inward(if wrong { packet.wrong_checksum() } else { packet }), "ip6-lookup");
        prop_assert_eq!(is_right6(&inside), !wrong);
        prop_assert_eq!(addresses6(&inside), ("64:ff9b::c633:6402".into(), "2001:db8:cc::3".into()));
        // The host sends it back as it came.
        let (ip, upper) = Ip6Header::parse(&inside).unwrap();
        let (source, destination) = (ip.destination().to_string(), ip.source().to_string());
        let mut back = packets::ip(&source, &destination, ip.next_header()).payload(upper).to_vec();
        if kind < 2 {
            back[40..42].copy_from_slice(&inside[42..44]);
            back[42..44].copy_from_slice(&inside[40..42]);
        } else {
            prop_assert!(Icmp6Header::parse_mut(&mut back[40..]).unwrap().0.make_echo_reply());
        }
        let out = sent(&router.out(&back[..]), "ip4-lookup");
        prop_assert_eq!(is_right4(&out), !wrong);
        prop_assert!(out.ends_with(&payload));
        prop_assert_eq!(addresses4(&out), ("192.0.2.19".into(), "198.51.100.2".into()));
        router.host.assert_no_leaks();
    }

    /// Whatever comes, on whatever worker and whenever: what commands show of sessions, bindings, ports and counts agrees.
    #[test]
    fn what_is_shown_agrees_whatever_comes(
        workers in 0..4_usize,
        steps in proptest::collection::vec((0..5_u8, 1..8_u8, 5000..5004_u16, any::<u8>(), 0..200_u64), 1..60),
    ) {
        let mut router = Router::with_workers(CONFIG, workers);
        for (kind, host, port, flags, seconds) in steps {
            let thread = if workers < 2 { workers } else { 1 + usize::from(flags) % workers };
            let (inside, outside) = (format!("[2001:db8::{host}]:{port}"), format!("192.0.2.1:{port}"));
            let (lan, wan) = (router.lan, router.wan);
            match kind {
                0 => drop(router.host.run_arc_on(thread, "ip6-unicast", lan, [packets::udp(&inside, SERVER6)])),
                1 => {
                    let packet = packets::tcp(&inside, SERVER6).flags(TcpFlags(flags));
                    drop(router.host.run_arc_on(thread, "ip6-unicast", lan, [packet]));
                }
                2 => drop(router.host.run_arc_on(thread, "ip4-unicast", wan, [packets::udp(SERVER4, &outside)])),
                3 => {
                    let packet = packets::tcp(SERVER4, &outside).flags(TcpFlags(flags));
                    drop(router.host.run_arc_on(thread, "ip4-unicast", wan, [packet]));
                }
                _ => {
                    router.host.advance(Duration::from_secs(seconds));
                    router.host.poll_named("nat64-age");
                }
            }
        }
        let sessions = router.show("sessions");
        let bindings = router.show("bib");
        let (summary, pools) = (router.show("summary"), router.show("pools"));
        for protocol in ["tcp", "udp", "icmp"] {
            let of = |rows: &Value| rows.as_array().unwrap().iter().filter(|row| row["protocol"] == protocol).cloned().collect::<Vec<_>>();
            let (sessions, bindings) = (of(&sessions), of(&bindings));
            prop_assert_eq!(&summary["sessions"][protocol], sessions.len());
            prop_assert_eq!(&summary["bindings"][protocol], bindings.len());
            prop_assert_eq!(&pools[0][protocol], bindings.len());
            let ends: HashMap<_, _> = bindings.iter().map(|row| (row["outside"].to_string(), row["inside"].to_string())).collect();
            prop_assert_eq!(ends.len(), bindings.len(), "a port is one host's");
            let mut used = HashSet::new();
            for session in &sessions {
                let outside = session["outside"].to_string();
                prop_assert_eq!(ends.get(&outside), Some(&session["inside"].to_string()));
                used.insert(outside);
            }
            prop_assert_eq!(used.len(), bindings.len(), "a binding is there for its sessions");
        }
        // SYNs from outside wait for as long as this.
        router.host.advance(Duration::from_secs(7));
        router.host.poll_named("nat64-age");
        router.host.assert_no_leaks();
    }
}

/// Headers of all kinds, cut off at every byte, with and without a length that says so: each is dropped with a reason, answered, or
/// goes on as what it is.
#[test]
fn headers_cut_short_anywhere_are_accounted_for() {
    let mut router = Router::new(CONFIG);
    router.out(packets::udp(HOST, SERVER6));
    router.out(packets::tcp(HOST, SERVER6).flags(TcpFlags::SYN));
    let (inside, server6) = ("2001:db8::1", "64:ff9b::198.51.100.2");
    let quoted6 = [&[1, 4, 0, 0, 0, 0, 0, 0], &packets::udp(SERVER6, HOST).to_vec()[..]].concat();
    let quoted4 = [&[3, 3, 0, 0, 0, 0, 0, 0], &packets::udp("192.0.2.1:5000", SERVER4).to_vec()[..]].concat();
    let fragment = Ip6FragmentHeader::new(IpProtocol::UDP, 0, true, 7);
    let six = [
        packets::udp(HOST, SERVER6).to_vec(),
        packets::tcp(HOST, SERVER6).flags(TcpFlags::SYN).to_vec(),
        packets::echo(inside, server6).to_vec(),
        packets::udp(HOST, SERVER6).extension(IpProtocol::HOP_BY_HOP, [0, 0, 1, 4, 0, 0, 0, 0]).to_vec(),
        packets::udp(HOST, SERVER6).extension(IpProtocol::ROUTING, [0, 0, 4, 1, 0, 0, 0, 0]).to_vec(),
        packets::ip(inside, server6, IpProtocol::FRAGMENT)
            .payload(zerocopy::IntoBytes::as_bytes(&fragment))
            .to_vec(),
        packets::ip(inside, server6, IpProtocol::ICMP6).payload(quoted6).to_vec(),
    ];
    let four = [
        packets::udp(SERVER4, "192.0.2.1:5000").to_vec(),
        packets::tcp(SERVER4, "192.0.2.1:5000").flags(TcpFlags(0x12)).to_vec(),
        packets::echo("198.51.100.2", "192.0.2.1").to_vec(),
        packets::ip("198.51.100.2", "192.0.2.1", IpProtocol::ICMP4).payload(quoted4).to_vec(),
    ];
    for (arc, whole) in
        six.iter().map(|whole| ("ip6-unicast", whole)).chain(four.iter().map(|whole| ("ip4-unicast", whole)))
    {
        for length in 0..whole.len() {
            for says_so in [false, true] {
                let mut cut = whole[..length].to_vec();
                let is_6 = arc == "ip6-unicast";
                let (field, value) = if is_6 { (4..6, length.wrapping_sub(40)) } else { (2..4, length) };
                if says_so && let Some(field) = cut.get_mut(field) {
                    field.copy_from_slice(&(value as u16).to_be_bytes());
                }
                let interface = if is_6 { router.lan } else { router.wan };
                let run = router.host.run_arc(arc, interface, [&cut[..]]);
                let ends = run.sent().len() + run.drops().len();
                assert_eq!((ends, run.lost()), (1, 0), "{length} of {whole:?}: {}", run.summary());
            }
        }
    }
    router.host.assert_no_leaks();
}
