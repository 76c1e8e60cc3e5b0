//! Policies (RFC 4301 §4.4.1).

use raddle_plugin_api::testing::packets::IpPacket;
use raddle_plugin_api::testing::{Harness, Sample, packets};
use raddle_plugin_api::wire::IpProtocol;
use serde_json::json;

use crate::pair::*;

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
