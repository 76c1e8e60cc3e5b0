//! Sequence numbers, bounds of life, and keys that are changed.

use std::fs;
use std::time::Duration;

use raddle_ipsec::algorithm::Suite;
use raddle_plugin_api::testing::{Harness, Sample};
use serde_json::json;

use crate::pair::*;

// RFC 4106 §2: the same key never meets the same counter again.
#[test]
fn a_key_goes_on_after_a_restart_where_it_was_and_not_below() {
    let keys = Keys::new();
    let text = keys.of(gcm());
    let state = keys.0.path().join("state");
    let sequence = |host: &mut Harness| show(host, "sa")["sequence"].as_u64().unwrap();
    let send = |host: &mut Harness| {
        let east = host.interface("east");
        host.run_named("ipsec-tx", [Sample::from(udp4()).with_tx_interface(east)]).assert_all("ip4-lookup");
    };
    let mut host = gateway(&section("out", (HERE4, THERE4), &text), &state);
    (0..3).for_each(|_| send(&mut host));
    assert_eq!(sequence(&mut host), 4);
    host.unload().unwrap();
    // An orderly end says where it stopped.
    let mut host = gateway(&section("out", (HERE4, THERE4), &text), &state);
    assert_eq!(sequence(&mut host), 4);
    send(&mut host);
    // No orderly end: all that it might have used is gone.
    drop(host);
    let mut host = gateway(&section("out", (HERE4, THERE4), &text), &state);
    let after_crash = sequence(&mut host);
    assert!(after_crash > 1 << 20, "{after_crash}");
    host.unload().unwrap();
    let low = section("out", (HERE4, THERE4), &format!("{text}sequence = 7\n"));
    let failure = try_gateway(&low, &state).1.unwrap_err();
    assert!(failure.contains(&format!("was used up to sequence number {}", after_crash - 1)), "{failure}");
    let forced = format!("{low}allow-key-reuse = true\n");
    assert_eq!(sequence(&mut gateway(&forced, &state)), 7);
    // Another spelling of the SA is the same key still; CBC counts nothing.
    let (_, loaded) = try_gateway(&low.replace("4096", "5000"), &state);
    assert!(loaded.is_err());
    let suite = Suite::new(
        raddle_ipsec::algorithm::Encryption::AesCbc128,
        Some(raddle_ipsec::algorithm::Integrity::HmacSha256),
    );
    let cbc = section("out", (HERE4, THERE4), &(keys.of(suite.unwrap()) + "sequence = 7\n"));
    assert_eq!(sequence(&mut gateway(&cbc, &state)), 7);
    // Without a place to note counters in there are none to give.
    fs::write(keys.0.path().join("file"), "").unwrap();
    let failure =
        try_gateway(&section("out", (HERE4, THERE4), &keys.of(gcm())), &keys.0.path().join("file")).1;
    assert!(failure.unwrap_err().contains("cannot be kept in"));
}

#[test]
fn sequence_numbers_are_noted_ahead_while_they_are_used() {
    let keys = Keys::new();
    let state = keys.0.path().join("state");
    let config = section("out", (HERE4, THERE4), &keys.of(gcm()));
    let mut host = gateway(&config, &state);
    let noted = || fs::read_to_string(state.join("ipsec-used-keys.json")).unwrap();
    let before = noted();
    host.advance(Duration::from_secs(1));
    assert_eq!(noted(), before, "nothing is written while there is enough");
    let key = fs::read_to_string(keys.0.path().join("cipher")).unwrap();
    assert!(!before.contains(&key[..16]), "no key is on disk: {before}");
}

// RFC 4303 §3.3.3.
#[test]
fn an_sa_whose_numbers_are_used_up_sends_no_more() {
    let keys = Keys::new();
    let text = keys.of(Suite::new(
        raddle_ipsec::algorithm::Encryption::AesCbc256,
        Some(raddle_ipsec::algorithm::Integrity::HmacSha512),
    )
    .unwrap());
    let config = section("out", (HERE4, THERE4), &format!("{text}sequence = 4294967294\n"));
    let mut host = gateway(&config, &keys.0.path().join("state"));
    let east = host.interface("east");
    let run = host.run_named("ipsec-tx", (0..4).map(|_| Sample::from(udp4()).with_tx_interface(east)));
    assert_eq!((run.to("ip4-lookup").len(), run.dropped("cycled")), (2, 2));
    assert_eq!(show(&mut host, "sa")["state"], "cycled");
}

#[test]
fn bounds_of_life_are_told_and_kept() {
    let mut pair = Pair::new(
        gcm(),
        (HERE4, THERE4),
        "lifetime = { soft-packets = 2, hard-packets = 4 }\n",
        "lifetime = { soft-seconds = 10, hard-seconds = 20 }\n",
    );
    let east = pair.sender.interface("east");
    let send =
        |host: &mut Harness| host.run_named("ipsec-tx", [Sample::from(udp4()).with_tx_interface(east)]);
    for _ in 0..4 {
        send(&mut pair.sender).assert_all("ip4-lookup");
    }
    send(&mut pair.sender).assert_all_dropped("ended");
    pair.sender.advance(Duration::from_secs(1));
    let told = pair.sender.calls("event.signal");
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0]["data"], json!({ "sa": "sa", "spi": 4096, "bound": "packets", "hard": false }));
    assert_eq!(told[1]["data"]["hard"], true);
    assert_eq!(show(&mut pair.sender, "sa")["state"], "ended");
    pair.receiver.advance(Duration::from_secs(11));
    assert_eq!(pair.receiver.calls("event.signal").len(), 1);
    pair.receiver.advance(Duration::from_secs(10));
    assert_eq!(pair.receiver.calls("event.signal").len(), 2);
    let mut other = Pair::gcm();
    let sealed = other.seal([udp4()]).remove(0);
    pair.open([&sealed[..]]).assert_all_dropped("ended");
}

#[test]
fn keys_are_changed_under_traffic_make_before_break() {
    let mut pair = Pair::gcm();
    let new = pair.keys.file("new", 20, 0x77);
    let add = |host: &mut Harness, direction: &str, local: &str, remote: &str| {
        host.command(
            ADD,
            json!({
                "name": "new", "direction": direction, "spi": 4097, "interface": "east", "local": local,
                "remote": remote, "encryption": "aes-gcm-128", "key-file": new,
            }),
        )
        .map(drop)
    };
    let old = pair.seal([udp4()]).remove(0);
    add(&mut pair.receiver, "in", THERE4, HERE4).unwrap();
    add(&mut pair.sender, "out", HERE4, THERE4).unwrap();
    let by_new = pair.seal([udp4()]).remove(0);
    assert_eq!(by_new[20..24], 4097_u32.to_be_bytes());
    // What is on its way by the old one arrives as well.
    pair.open([&old[..]]).assert_all("ip4-input");
    pair.open([&by_new[..]]).assert_all("ip4-input");
    pair.sender.command(DELETE, json!({ "sa": "sa" })).unwrap();
    pair.receiver.command(DELETE, json!({ "sa": "sa" })).unwrap();
    assert_eq!(pair.seal([udp4()])[0][20..24], 4097_u32.to_be_bytes());
    pair.open([&old[..]]).assert_all_dropped("no-sa");
    let said = pair.sender.command(DELETE, json!({ "sa": "nev" })).err().unwrap().to_string();
    assert_eq!(said, "there is no SA `nev`; did you mean `new`?");
    assert!(add(&mut pair.sender, "out", HERE4, THERE4).unwrap_err().to_string().contains("already"));
    // `show config` says so, with the files' names and without what is in them.
    let reported = pair.sender.calls("config.report").pop().unwrap();
    assert_eq!(reported["content"]["sa"]["new"]["key-file"], json!(new));
    assert!(!reported.to_string().contains(&fs::read_to_string(&new).unwrap()));
}
