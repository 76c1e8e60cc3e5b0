//! Fragmentation, then reassembly, is identity.

use proptest::prelude::*;
use raddle_plugin_api::abi::BufferFlags;
use raddle_plugin_api::testing::{Harness, Sample};
use raddle_plugin_api::wire::{Ip4Header, IpProtocol};

use super::setup::{ip4, ip6, routed, with4};

/// A router that cuts what leaves by `wan`, and puts together what comes in by `lan`.
fn host(mtu: u32) -> Harness {
    let mut host = routed();
    host.load_only(&["local", "fragment", "reassembly"]).unwrap();
    host.nodes(&["ip4-lookup", "ip4-rewrite", "ip4-fragment", "ip6-lookup", "ip6-rewrite", "ip6-fragment"]);
    host.change_interface("wan", |wan| wan.mtu(mtu));
    host
}

/// Sends the packet out and, the fragments in this order, in again; returns what has become of it.
fn there_and_back(host: &mut Harness, family: u8, packet: Sample, order: &[usize]) -> (usize, Vec<Vec<u8>>) {
    let out = host.run_named(&format!("ip{family}-lookup"), [packet]);
    let mut fragments: Vec<_> =
        out.to("interface-output").iter().map(|sent| sent.bytes()[14..].to_vec()).collect();
    let count = fragments.len();
    let mut shuffled = Vec::new();
    for &pick in order.iter().cycle().take(count) {
        shuffled.push(fragments.swap_remove(pick % fragments.len()));
    }
    // The nodes of the arc are the feature's alone: what passes it comes out.
    let builder = Harness::builder().interface("lan", |lan| lan).interface("wan", |wan| wan);
    // An eighth of a quarter of them is for one source.
    let mut joiner = builder.buffers(8192).build();
    joiner.load_only(&["forwarding", "local", "reassembly"]).unwrap();
    let lan = joiner.interface("lan");
    joiner.set_feature(lan, &format!("ip{family}-reassembly"), true);
    let out = joiner.run_arc(&format!("ip{family}-unicast"), lan, shuffled);
    (count, out.sent().iter().map(|sent| sent.packet.bytes().to_vec()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn of_ip4_whatever_the_mtu_and_the_order(
        length in 1usize..30_000, mtu in 68u32..3000, order in proptest::collection::vec(any::<usize>(), 1..20),
    ) {
        // As many fragments as one datagram may have.
        prop_assume!(length / (mtu as usize - 28) < 120);
        let mut host = host(mtu);
        let mut packet = ip4("192.0.2.7", "203.0.113.9", length);
        packet.iter_mut().skip(20).enumerate().for_each(|(at, byte)| *byte = (at ^ at >> 8) as u8);
        let packet = with4(packet, |ip| {
            ip.set_protocol(IpProtocol(253));
            ip.set_identification(7);
        });
        let (count, joined) = there_and_back(&mut host, 4, Sample::new(packet.clone()), &order);
        prop_assert_eq!(count > 1, packet.len() > mtu as usize);
        prop_assert_eq!(joined.len(), 1);
        let hop_further = with4(packet, |ip| assert!(ip.decrement_ttl()));
        prop_assert!(joined[0] == hop_further);
        prop_assert!(Ip4Header::check(&joined[0], joined[0].len()).is_ok());
    }

    #[test]
    fn of_our_own_ip6_whatever_the_mtu_and_the_order(
        length in 1usize..30_000, mtu in 1280u32..3000, order in proptest::collection::vec(any::<usize>(), 1..20),
    ) {
        let mut host = host(mtu);
        let mut packet = ip6("2001:db8:b::1", "2001:db8:ffff::9", length);
        packet.iter_mut().skip(40).enumerate().for_each(|(at, byte)| *byte = (at ^ at >> 8) as u8);
        packet[6] = 253;
        let own = Sample::new(packet.clone()).with_flags(BufferFlags::LOCAL);
        let (count, joined) = there_and_back(&mut host, 6, own, &order);
        prop_assert_eq!(count > 1, packet.len() > mtu as usize);
        prop_assert_eq!(joined.len(), 1);
        prop_assert!(joined[0] == packet);
    }
}
