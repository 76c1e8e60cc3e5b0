//! Sessions: on which worker, shown, ended, counted; and their ports afterwards.

use std::time::Duration;

use raddle_plugin_api::testing::packets;
use raddle_plugin_api::wire::TcpFlags;
use serde_json::{Value, json};

use crate::router::*;

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

/// RFC 6888 REQ-8: who outside still sends to a port does not reach somebody else inside.
#[test]
fn port_is_not_given_to_another_host_for_a_while() {
    for (more, waits) in
        [("", true), ("port-reuse = { after = 0 }\n", false), ("filtering = 'address-dependent'\n", false)]
    {
        let mut router = Router::new(&format!("{CONFIG}{more}"));
        let port = |router: &mut Router, host: u8, tcp: bool| {
            let inside = format!("[2001:db8::{host}]:5000");
            let tcp = tcp.then(|| packets::tcp(&inside, SERVER6).flags(TcpFlags::SYN));
            let bytes =
                sent(&router.out(tcp.unwrap_or_else(|| packets::udp(&inside, SERVER6))), "ip4-lookup");
            u16::from_be_bytes([bytes[20], bytes[21]])
        };
        let held = |router: &mut Router| router.show("pools")[0]["held"].clone();
        let rest = |router: &mut Router, seconds: u64| {
            router.host.advance(Duration::from_secs(seconds));
            router.host.poll_node("nat64-age");
        };
        assert_eq!((port(&mut router, 1, false), port(&mut router, 1, true)), (5000, 5000));
        rest(&mut router, 301);
        assert_eq!(held(&mut router), u32::from(waits), "{more}");
        // The states of TCP are watched: its ports come into use at once.
        assert_eq!(port(&mut router, 2, true), 5000);
        assert_eq!(port(&mut router, 2, false) != 5000, waits, "{more}");
        router.inward(packets::udp(SERVER4, "192.0.2.1:5000"));
        assert_eq!(router.show("summary")["sessions"]["udp"], 1, "nobody has it, or the second host");
        rest(&mut router, 301);
        assert_eq!(port(&mut router, 3, false), 5000, "{more}");
        rest(&mut router, 301);
        assert_eq!(held(&mut router), u32::from(waits), "{more}");
        rest(&mut router, 240);
        assert_eq!(held(&mut router), 0, "its time is over, though no packet has come");
        router.host.assert_no_leaks();
    }
}

#[test]
fn pools_are_shown_however_many_addresses_there_are() {
    for workers in [0, 2] {
        let mut router = Router::with_workers(&CONFIG.replace("192.0.2.1", "198.18.0.0/20"), workers);
        for host in 1..=1500 {
            sent(&router.out(packets::udp(&format!("[2001:db8::{host}]:5000"), SERVER6)), "ip4-lookup");
        }
        let pools = router.show("pools");
        let rows = pools.as_array().unwrap();
        assert!(rows.len() > 1024, "more than a thread looks at in two passes: {}", rows.len());
        assert_eq!(rows.iter().map(|row| row["udp"].as_u64().unwrap()).sum::<u64>(), 1500);
    }
}

/// RFC 6888 REQ-11, RFC 6146 §3.5.1: told by ICMP, and counted.
#[test]
fn hosts_are_told_when_no_port_is_left() {
    let mut router = Router::new(CONFIG);
    // System ports are given for system ports only, so there are 1,023.
    for host in 1..=1023_u16 {
        sent(&router.out(packets::udp(&format!("[2001:db8::{host:x}]:53"), SERVER6)), "ip4-lookup");
    }
    router.out(packets::udp("[2001:db8::ffff]:53", SERVER6)).assert_all("ip6-icmp-error");
    sent(&router.out(packets::udp("[2001:db8::ffff]:5353", SERVER6)), "ip4-lookup");
    assert_eq!(router.show("pools")[0]["udp"], 1024);
}

/// Tables that are full refuse what comes and keep what they have, from inside and from outside, and have room again afterwards.
#[test]
fn full_tables_refuse_and_go_on() {
    let config = CONFIG.replace("interfaces", "max-sessions = 64\ninterfaces");
    for workers in [0, 2] {
        let mut router = Router::with_workers(&config, workers);
        let (mut made, mut refused) = (0, 0);
        for remote in 0..80_u8 {
            let server = format!("[64:ff9b::198.51.100.{}]:80", 2 + remote);
            let run = router.out(packets::udp(HOST, &server));
            made += run.to("ip4-lookup").len();
            refused += run.to("ip6-icmp-error").len();
        }
        // The host is one worker's, who has its share of the sessions.
        let room = 64 / workers.max(1);
        assert_eq!((made, refused), (room, 80 - room), "{workers} workers");
        let port: String = router.show("bib")[0]["outside"].as_str().unwrap().into();
        let stranger = router.inward(packets::udp("203.0.113.77:9", &port));
        assert_eq!(stranger.dropped("table-full"), 1, "{}", stranger.summary());
        sent(&router.inward(packets::udp(SERVER4, &port)), "ip6-lookup");
        let asked = router.out(packets::tcp("[2001:db8::1]:6000", SERVER6).flags(TcpFlags::SYN));
        asked.assert_all("ip6-icmp-error");
        assert_eq!(router.host.command(CLEAR_SESSIONS, json!({})).unwrap().json["sessions"], room);
        sent(&router.out(packets::udp(HOST, SERVER6)), "ip4-lookup");
        router.host.assert_no_leaks();
    }
}
