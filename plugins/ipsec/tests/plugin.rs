//! The plugin as a host sees it: two gateways in the SDK's harness, one that sends and one that receives.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use raddle_ipsec as _;
use raddle_ipsec::algorithm::Suite;
use raddle_plugin_api::testing::packets::IpPacket;
use raddle_plugin_api::testing::{Harness, Run, Sample, packets};
use raddle_plugin_api::wire::{Ip4Header, Ip6Header, IpProtocol};
use serde_json::{Value, json};
use tempfile::TempDir;

const HERE4: &str = "192.0.2.1";
const THERE4: &str = "198.51.100.1";
const HERE6: &str = "2001:db8:f::1";
const THERE6: &str = "2001:db8:f::2";
const SHOW: &str = "show ipsec sa [<sa:word>]";
const ADD: &str = "ipsec sa add <name:word> direction <direction:word> spi <spi:u32> interface <interface:word> local <local:ip> remote <remote:ip> encryption <encryption:word> [integrity <integrity:word>] [key-file <key-file:path>] [integrity-key-file <integrity-key-file:path>] [transport] [esn] [replay-window <replay-window:u32>] [sequence <sequence:u64>] [udp-port <udp-port:u16>]";
const DELETE: &str = "ipsec sa delete <sa:word>";

/// A folder with keys, and with the state of gateways.
struct Keys(TempDir);

impl Keys {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A key file of so many bytes, told from others by `seed`.
    fn file(&self, name: &str, bytes: usize, seed: u8) -> String {
        let path = self.0.path().join(name);
        let text: String = (0..bytes).map(|n| format!("{:02x}", (n as u8).wrapping_mul(7) ^ seed)).collect();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    /// The keys of an SA, as lines of the configuration.
    fn of(&self, suite: Suite) -> String {
        let mut text = format!("encryption = '{}'\n", suite.encryption);
        if suite.key_bytes() > 0 {
            text += &format!("key-file = '{}'\n", self.file("cipher", suite.key_bytes(), 0xa5));
        }
        if let Some(integrity) = suite.integrity {
            let file = self.file("integrity", integrity.key_bytes(), 0x3c);
            text += &format!("integrity = '{integrity}'\nintegrity-key-file = '{file}'\n");
        }
        text
    }
}

/// The SA `sa` of the tunnel `east`, from the first gateway to the second.
fn section(direction: &str, ends: (&str, &str), more: &str) -> String {
    let (local, remote) = if direction == "out" { ends } else { (ends.1, ends.0) };
    format!(
        "[ipsec.sa.sa]\ndirection = '{direction}'\nspi = 4096\ninterface = 'east'\nlocal = '{local}'\nremote = '{remote}'\n{more}"
    )
}

fn try_gateway(config: &str, state: &Path) -> (Harness, Result<(), String>) {
    let mut host = Harness::builder()
        .config(config)
        .interface("wan", |wan| wan)
        .interface("east", |east| east.without_ethernet().driver("ipsec").tx_node("ipsec-tx"))
        .build();
    let state = state.display().to_string();
    host.mock("daemon.state-directory", move |_| Ok(json!(state)));
    let loaded = host.try_load().map_err(|failure| failure.to_string());
    if loaded.is_ok() {
        host.nodes(&["ipsec-tx", "ipsec-decrypt"]);
    }
    (host, loaded)
}

fn gateway(config: &str, state: &Path) -> Harness {
    let (host, loaded) = try_gateway(config, state);
    loaded.unwrap();
    host
}

/// Two gateways, and the keys that they share.
struct Pair {
    sender: Harness,
    receiver: Harness,
    _keys: Keys,
}

impl Pair {
    fn new(suite: Suite, ends: (&str, &str), of_sender: &str, of_receiver: &str) -> Self {
        let keys = Keys::new();
        let text = keys.of(suite);
        let sender = section("out", ends, &(text.clone() + of_sender));
        let receiver = section("in", ends, &(text + of_receiver));
        Self {
            sender: gateway(&sender, &keys.0.path().join("a")),
            receiver: gateway(&receiver, &keys.0.path().join("b")),
            _keys: keys,
        }
    }

    fn gcm() -> Self {
        Self::new(gcm(), (HERE4, THERE4), "", "")
    }

    /// What the sender makes of packets.
    fn seal(&mut self, packets: impl IntoIterator<Item = impl Into<Sample>>) -> Vec<Vec<u8>> {
        let east = self.sender.interface("east");
        let run =
            self.sender.run_named("ipsec-tx", packets.into_iter().map(|p| p.into().with_tx_interface(east)));
        assert!(run.drops().is_empty(), "{}", run.summary());
        run.sent().iter().map(|sent| sent.packet.bytes().to_vec()).collect()
    }

    fn open(&mut self, packets: impl IntoIterator<Item = impl Into<Sample>>) -> Run {
        let wan = self.receiver.interface("wan");
        self.receiver.run_arc("ip-local", wan, packets)
    }

    /// What comes out at the other side.
    fn pass(&mut self, packet: impl Into<Sample>) -> Vec<u8> {
        let sealed = self.seal([packet]);
        let run = self.open(sealed.iter().map(|bytes| &bytes[..]));
        let sent = run.one();
        assert_eq!(sent.packet.rx_interface(), self.receiver.interface("east"));
        let family = if sent.packet.bytes()[0] >> 4 == 4 { "ip4-input" } else { "ip6-input" };
        assert_eq!(sent.node, family);
        sent.packet.bytes().to_vec()
    }
}

fn gcm() -> Suite {
    Suite::new(raddle_ipsec::algorithm::Encryption::AesGcm128, None).unwrap()
}

fn show(host: &mut Harness, sa: &str) -> Value {
    host.command(SHOW, json!({ "sa": sa })).unwrap().json[0].clone()
}

fn udp4() -> IpPacket {
    packets::udp("10.1.0.1:4000", "10.2.0.1:53")
}

fn udp6() -> IpPacket {
    packets::udp("[2001:db8:1::1]:4000", "[2001:db8:2::1]:53")
}

#[test]
fn every_algorithm_carries_both_families_in_both() {
    for suite in Suite::all() {
        for ends in [(HERE4, THERE4), (HERE6, THERE6)] {
            let mut pair = Pair::new(suite, ends, "esn = true\n", "esn = true\n");
            for packet in [udp4(), udp6()] {
                for length in [0, 1, 5, 13, 14, 15, 16, 700, 1400] {
                    let packet = packet.clone().payload(vec![0x5a; length]);
                    let sealed = pair.seal([packet.clone()]).remove(0);
                    let is_null = suite.to_string().starts_with("null") || suite.to_string().contains("gmac");
                    let shows = sealed.windows(12).any(|window| window == [0x5a; 12]);
                    assert_eq!(shows, is_null && length >= 12, "{suite}");
                    let run = pair.open([&sealed[..]]);
                    assert_eq!(run.one().packet.bytes(), packet.to_vec(), "{suite} {length}");
                }
            }
            assert_eq!(show(&mut pair.receiver, "sa")["packets"], 18);
            assert_eq!(show(&mut pair.sender, "sa")["sequence"], 19);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn packets_of_any_length_and_any_buffers_come_out_as_they_were(
        lengths in prop::collection::vec(0_usize..1900, 1..40),
        pieces in prop::collection::vec(40_usize..600, 0..5),
        which in any::<prop::sample::Index>(),
    ) {
        let suites: Vec<Suite> = Suite::all().collect();
        let suite = suites[which.index(suites.len())];
        let mut pair = Pair::new(suite, (HERE4, THERE4), "", "");
        let plain: Vec<Vec<u8>> = lengths
            .iter()
            .map(|&length| udp4().payload((0..length).map(|n| n as u8).collect::<Vec<_>>()).to_vec())
            .collect();
        let samples = plain.iter().map(|bytes| {
            let mut left = bytes.len();
            let mut cut: Vec<usize> = Vec::new();
            for &piece in pieces.iter().filter(|_| bytes.len() > 700) {
                if left > piece {
                    cut.push(piece);
                    left -= piece;
                }
            }
            cut.push(left);
            Sample::new(bytes.clone()).in_segments(&cut)
        });
        let sealed = pair.seal(samples.collect::<Vec<_>>());
        prop_assert_eq!(sealed.len(), plain.len());
        let cut = sealed.iter().map(|bytes| {
            let half = bytes.len() / 2;
            let sample = Sample::new(bytes.clone());
            if bytes.len() > 2000 || (!pieces.is_empty() && half > 100) {
                sample.in_segments(&[half, bytes.len() - half])
            } else {
                sample
            }
        });
        let run = pair.open(cut.collect::<Vec<_>>());
        let mut out: Vec<Vec<u8>> = run.sent().iter().map(|sent| sent.packet.bytes().to_vec()).collect();
        let mut expected = plain;
        // What is copied into new buffers leaves behind the rest of its frame.
        out.sort();
        expected.sort();
        prop_assert_eq!(out, expected);
    }
}

// RFC 4303 §3.4.3 and the list of bad input.
#[test]
fn what_is_not_right_is_dropped_for_its_own_reason() {
    let mut pair = Pair::gcm();
    let sealed = pair.seal([udp4().payload([1; 40])]).remove(0);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = sealed.clone();
        change(&mut bytes);
        bytes
    };
    let far = changed(&|bytes| bytes[24..28].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes()));
    for (bytes, reason) in [
        (changed(&|bytes| bytes[23] ^= 1), "no-sa"),
        (changed(&|bytes| *bytes.last_mut().unwrap() ^= 1), "integrity"),
        (changed(&|bytes| bytes[40] ^= 0x80), "integrity"),
        (far, "integrity"),
        (changed(&|bytes| bytes[12] ^= 1), "outer-mismatch"),
        (changed(&|bytes| bytes[19] ^= 1), "outer-mismatch"),
        (changed(&|bytes| bytes.truncate(20 + 8 + 8 + 16)), "runt"),
        (changed(&|bytes| bytes.truncate(20 + 8 + 8 + 17)), "runt"),
        (changed(&|bytes| bytes.truncate(24)), "runt"),
        (changed(&|bytes| bytes.truncate(20)), "runt"),
        (changed(&|bytes| bytes.truncate(60)), "integrity"),
        (changed(&|bytes| bytes[24..28].fill(0)), "replay"),
    ] {
        pair.open([&bytes[..]]).assert_all_dropped(reason);
    }
    // Nothing of all that has moved the window: the packet itself is taken, once.
    assert_eq!(show(&mut pair.receiver, "sa")["sequence"], 0);
    pair.open([&sealed[..]]).assert_all("ip4-input");
    pair.open([&sealed[..]]).assert_all_dropped("replay");
    pair.open([&sealed[..], &sealed[..]]).assert_all_dropped("replay");
    // Neither ESP nor in UDP: others may want it.
    pair.open([udp4()]).assert_all("ip-local-end");
}

#[test]
fn late_packets_are_taken_within_the_window_and_gaps_counted() {
    let mut pair = Pair::new(gcm(), (HERE4, THERE4), "", "replay-window = 64\n");
    let sealed = pair.seal((0..200).map(|n| udp4().payload([n as u8; 20])));
    pair.open([&sealed[99][..]]).assert_all("ip4-input");
    pair.open([&sealed[36][..]]).assert_all("ip4-input");
    pair.open([&sealed[35][..]]).assert_all_dropped("replay");
    pair.open([&sealed[199][..]]).assert_all("ip4-input");
    let shown = show(&mut pair.receiver, "sa");
    assert_eq!((&shown["sequence"], &shown["lost"], &shown["packets"]), (&json!(200), &json!(98), &json!(3)));
}

// RFC 6040 §4: congestion that the way marked reaches the packet inside, and its sender's marks the packet outside.
#[test]
fn congestion_and_service_classes_go_in_and_out() {
    let with_class = |packet: IpPacket, class: u8| {
        let mut bytes = packet.to_vec();
        if bytes[0] >> 4 == 4 {
            Ip4Header::parse_mut(&mut bytes).unwrap().0.set_traffic_class(class);
        } else {
            Ip6Header::parse_mut(&mut bytes).unwrap().0.set_traffic_class(class);
        }
        bytes
    };
    for (inner, outer_ecn, expected) in [
        (0, 0, Some(0)),
        (0, 1, Some(0)),
        (0, 2, Some(0)),
        (0, 3, None),
        (2, 0, Some(2)),
        (2, 1, Some(1)),
        (2, 2, Some(2)),
        (2, 3, Some(3)),
        (1, 0, Some(1)),
        (1, 1, Some(1)),
        (1, 2, Some(1)),
        (1, 3, Some(3)),
        (3, 0, Some(3)),
        (3, 2, Some(3)),
    ] {
        for packet in [udp4(), udp6()] {
            let mut pair = Pair::gcm();
            let mut sealed = pair.seal([&with_class(packet, 0xb8 | inner)[..]]).remove(0);
            assert_eq!(sealed[1], 0xb8 | inner, "DSCP and ECN are copied");
            Ip4Header::parse_mut(&mut sealed).unwrap().0.set_traffic_class(outer_ecn);
            let run = pair.open([&sealed[..]]);
            match expected {
                None => run.assert_all_dropped("congestion"),
                Some(ecn) => {
                    let bytes = run.one().packet.bytes();
                    let class = if bytes[0] >> 4 == 4 {
                        Ip4Header::check(bytes, bytes.len()).unwrap().traffic_class()
                    } else {
                        Ip6Header::check(bytes, bytes.len()).unwrap().traffic_class()
                    };
                    assert_eq!(class, 0xb8 | ecn, "{inner} in {outer_ecn}");
                }
            }
        }
    }
    let mut pair =
        Pair::new(gcm(), (HERE4, THERE4), "dscp = 10\necn = false\ndont-fragment = 'set'\n", "ecn = false\n");
    let sealed = pair.seal([&with_class(udp4(), 0xb9)[..]]).remove(0);
    assert_eq!((sealed[1], sealed[6]), (10 << 2, 0x40));
}

// RFC 4303 §2.7.
#[test]
fn padded_payloads_have_one_length_outside_and_their_own_inside() {
    let mut pair = Pair::new(gcm(), (HERE4, THERE4), "pad-to = 512\n", "");
    for length in [0, 1, 100, 400] {
        let packet = udp4().payload(vec![3; length]);
        assert_eq!(pair.seal([packet.clone()])[0].len(), 20 + 16 + 512 + 4 + 16);
        assert_eq!(pair.pass(packet.clone()), packet.to_vec());
    }
    let long = udp4().payload([3; 800]);
    assert_eq!(pair.pass(long.clone()), long.to_vec());
}

// RFC 3948 §2, §4.
#[test]
fn esp_in_udp_is_told_from_ike_and_keep_alives() {
    let udp = "udp-encapsulation = { local-port = 4500, remote-port = 5500 }\n";
    let of_receiver = "udp-encapsulation = { local-port = 5500, remote-port = 4500 }\n";
    let mut pair = Pair::new(gcm(), (HERE4, THERE4), udp, of_receiver);
    let packet = udp4().payload([9; 30]);
    let sealed = pair.seal([packet.clone()]).remove(0);
    assert_eq!(
        (sealed[9], &sealed[20..24], &sealed[26..28]),
        (17, &[0x11, 0x94, 0x15, 0x7c][..], &[0, 0][..])
    );
    assert_eq!(pair.open([&sealed[..]]).one().packet.bytes(), packet.to_vec());
    let datagram = |payload: &[u8]| packets::udp("192.0.2.1:4500", "198.51.100.1:5500").payload(payload);
    pair.open([datagram(&[0xff])]).assert_all_dropped("keep-alive");
    pair.open([datagram(&[0, 0, 0, 0, 1, 2, 3, 4, 5])]).assert_all("ip-local-end");
    pair.open([datagram(&[0, 0, 16])]).assert_all_dropped("runt");
    // The same SA without UDP is another's packet.
    let mut bare = sealed[..20].to_vec();
    bare[9] = IpProtocol::ESP.0;
    bare.extend(&sealed[28..]);
    pair.open([&bare[..]]).assert_all_dropped("outer-mismatch");
}

#[test]
fn a_tunnel_without_sa_or_that_is_down_passes_nothing() {
    let keys = Keys::new();
    let mut host = gateway("", &keys.0.path().join("a"));
    let east = host.interface("east");
    let run = host.run_named("ipsec-tx", [Sample::from(udp4()).with_tx_interface(east)]);
    run.assert_all_dropped("no-sa");
    let mut pair = Pair::gcm();
    let sealed = pair.seal([udp4()]).remove(0);
    pair.receiver.change_interface("east", |east| east.down());
    pair.open([&sealed[..]]).assert_all_dropped("interface-down");
    // The SA may be there before its tunnel.
    pair.receiver.delete_interface("east");
    let sealed = pair.seal([udp4()]).remove(0);
    pair.open([&sealed[..]]).assert_all_dropped("interface-down");
}

fn refused(config: &str) -> String {
    let keys = Keys::new();
    let (_, loaded) =
        try_gateway(&config.replace("KEYS", &keys.0.path().display().to_string()), keys.0.path());
    loaded.unwrap_err()
}

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence() {
    let keys = Keys::new();
    let (key16, key20, key20b) = (keys.file("16", 16, 1), keys.file("20", 20, 2), keys.file("20b", 20, 3));
    let gcm = format!("encryption = 'aes-gcm-128'\nkey-file = '{key20}'\n");
    let out = |more: &str| section("out", (HERE4, THERE4), more);
    for (config, said) in [
        (
            out(&format!("encryption = 'aes-gcm-128'\nkey-file = '{key16}'\n")),
            "needs a key of 20 bytes with 4 bytes of salt at its end, and 16 were given",
        ),
        (
            out(&format!("{gcm}integrity = 'hmac-sha-1'\nintegrity-key-file = '{key20b}'\n")),
            "authenticates by itself: leave `integrity` out",
        ),
        (out(&format!("encryption = 'aes-cbc-128'\nkey-file = '{key16}'\n")), "name an `integrity`"),
        (out("encryption = 'aes-gcm-128'\nkey-file = '/nowhere/key'\n"), "/nowhere/key cannot be read"),
        (out(&format!("{gcm}replay-window = 128\n")), "`replay-window` is for one that receives"),
        (section("in", (HERE4, THERE4), &format!("{gcm}replay-window = 10\n")), "64 or more, or 0"),
        (section("in", (HERE4, THERE4), &format!("{gcm}sequence = 10\n")), "is for one that sends"),
        (section("out", (HERE4, THERE6), &gcm), "are not of one family"),
        (section("out", (HERE6, THERE6), &format!("{gcm}udp-encapsulation = {{}}\n")), "is for IPv4"),
        (section("out", (HERE4, "224.0.0.1"), &gcm), "224.0.0.1 is no host's address"),
        (
            section("in", (HERE4, THERE4), &gcm)
                + &section(
                    "in",
                    (HERE4, THERE4),
                    &format!("encryption = 'aes-gcm-128'\nkey-file = '{key20b}'\n"),
                )
                .replace("sa.sa", "sa.two"),
            "SA `two`: SPI 4096 is that of SA `sa`",
        ),
        (
            section("in", (HERE4, THERE4), &gcm) + &out(&gcm).replace("sa.sa", "sa.two"),
            "SA `two` has the key of SA `sa`",
        ),
        ("[ipsec]\nengine = 'steam'\n".to_owned(), "there is no engine `steam` here"),
    ] {
        let failure = refused(&config);
        assert!(failure.contains(said), "{said}: {failure}");
    }
    let host = Harness::builder().build();
    let wrong = host.check_config(&out("encryption = 'rot13'\n")).unwrap_err().to_string();
    assert!(wrong.contains("rot13"), "{wrong}");
    let wrong = host.check_config("[ipsec.sa.a]\nspi = 255\n").unwrap_err().to_string();
    assert!(wrong.contains("a number from 256 to 4294967295"), "{wrong}");
}

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
    let new = pair._keys.file("new", 20, 0x77);
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

#[test]
fn engines_are_shown_and_chosen() {
    let keys = Keys::new();
    let config = format!("[ipsec]\nengine = 'aws-lc'\n{}", section("in", (HERE4, THERE4), &keys.of(gcm())));
    let mut host = gateway(&config, keys.0.path());
    let shown = host.command("show ipsec engines", json!({})).unwrap().json;
    assert_eq!(shown[0]["engine"], "aws-lc");
    assert_eq!(shown[0]["algorithms"].as_array().unwrap().len(), Suite::all().count());
    assert_eq!(show(&mut host, "sa")["engine"], "aws-lc");
    assert!(shown.as_array().unwrap().iter().any(|row| row["engine"] == "ipsec-mb"), "{shown}");
}

#[test]
fn a_configuration_that_was_read_again_changes_what_it_changes() {
    let keys = Keys::new();
    let (one, two) = (keys.file("one", 20, 1), keys.file("two", 20, 2));
    let sa = |name: &str, spi: u32, key: &str| {
        section("in", (HERE4, THERE4), &format!("encryption = 'aes-gcm-128'\nkey-file = '{key}'\n"))
            .replace("sa.sa", &format!("sa.{name}"))
            .replace("4096", &spi.to_string())
    };
    let mut host = gateway(&sa("a", 300, &one), keys.0.path());
    host.set_config(sa("b", 301, &two));
    host.event("config", &()).unwrap();
    let names = |host: &mut Harness| {
        let rows = host.command(SHOW, json!({})).unwrap().json;
        rows.as_array()
            .unwrap()
            .iter()
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&mut host), ["b"]);
    host.set_config(sa("b", 301, &two) + &sa("a", 300, "/nowhere"));
    assert!(host.event("config", &()).is_err());
    assert_eq!(names(&mut host), ["b"]);
}

#[test]
fn traces_say_which_sa() {
    let mut pair = Pair::gcm();
    pair.sender.trace(true);
    pair.seal([udp4()]);
    let texts = pair.sender.trace_texts("ipsec-tx");
    assert!(texts.iter().any(|text| text.starts_with("by SA sa, SPI 0x00001000, now ")), "{texts:?}");
}

const POLICIES: &str = "
[ipsec.policies]
interfaces = ['wan']
default-out = 'discard'
default-in = 'discard'
[[ipsec.policies.out]]
action = 'protect'
tunnel = 'east'
destination = '10.2.0.0/16'
protocol = 'udp'
destination-ports = [50, 60]
[[ipsec.policies.out]]
action = 'bypass'
destination = '10.2.0.0/16'
[[ipsec.policies.in]]
action = 'protect'
tunnel = 'east'
source = '10.1.0.0/16'
[[ipsec.policies.in]]
action = 'bypass'
protocol = 'icmp'
";

/// A packet as it leaves by `wan`, with its link-layer header in front.
fn leaving(host: &Harness, packet: &IpPacket) -> Sample {
    let mut bytes = vec![2; 12];
    bytes.extend([0x08, 0x00]);
    bytes.extend(packet.to_vec());
    Sample::new(bytes).with_l3_at(14).with_tx_interface(host.interface("wan"))
}

// RFC 4301 §5.1.
#[test]
fn what_leaves_is_judged_by_policies_in_their_order() {
    let keys = Keys::new();
    let config = section("out", (HERE4, THERE4), &keys.of(gcm())) + POLICIES;
    let mut host = gateway(&config, keys.0.path());
    let (wan, east) = (host.interface("wan"), host.interface("east"));
    let leave = |host: &mut Harness, packet: &IpPacket| {
        let sample = leaving(host, packet);
        host.run_arc("ip4-output", wan, [sample])
    };
    let run = leave(&mut host, &udp4());
    assert_eq!((run.one().node.as_str(), run.one().packet.tx_interface()), ("interface-output", east));
    assert_eq!(run.one().packet.bytes(), udp4().to_vec(), "a tunnel has packets from their IP header on");
    let other = packets::udp("10.1.0.1:4000", "10.2.0.1:61");
    let run = leave(&mut host, &other);
    assert_eq!(run.one().packet.tx_interface(), wan);
    leave(&mut host, &packets::udp("10.1.0.1:4000", "10.3.0.1:53")).assert_all_dropped("no-policy");
    // A later fragment may be of what is protected.
    let run = leave(&mut host, &udp4().fragment(8, false));
    assert_eq!(run.one().packet.tx_interface(), east);
    // Too long for the tunnel: the sender hears of it, or the ESP packet will be cut.
    host.change_interface("east", |east| east.mtu(1000));
    let long = udp4().payload([1; 1100]);
    leave(&mut host, &long.clone().dont_fragment()).assert_all("ip4-icmp-error");
    assert_eq!(leave(&mut host, &long).one().packet.tx_interface(), east);
    host.change_interface("east", |east| east.down());
    leave(&mut host, &udp4()).assert_all_dropped("no-sa");
    let shown = host.command("show ipsec spd", json!({})).unwrap().json;
    assert_eq!((&shown[0]["packets"], &shown[1]["packets"]), (&json!(5), &json!(1)));
}

// RFC 4301 §5.2.
#[test]
fn what_comes_in_must_have_come_as_policies_say() {
    let keys = Keys::new();
    let config = section("in", (HERE4, THERE4), &keys.of(gcm())) + POLICIES;
    let mut host = gateway(&config, keys.0.path());
    let (wan, east) = (host.interface("wan"), host.interface("east"));
    let mut come =
        |by: raddle_plugin_api::InterfaceIndex, packet: IpPacket| host.run_arc("ip4-unicast", by, [packet]);
    let of = |source: &str| packets::udp(&format!("{source}:53"), "10.9.0.1:4000");
    come(east, of("10.1.0.1")).assert_all("ip4-lookup");
    come(wan, of("10.1.0.1")).assert_all_dropped("not-protected");
    come(east, of("10.5.0.1")).assert_all_dropped("selector-mismatch");
    come(east, packets::echo("10.5.0.1", "10.9.0.1")).assert_all_dropped("selector-mismatch");
    come(wan, packets::echo("10.5.0.1", "10.9.0.1")).assert_all("ip4-lookup");
    come(wan, of("10.5.0.1")).assert_all_dropped("no-policy");
    // ESP is judged by what is in it.
    come(wan, packets::ip(HERE4, THERE4, IpProtocol::ESP)).assert_all("ip4-lookup");
}

#[test]
fn policies_that_make_no_sense_are_refused() {
    for (policy, said) in [
        ("action = 'protect'", "policy 1 of `out`: `protect` needs a `tunnel`"),
        ("action = 'bypass'\ntunnel = 'east'", "`tunnel` is for `protect`"),
        ("action = 'bypass'\nsource-ports = [5, 4]\nprotocol = 'tcp'", "the first is the larger one"),
        ("action = 'bypass'\nsource-ports = [4, 5]", "ports need a `protocol` that has some"),
        ("action = 'bypass'\nprotocol = 'icmp'\ndestination-ports = [4, 5]", "ports need a `protocol`"),
        ("action = 'bypass'\nprotocol = 'ipx'", "there is no protocol `ipx`"),
        ("action = 'bypass'\nsource = '10.0.0.0/8'\ndestination = '::/0'", "are not of one family"),
    ] {
        let config = format!("[ipsec.policies]\ninterfaces = ['wan']\n[[ipsec.policies.out]]\n{policy}\n");
        let failure = refused(&config);
        assert!(failure.contains(said), "{said}: {failure}");
    }
    assert!(refused("[[ipsec.policies.in]]\naction = 'discard'\n").contains("no `interfaces`"));
}

// RFC 4303 §3.1.1: between the gateways themselves, extension headers and all; the mirror of what was sent comes out.
#[test]
fn transport_mode_wraps_what_is_behind_the_ip_header() {
    let transport = "mode = 'transport'\nesn = true\n";
    let options = [0, 0, 1, 4, 0, 0, 0, 0];
    for suite in Suite::all() {
        for (ends, packet) in [
            ((HERE4, THERE4), packets::udp(&format!("{HERE4}:1"), &format!("{THERE4}:2"))),
            (
                (HERE4, THERE4),
                packets::udp(&format!("{HERE4}:1"), &format!("{THERE4}:2")).options([1, 1, 1, 0]),
            ),
            ((HERE6, THERE6), packets::udp(&format!("[{HERE6}]:1"), &format!("[{THERE6}]:2"))),
            (
                (HERE6, THERE6),
                packets::udp(&format!("[{HERE6}]:1"), &format!("[{THERE6}]:2"))
                    .extension(IpProtocol::HOP_BY_HOP, options),
            ),
        ] {
            let mut pair = Pair::new(suite, ends, transport, transport);
            for length in [0, 1, 2, 3, 17, 1200] {
                let packet = packet.clone().payload(vec![8; length]).to_vec();
                let sealed = pair.seal([&packet[..]]).remove(0);
                let is_esp = sealed[9] == IpProtocol::ESP.0 || sealed[6] == 50 || sealed[40] == 50;
                assert!(is_esp && sealed.len() > packet.len());
                let run = pair.open([&sealed[..]]);
                assert_eq!(run.one().packet.bytes(), packet, "{suite} {length}");
            }
        }
    }
    let mut pair = Pair::new(gcm(), (HERE4, THERE4), transport, transport);
    let east = pair.sender.interface("east");
    for (packet, reason) in [
        (udp4(), "selector-mismatch"),
        (packets::udp("192.0.2.1:1", "198.51.100.1:2").fragment(8, false), "malformed"),
    ] {
        let run = pair.sender.run_named("ipsec-tx", [Sample::from(packet).with_tx_interface(east)]);
        run.assert_all_dropped(reason);
    }
    // A tunnel's SA does not open what was sent in transport mode, nor the other way round.
    let sealed = pair.seal([packets::udp("192.0.2.1:1", "198.51.100.1:2")]).remove(0);
    let mut tunnel = Pair::new(gcm(), (HERE4, THERE4), "esn = true\n", "esn = true\n");
    tunnel.open([&sealed[..]]).assert_all_dropped("selector-mismatch");
    let sealed = tunnel.seal([udp4()]).remove(0);
    pair.open([&sealed[..]]).assert_all_dropped("selector-mismatch");
    let keys = Keys::new();
    let config =
        section("out", (HERE4, THERE4), &format!("{}mode = 'transport'\npad-to = 100\n", keys.of(gcm())));
    assert!(refused(&config).contains("`pad-to` is for tunnel mode"));
}
