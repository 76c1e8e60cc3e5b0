//! Router advertisements (RFC 4861 section 6.2) as Linux hosts and scapy hear them.

use std::time::Duration;

use anyhow::Result;
use raddle_tests::{Daemon, DaemonConfig, Host, Judge, Need, Topology, ping, requirement, wait_until};
use serde_json::{Value, json};

const NEEDS: &[Need] = &[Need::Ping, Need::Scapy, Need::Raddle];
const PATIENCE: Duration = Duration::from_secs(60);

/// A router that advertises towards alice, with these keys besides.
fn config(topology: &Topology, keys: &str) -> DaemonConfig {
    let section = format!(
        "neighbor.dad = false\n[interface.east.router-advertisement]\nmax-interval-seconds = 4\n{keys}"
    );
    let config = DaemonConfig::new().interface(&topology.host("bob").spec, "");
    config.interface(&topology.host("alice").spec, &section)
}

/// Has a Linux host forget its IPv6 addresses and routes, and take them from routers.
fn listen(host: &Host) -> Result<()> {
    let namespace = &host.namespace;
    namespace.ip("-6 route del default")?;
    namespace.ip("-6 address flush dev eth0 scope global")?;
    for (key, value) in
        [("accept_ra", "2"), ("autoconf", "1"), ("accept_ra_defrtr", "1"), ("accept_ra_pinfo", "1")]
    {
        namespace.set(&format!("ipv6/conf/eth0/{key}"), value)?;
    }
    Ok(())
}

fn addresses(host: &Host) -> Result<Vec<String>> {
    let shown: Value =
        serde_json::from_str(&host.namespace.ip("-6 -json address show dev eth0 scope global")?)?;
    let infos = shown[0]["addr_info"].as_array().cloned().unwrap_or_default();
    Ok(infos.iter().filter_map(|info| info["local"].as_str().map(str::to_owned)).collect())
}

// RFC 4861 section 6.3.4, RFC 4862 section 5.5.3
#[test]
fn rfc_4861_section_6_3_4_linux_configures_itself_and_reaches_the_other_side() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    listen(alice)?;
    let daemon = Daemon::start(&topology.router, &config(&topology, "mtu = 1400\n"))?;
    wait_until("alice to have an address and a default route", PATIENCE, || {
        let route = alice.namespace.ip("-6 route show default").unwrap_or_default();
        addresses(alice).is_ok_and(|list| !list.is_empty()) && route.contains("proto ra")
    })?;
    let own = addresses(alice)?;
    assert!(own.iter().all(|address| address.starts_with("2001:db8:1:")), "{own:?}");
    assert!(ping(&alice.namespace, bob.spec.ipv6, 5)?.received > 0, "no way to bob");
    let mtu = alice.namespace.run("cat /proc/sys/net/ipv6/conf/eth0/mtu")?;
    assert_eq!(mtu.trim(), "1400", "RFC 4861 section 4.6.4");
    let shown = daemon.ctl_json("show router-advertisements east")?;
    assert_eq!(shown[0]["state"], "advertising", "{shown}");
    assert_eq!(shown[0]["prefixes"][0]["prefix"], "2001:db8:1::/64", "{shown}");

    // RFC 4861 section 6.2.5: hosts hear of the end, and use the router no longer.
    daemon.stop()?;
    wait_until("alice to lose the default route", PATIENCE, || {
        alice.namespace.ip("-6 route show default").is_ok_and(|routes| !routes.contains("proto ra"))
    })
}

// RFC 4861 section 6.2.5: also where the operator takes the interface from its link.
#[test]
fn rfc_4861_section_6_2_5_hosts_hear_that_an_interface_goes_down_or_away() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    listen(alice)?;
    let daemon = Daemon::start(&topology.router, &config(&topology, ""))?;
    let has_route = || alice.namespace.ip("-6 route show default").unwrap_or_default().contains("proto ra");
    wait_until("alice to have a default route", PATIENCE, has_route)?;
    let mut judge = Judge::start(&alice.namespace)?;
    judge.run("capture = Capture()", json!({}))?;
    daemon.ctl("set interface state east down")?;
    let lifetime = judge.run(
        "
        last = capture.first(lambda p: ICMPv6ND_RA in p and p[ICMPv6ND_RA].routerlifetime == 0, 10)
        result = last is not None
        ",
        json!({}),
    )?;
    assert_eq!(lifetime, true, "{}", daemon.log());
    wait_until("alice to lose the default route", PATIENCE, || !has_route())?;
    daemon.ctl("set interface state east up")?;
    wait_until("alice to have it again", PATIENCE, has_route)?;
    daemon.ctl("interface delete east")?;
    wait_until("alice to lose it again", PATIENCE, || !has_route())?;
    daemon.stop()
}

// RFC 4861 section 4.2, RFC 4191, RFC 8106, RFC 8781
#[test]
fn rfc_4861_section_4_2_scapy_reads_everything_that_is_told() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let keys = "managed = true\nother = true\npreference = \"high\"\nhop-limit = 63\nreachable-ms = 30000\n\
                retransmit-ms = 2000\nlifetime-seconds = 60\ndns-servers = [\"2001:db8::53\", \"2001:db8::54\"]\n\
                dns-search = [\"example.org\", \"lan\"]\ndns-lifetime-seconds = 90\n\
                prefixes = [{ prefix = \"2001:db8:1::/64\", autonomous = false, valid-seconds = 200, \
                preferred-seconds = 100 }]\n\
                routes = [{ prefix = \"2001:db8:2::/48\", preference = \"low\", lifetime-seconds = 70 }]\n\
                pref64 = [{ prefix = \"64:ff9b::/96\", lifetime-seconds = 80 }]\n";
    let daemon = Daemon::start(&topology.router, &config(&topology, keys))?;
    let mut judge = Judge::start(&alice.namespace)?;
    let told = judge.run(
        "
        p = ask(Ether(src=mac(), dst='33:33:00:00:00:02') / IPv6(src='::', dst='ff02::2', hlim=255) / ICMPv6ND_RS(),
                lambda p: ICMPv6ND_RA in p)
        ra = p[ICMPv6ND_RA]
        prefix, route = p[ICMPv6NDOptPrefixInfo], p[ICMPv6NDOptRouteInfo]
        raw, pref64 = bytes(ra)[16:], None
        while raw:
            if raw[0] == 38:
                pref64 = raw[:raw[1] * 8].hex()
            raw = raw[raw[1] * 8:]
        result = {
            'ip': [p.dst, p[IPv6].dst, p[IPv6].hlim, p[IPv6].src.startswith('fe80::'),
                   in6_chksum(58, p[IPv6], bytes(ra))],
            'ra': [ra.M, ra.O, ra.prf, ra.chlim, ra.routerlifetime, ra.reachabletime, ra.retranstimer],
            'mac': p[ICMPv6NDOptSrcLLAddr].lladdr == p.src, 'mtu': p[ICMPv6NDOptMTU].mtu,
            'prefix': [prefix.prefix, prefix.prefixlen, prefix.L, prefix.A, prefix.validlifetime, prefix.preferredlifetime],
            'route': [route.prefix, route.plen, route.prf, route.rtlifetime],
            'dns': [p[ICMPv6NDOptRDNSS].dns, p[ICMPv6NDOptRDNSS].lifetime],
            'search': [[str(n.rstrip('.') if isinstance(n, str) else n.decode().rstrip('.'))
                        for n in p[ICMPv6NDOptDNSSL].searchlist], p[ICMPv6NDOptDNSSL].lifetime],
            'pref64': pref64,
        }
        ",
        json!({}),
    )?;
    assert_eq!(
        told,
        json!({
            "ip": ["33:33:00:00:00:01", "ff02::1", 255, true, 0],
            "ra": [1, 1, 1, 63, 60, 30000, 2000],
            "mac": true, "mtu": 1500,
            "prefix": ["2001:db8:1::", 64, 1, 0, 200, 100],
            "route": ["2001:db8:2::", 48, 3, 70],
            "dns": [["2001:db8::53", "2001:db8::54"], 90],
            "search": [["example.org", "lan"], 90],
            "pref64": "260200500064ff9b0000000000000000",
        })
    );
    daemon.stop()
}

// RFC 4861 section 6.2.6 and 6.1.1
#[test]
fn rfc_4861_section_6_2_6_floods_of_solicitations_get_one_answer_in_three_seconds_and_broken_ones_none()
-> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let section = "neighbor.dad = false\n[interface.east.router-advertisement]\n";
    let config = DaemonConfig::new().interface(&alice.spec, section);
    let daemon = Daemon::start(&topology.router, &config)?;
    let mut judge = Judge::start(&alice.namespace)?;
    let answers = judge.run(
        "
        rs = lambda hlim=255, **fields: (Ether(src=mac(), dst='33:33:00:00:00:02')
            / IPv6(src='::', dst='ff02::2', hlim=hlim) / ICMPv6ND_RS(**fields))
        is_ra = lambda p: ICMPv6ND_RA in p
        first = ask(rs(), is_ra, 20) is not None
        time.sleep(3.5)
        # The initial ones are over, or 16 seconds apart.
        with Capture() as capture:
            with_mac = rs() / ICMPv6NDOptSrcLLAddr(lladdr=mac())
            send([rs(hlim=254), rs(code=1), with_mac] * 10)
            broken = len(capture.collect(is_ra, 2))
            begin = time.monotonic()
            while time.monotonic() - begin < 5:
                send([rs()] * 20)
                time.sleep(0.05)
            flood = len(capture.collect(is_ra, 1))
        result = [first, broken <= 1, 1 <= flood <= 4]
        ",
        json!({}),
    )?;
    assert_eq!(answers, json!([true, true, true]));
    daemon.stop()
}

// RFC 4861 section 6.2.7
#[test]
fn rfc_4861_section_6_2_7_router_that_contradicts_is_shown_and_logged() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let daemon = Daemon::start(&topology.router, &config(&topology, ""))?;
    wait_until("the router to advertise", PATIENCE, || {
        daemon.ctl_json("show router-advertisements east").is_ok_and(|shown| shown[0]["sent"] != 0)
    })?;
    let mut judge = Judge::start(&alice.namespace)?;
    judge.run(
        "
        other = (Ether(src='02:00:00:00:0e:0e', dst='33:33:00:00:00:01') / IPv6(src='fe80::e', dst='ff02::1', hlim=255)
            / ICMPv6ND_RA(chlim=9, routerlifetime=99) / ICMPv6NDOptMTU(mtu=1300))
        result = send([other] * 5)
        ",
        json!({}),
    )?;
    wait_until("the other router to be shown", PATIENCE, || {
        daemon.ctl("show router-advertisements east").is_ok_and(|text| {
            text.contains("router fe80::e")
                && text.contains("hop limit 9, ours is 64")
                && text.contains("mtu 1300")
        })
    })?;
    let told = daemon.log().lines().filter(|line| line.contains("advertises otherwise than we")).count();
    assert_eq!(told, 1, "{}", daemon.log());
    daemon.stop()
}

#[test]
fn mistakes_of_the_section_are_told_where_they_stand_and_a_change_needs_no_new_interface() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &config(&topology, ""))?;
    let file = daemon.config_file();
    let text = std::fs::read_to_string(&file)?;
    let before = daemon.ctl_json("show interface east")?;
    std::fs::write(&file, text.replace("max-interval-seconds = 4", "max-interval-seconds = 4\nmtu = 1333"))?;
    raddle_tests::command::run(std::process::Command::new("kill").args(["-HUP", &daemon.pid().to_string()]))?;
    wait_until("the configuration to be read again", PATIENCE, || {
        daemon.ctl("show config").is_ok_and(|config| config.contains("mtu = 1333"))
    })?;
    let after = daemon.ctl_json("show interface east")?;
    assert_eq!(before[0]["index"], after[0]["index"], "the interface stays");
    std::fs::write(&file, text.replace("max-interval-seconds = 4", "lifetime-seconds = 3"))?;
    raddle_tests::command::run(std::process::Command::new("kill").args(["-HUP", &daemon.pid().to_string()]))?;
    wait_until("the mistake to be told", PATIENCE, || {
        daemon.log().contains("expected 0, or at least `max-interval-seconds`, which is 600")
    })?;
    assert!(daemon.ctl("show config")?.contains("mtu = 1333"), "a file that is wrong changes nothing");
    daemon.stop()
}
