//! Duplicate address detection (RFC 5227, RFC 4862 section 5.4, RFC 7527) and defence, against Linux and scapy.

use std::time::Duration;

use anyhow::Result;
use raddle_tests::{Daemon, DaemonConfig, Judge, Need, Topology, ping, requirement, wait_until};
use serde_json::{Value, json};

const NEEDS: &[Need] = &[Need::Ping, Need::Scapy, Need::Raddle];
const PATIENCE: Duration = Duration::from_secs(60);

fn state(daemon: &Daemon<'_>, address: &str) -> Result<String> {
    let rows = daemon.ctl_json("show interface address east")?;
    let row = rows.as_array().into_iter().flatten().find(|row| row["address"] == address);
    Ok(row.and_then(|row| row["state"].as_str()).unwrap_or("absent").to_owned())
}

fn wait_for_state(daemon: &Daemon<'_>, address: &str, wanted: &str) -> Result<()> {
    wait_until(&format!("{address} to be {wanted}"), PATIENCE, || {
        state(daemon, address).is_ok_and(|state| state == wanted)
    })
}

fn tried(topology: &Topology) -> DaemonConfig {
    let config = DaemonConfig::new().interface(&topology.host("alice").spec, "neighbor.dad = true\n");
    config.interface(&topology.host("bob").spec, "neighbor.dad = 2\n")
}

// RFC 5227 section 2.1, RFC 4862 section 5.4.4
#[test]
fn rfc_5227_section_2_1_address_that_another_host_has_is_not_used_until_that_host_is_gone() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    alice.namespace.ip("address add 10.0.1.1/24 dev eth0")?;
    alice.namespace.ip("address add 2001:db8:1::1/64 dev eth0 nodad")?;
    let daemon = Daemon::start(&topology.router, &tried(&topology))?;
    for address in ["10.0.1.1/24", "2001:db8:1::1/64"] {
        wait_for_state(&daemon, address, "duplicate")?;
    }
    let mac = alice.mac()?;
    for address in ["10.0.1.1", "2001:db8:1::1"] {
        let told = daemon.log().lines().filter(|line| line.contains("is not used")).count();
        assert_eq!(told, 2, "one line an address in:\n{}", daemon.log());
        assert!(
            daemon.log().contains(&format!("address {address} of east is not used: the station at {mac}"))
        );
    }

    alice.namespace.ip("address del 10.0.1.1/24 dev eth0")?;
    alice.namespace.ip("address del 2001:db8:1::1/64 dev eth0")?;
    daemon.ctl("set interface state east down")?;
    wait_for_state(&daemon, "10.0.1.1/24", "down")?;
    daemon.ctl("set interface state east up")?;
    for address in ["10.0.1.1/24", "2001:db8:1::1/64"] {
        wait_for_state(&daemon, address, "in-use")?;
    }
    alice.namespace.ip("neigh flush all")?;
    assert!(ping(&alice.namespace, alice.spec.gateway4, 5)?.received > 0, "the address is not answered for");
    assert!(ping(&alice.namespace, alice.spec.gateway6, 5)?.received > 0, "the address is not answered for");
    daemon.stop()
}

// RFC 4862 section 5.4.5
#[test]
fn rfc_4862_section_5_4_5_duplicate_of_the_address_of_the_mac_takes_ip6_off_the_interface() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    // EUI-64 of east's MAC address, which raddle will have.
    let mac = alice.router_mac(&topology.router)?;
    let octets: Vec<u8> = mac.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let [a, b, c, d, e, f] = octets[..] else { anyhow::bail!("{mac} is no MAC address") };
    let own = std::net::Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    alice.namespace.ip(&format!("address add {own}/64 dev eth0 nodad"))?;
    let daemon = Daemon::start(&topology.router, &tried(&topology))?;
    wait_for_state(&daemon, &format!("{own}/64"), "duplicate")?;
    wait_for_state(&daemon, "2001:db8:1::1/64", "disabled")?;
    wait_for_state(&daemon, "10.0.1.1/24", "in-use")?;
    assert!(daemon.log().contains("IPv6 is off on east"), "{}", daemon.log());
    assert!(!daemon.ctl("show config")?.contains("ip6-off"), "it is none of the operator's");
    // RFC 4862: neither received nor sent there; IPv4 and the other link are as they were.
    assert_eq!(ping(&alice.namespace, bob.spec.ipv6, 3)?.received, 0);
    assert!(ping(&alice.namespace, bob.spec.ipv4, 5)?.received > 0);
    assert!(ping(&bob.namespace, bob.spec.gateway6, 5)?.received > 0);
    alice.namespace.ip(&format!("address del {own}/64 dev eth0"))?;
    daemon.ctl("set interface state east down")?;
    daemon.ctl("set interface state east up")?;
    wait_for_state(&daemon, "2001:db8:1::1/64", "in-use")?;
    assert!(ping(&alice.namespace, bob.spec.ipv6, 10)?.received > 0);
    daemon.stop()
}

// RFC 5227 section 2.1.1 and 2.3, RFC 4862 section 5.4.2, RFC 7527 section 4.1, RFC 4861 section 7.2.6
#[test]
fn rfc_5227_section_2_1_1_address_is_asked_for_before_it_is_announced() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let daemon = Daemon::start(&topology.router, &tried(&topology))?;
    wait_for_state(&daemon, "2001:db8:1::1/64", "in-use")?;
    let mut judge = Judge::start(&alice.namespace)?;
    judge.run("capture = Capture()\nresult = 0", json!({}))?;
    for address in ["10.0.1.77/24", "2001:db8:1::77/64"] {
        daemon.ctl(&format!("set interface address east add {address}"))?;
    }
    let heard = judge.run(
        "
        def words(p):
            if ARP in p and p[ARP].pdst == '10.0.1.77':
                return ['arp', p[ARP].op, p[ARP].psrc, p[ARP].hwsrc == p.src]
            if ICMPv6ND_NS in p and p[ICMPv6ND_NS].tgt == '2001:db8:1::77':
                options = bytes(p[ICMPv6ND_NS])[24:]
                return ['ns', p[IPv6].src, p[IPv6].dst, options[:2].hex(), len(options), wrong_checksums(p)]
            if ICMPv6ND_NA in p and p[ICMPv6ND_NA].tgt == '2001:db8:1::77':
                na = p[ICMPv6ND_NA]
                return ['na', p[IPv6].dst, na.R, na.S, na.O]
        heard = [words(p) for p in capture.collect(lambda p: words(p) is not None, 30, 6)]
        result = [[w for w in heard if w[0] == 'arp'], [w for w in heard if w[0] != 'arp']]
        ",
        json!({}),
    )?;
    let announced = json!(["arp", 1, "10.0.1.77", true]);
    assert_eq!(heard[0], json!([["arp", 1, "0.0.0.0", true], announced, announced]));
    let advertised = json!(["na", "ff02::1", 1, 0, 1]);
    // One option: a nonce (kind 14) of 8 bytes, and no link-layer address.
    let asked = json!(["ns", "::", "ff02::1:ff00:77", "0e01", 8, []]);
    assert_eq!(heard[1], json!([asked, advertised, advertised]));
    daemon.stop()
}

// RFC 5227 section 2.4
#[test]
fn rfc_5227_section_2_4_address_in_use_is_defended() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let daemon = Daemon::start(&topology.router, &tried(&topology))?;
    wait_for_state(&daemon, "10.0.1.1/24", "in-use")?;
    // What follows an address' coming is over then.
    std::thread::sleep(Duration::from_secs(3));
    let mut judge = Judge::start(&alice.namespace)?;
    let answers = judge.run(
        "
        rival = '02:00:00:00:0e:0e'
        claim = Ether(src=rival, dst='ff:ff:ff:ff:ff:ff') / ARP(op=1, hwsrc=rival, psrc='10.0.1.1', pdst='10.0.1.1')
        with Capture() as capture:
            send([claim] * 50)
            send([arp_question('10.0.1.1', args['me'])])
            defended, answered = [], []
            for p in capture.frames(5):
                if ARP in p and p[ARP].op == 1 and p[ARP].psrc == p[ARP].pdst == '10.0.1.1':
                    defended.append(p[ARP].hwsrc)
                if ARP in p and p[ARP].op == 2 and p[ARP].psrc == '10.0.1.1':
                    answered.append(p[ARP].hwsrc)
        result = [defended, answered]
        ",
        json!({ "me": alice.spec.ipv4 }),
    )?;
    let mac = alice.router_mac(&topology.router)?;
    assert_eq!(answers, json!([[mac], [mac]]), "one announcement against fifty claims");
    assert_eq!(state(&daemon, "10.0.1.1/24")?, "in-use");
    assert!(daemon.log().contains("uses address 10.0.1.1 of east too; it is defended"), "{}", daemon.log());
    let table: Value = daemon.ctl_json("show neighbors")?;
    assert!(!table.to_string().contains("02:00:00:00:0e:0e"), "the rival teaches nothing: {table}");
    daemon.stop()
}

// RFC 4862 section 5.4.3, RFC 7527 section 4.2
#[test]
fn rfc_4862_section_5_4_3_probe_of_another_for_the_same_address_is_a_conflict_but_an_own_one_is_not()
-> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let daemon = Daemon::start(&topology.router, &tried(&topology))?;
    wait_for_state(&daemon, "2001:db8:1::1/64", "in-use")?;
    let mut judge = Judge::start(&alice.namespace)?;
    let reflect = "
        seen = capture.first(lambda p: ICMPv6ND_NS in p and p[ICMPv6ND_NS].tgt == args['target'], 30)
        frame = bytearray(bytes(seen))
        if args['forge']:
            # Another nonce, and the checksum made right for it.
            frame[-6:] = bytes(6)
            forged = Ether(bytes(frame))
            del forged[ICMPv6ND_NS].cksum
            frame = bytes(forged)
        send([bytes(frame)])
        result = len(frame)
    ";
    for (number, forge, state) in [(71, false, "in-use"), (72, true, "duplicate")] {
        judge.run("capture = Capture()\nresult = 0", json!({}))?;
        daemon.ctl(&format!("set interface address east add 2001:db8:1::{number}/64"))?;
        judge.run(reflect, json!({ "target": format!("2001:db8:1::{number}"), "forge": forge }))?;
        wait_for_state(&daemon, &format!("2001:db8:1::{number}/64"), state)?;
    }
    assert!(daemon.log().contains("east gives back what is sent to it"), "{}", daemon.log());
    daemon.stop()
}
