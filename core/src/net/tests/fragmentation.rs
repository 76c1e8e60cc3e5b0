//! `ip4-fragment` and `ip6-fragment` on the packets' way.

use proptest::prelude::*;
use raddle_plugin_api::abi::BufferFlags;
use raddle_plugin_api::testing::packets::{tcp, udp};
use raddle_plugin_api::testing::{Harness, Run, Sample};
use raddle_plugin_api::wire::{Ip4Header, Ip6Header, Ip6Upper, TcpHeader};

use super::fragments::{cuts, fragment6};
use super::setup::*;
use crate::net::fragment::{Ip4Fragment, Ip4FragmentError};
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::ip4_input::Ip4Input;
use crate::net::ip6_input::Ip6Input;
use crate::net::ip6_lookup::Ip6Lookup;

const HOST: &str = "192.0.2.7:1000";
const FAR: &str = "203.0.113.9:80";
const OWN6: &str = "[2001:db8:b::1]:1000";
const FAR6: &str = "[2001:db8:ffff::9]:80";

/// All nodes of the way, over a link with this MTU.
fn host(mtu: u32) -> Harness {
    let mut host = routed();
    host.load_only(&["fragment"]).unwrap();
    host.nodes(&["ip4-lookup", "ip4-rewrite", "ip4-fragment", "ip6-lookup", "ip6-rewrite", "ip6-fragment"]);
    host.change_interface("wan", |wan| wan.mtu(mtu));
    host
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|number| (number % 251) as u8).collect()
}

fn sent(run: &Run) -> Vec<Vec<u8>> {
    run.assert_all("interface-output");
    run.to("interface-output").iter().map(|packet| packet.bytes().to_vec()).collect()
}

/// Payload of IPv4 fragments that stand in order, checked against each other.
fn joined4(packets: &[Vec<u8>], mtu: usize) -> Vec<u8> {
    let mut whole = Vec::new();
    for (position, packet) in packets.iter().enumerate() {
        let ip = &packet[14..];
        let header = Ip4Header::check(ip, ip.len()).unwrap();
        assert!(ip.len() <= mtu && usize::from(header.total_length()) == ip.len());
        assert_eq!(usize::from(header.fragment_offset()), whole.len());
        assert_eq!(header.more_fragments(), position + 1 < packets.len());
        whole.extend_from_slice(Ip4Header::payload(ip));
    }
    whole
}

// RFC 791 §3.2, RFC 1812 §5.2.7.2.
#[test]
fn packet_that_may_be_cut_leaves_in_fragments_each_a_hop_further() {
    let mut host = host(576);
    let packet = udp(HOST, FAR).payload(pattern(1400)).identification(77).ttl(9).to_vec();
    let out = host.run::<Ip4Input>([packet.clone()]);
    let fragments = sent(&out);
    assert_eq!(fragments.len(), 3);
    assert_eq!(joined4(&fragments, 576), packet[20..]);
    for fragment in &fragments {
        let header = Ip4Header::parse(&fragment[14..]).unwrap().0;
        assert_eq!((header.ttl(), header.identification()), (8, 77));
        assert_eq!(fragment[..6], ROUTER_MAC);
    }
    assert!(out.to("interface-output").iter().all(|packet| packet.tx_interface() == host.interface("wan")));
    host.assert_no_leaks();
}

#[test]
fn packet_of_our_own_is_cut_too() {
    let mut host = host(576);
    let packet = udp("192.0.2.1:7", FAR).payload(pattern(1000)).ttl(1).to_vec();
    let local = Sample::new(packet.clone()).with_flags(BufferFlags::LOCAL);
    let out = host.run_named("ip4-lookup", [local]);
    assert_eq!(joined4(&sent(&out), 576), packet[20..]);
    assert!(out.to("interface-output").iter().all(|packet| packet.is_local()));
}

// RFC 1191 §4.
#[test]
fn packet_with_dont_fragment_set_is_reported_with_the_mtu() {
    let mut host = host(576);
    let packet = udp(HOST, FAR).payload(pattern(1400)).dont_fragment().to_vec();
    let out = host.run::<Ip4Input>([packet]);
    let field = host.control(|control| icmp_field(control).unwrap());
    assert_eq!(out.to("ip4-icmp-error")[0].field(&field), Some(IcmpRequest::ip4_fragmentation_needed(576)));
}

#[test]
fn partial_checksum_is_filled_in_before_the_packet_is_cut() {
    let mut host = host(576);
    let right = udp(HOST, FAR).payload(pattern(1400)).to_vec();
    let mut bytes = right.clone();
    let pseudo = Ip4Header::parse(&bytes).unwrap().0.pseudo_header(1408);
    bytes[26..28].copy_from_slice(&pseudo.partial().to_be_bytes());
    for segments in [&[][..], &[27, 100]] {
        let packet = Sample::new(bytes.clone()).with_partial_checksum(20, 6).in_segments(segments);
        let out = host.run::<Ip4Input>([packet]);
        assert!(out.sent().iter().all(|sent| sent.packet.flags() & BufferFlags::CHECKSUM_PARTIAL == 0));
        assert_eq!(joined4(&sent(&out), 576), right[20..]);
    }
}

fn gso(dont_fragment: bool, size: u16) -> Sample {
    let packet = tcp(HOST, FAR).payload(pattern(5000));
    let packet = if dont_fragment { packet.dont_fragment() } else { packet };
    Sample::new(packet.to_vec()).with_gso(1, size, 0).with_partial_checksum(20, 16)
}

#[test]
fn gso_packet_goes_whole_if_its_segments_fit() {
    let mut host = host(600);
    for size in [1, 560] {
        let out = host.run::<Ip4Input>([gso(true, size)]);
        assert_eq!(out.one().packet.len(), 14 + 40 + 5000, "segments of {size} bytes");
    }
    let out = host.run::<Ip4Input>([gso(true, 561)]);
    let field = host.control(|control| icmp_field(control).unwrap());
    assert_eq!(out.to("ip4-icmp-error")[0].field(&field), Some(IcmpRequest::ip4_fragmentation_needed(600)));
}

#[test]
fn gso_packet_that_may_be_cut_is_cut_into_segments_then_fragments() {
    let mut host = host(600);
    let out = host.run::<Ip4Input>([gso(false, 1448)]);
    let fragments = sent(&out);
    // Three full segments in three fragments each, and 656 bytes in two.
    assert_eq!(fragments.len(), 11);
    let firsts: Vec<_> = (0..fragments.len())
        .filter(|&at| Ip4Header::parse(&fragments[at][14..]).unwrap().0.fragment_offset() == 0)
        .collect();
    assert_eq!(firsts, [0, 3, 6, 9]);
    let mut stream = Vec::new();
    for (position, &first) in firsts.iter().enumerate() {
        let end = firsts.get(position + 1).copied().unwrap_or(fragments.len());
        let segment = joined4(&fragments[first..end], 600);
        let pseudo = Ip4Header::parse(&fragments[first][14..]).unwrap().0.pseudo_header(segment.len() as u16);
        assert!(TcpHeader::is_checksum_valid(pseudo, &segment));
        stream.extend_from_slice(&segment[20..]);
    }
    assert_eq!(stream, pattern(5000));
    host.assert_no_leaks();
}

#[test]
fn without_buffers_the_packet_is_dropped_and_nothing_leaks() {
    let mut host = host(576);
    let packet = udp(HOST, FAR).payload(pattern(1400)).to_vec();
    for left in 0..3 {
        host.limit_buffers(Some(left));
        let out = host.run::<Ip4Input>([packet.clone()]);
        out.assert_all_dropped(Ip4FragmentError::NoBuffer);
        host.assert_no_leaks();
        host.limit_buffers(Some(left + 3));
        host.run::<Ip4Input>([gso(false, 1448)]).assert_all_dropped(Ip4FragmentError::NoBuffer);
        host.assert_no_leaks();
    }
}

#[test]
fn what_cannot_be_cut_is_dropped_by_reason() {
    let mut host = host(68);
    let mut beyond = udp(HOST, FAR).payload(pattern(100)).to_vec();
    Ip4Header::parse_mut(&mut beyond).unwrap().0.set_fragment(65_528, false);
    host.run::<Ip4Input>([beyond]).assert_all_dropped(Ip4FragmentError::BeyondPacket);
    let bad_sum = Sample::new(udp(HOST, FAR).payload(pattern(100)).to_vec()).with_partial_checksum(100, 60);
    host.run::<Ip4Input>([bad_sum]).assert_all_dropped(Ip4FragmentError::Checksum);
    let bad_gso = Sample::new(udp(HOST, FAR).payload(pattern(100)).to_vec()).with_gso(1, 50, 0);
    host.run::<Ip4Input>([bad_gso]).assert_all_dropped(Ip4FragmentError::Segments);
    // The MTU fell while the packet was on its way.
    host.change_interface("wan", |wan| wan.mtu(20));
    host.run::<Ip4Fragment>([ip4("192.0.2.7", "203.0.113.9", 8)])
        .assert_all_dropped(Ip4FragmentError::MtuTooSmall);
    host.assert_no_leaks();
}

// RFC 8200 §5: only the source fragments; §4.5 how.
#[test]
fn ip6_packet_of_our_own_is_cut_and_one_on_its_way_is_not() {
    let mut host = host(1280);
    let packet = udp(OWN6, FAR6).payload(pattern(3000)).to_vec();
    let local = Sample::new(packet.clone()).with_flags(BufferFlags::LOCAL);
    let out = host.run::<Ip6Lookup>([local.clone(), local]);
    let fragments = sent(&out);
    assert_eq!(fragments.len(), 6);
    let mut identifications = Vec::new();
    for three in fragments.chunks(3) {
        let mut whole = Vec::new();
        for (position, fragment) in three.iter().enumerate() {
            let ip = &fragment[14..];
            assert!(ip.len() <= 1280 && Ip6Header::check(ip, ip.len()).unwrap().total_length() == ip.len());
            let upper = Ip6Upper::find(ip).unwrap();
            let facts = upper.fragment.unwrap();
            assert_eq!((usize::from(facts.offset), facts.more_fragments), (whole.len(), position < 2));
            whole.extend_from_slice(&ip[48..]);
            identifications.push(facts.identification);
        }
        assert_eq!(whole, packet[40..]);
    }
    assert!(identifications[..3].iter().all(|id| *id == identifications[0]));
    assert_ne!(identifications[0], identifications[3]);
    let others = udp("[2001:db8:a::7]:1", FAR6).payload(pattern(3000)).to_vec();
    let out = host.run::<Ip6Input>([others]);
    let field = host.control(|control| icmp_field(control).unwrap());
    assert_eq!(out.to("ip6-icmp-error")[0].field(&field), Some(IcmpRequest::ip6_packet_too_big(1280)));
    host.assert_no_leaks();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // RFC 8200 §4.5, §5: what a feature has put together leaves as its sender cut it, or its sender is told.
    #[test]
    fn ip6_packet_that_was_put_together_here_is_cut_again_as_it_came(
        length in 16..6000usize, places in prop::collection::vec(any::<usize>(), 1..8), mtu in 1280..3000usize,
    ) {
        let mut host = host(mtu as u32);
        host.load_only(&["local", "reassembly"]).unwrap();
        let lan = host.interface("lan");
        host.set_feature(lan, "ip6-reassembly", true);
        let mut whole = ip6("2001:db8:a::7", "2001:db8:ffff::9", length);
        whole[6] = 253;
        whole[40..].iter_mut().enumerate().for_each(|(at, byte)| *byte = (at ^ at >> 8) as u8);
        let fragments: Vec<_> =
            cuts(length, &places).into_iter().map(|cut| fragment6(&whole, 40, 6, 0x0012_3456, cut)).collect();
        prop_assume!(fragments.len() > 1);
        let largest = fragments.iter().map(Vec::len).max().unwrap();
        let out = host.run_arc("ip6-unicast", lan, fragments);
        if largest > mtu && whole.len() > mtu {
            let field = host.control(|control| icmp_field(control).unwrap());
            let told = out.to("ip6-icmp-error")[0].field(&field);
            prop_assert_eq!(told, Some(IcmpRequest::ip6_packet_too_big(mtu as u32)));
            return Ok(());
        }
        let sent = sent(&out);
        let mut payload = Vec::new();
        for packet in &sent {
            let ip = &packet[14..];
            let header = Ip6Header::check(ip, ip.len()).unwrap();
            prop_assert_eq!((header.total_length(), header.hop_limit()), (ip.len(), whole[7] - 1));
            prop_assert!(ip.len() <= largest);
            match Ip6Upper::find(ip).unwrap().fragment {
                Some(facts) => {
                    prop_assert_eq!((usize::from(facts.offset), facts.identification), (payload.len(), 0x0012_3456));
                    payload.extend_from_slice(&ip[48..]);
                    prop_assert_eq!(facts.more_fragments, payload.len() < length);
                }
                None => payload.extend_from_slice(&ip[40..]),
            }
        }
        prop_assert_eq!(&payload[..], &whole[40..]);
        prop_assert_eq!(sent.len() > 1, whole.len() > largest);
        host.assert_no_leaks();
    }

    #[test]
    fn fragments_carry_what_the_packet_carried(
        payload in 0..9000usize, mtu in 68..3000u32, segments in prop::collection::vec(60..2000usize, 0..6),
    ) {
        let mut host = host(mtu);
        let packet = udp(HOST, FAR).payload(pattern(payload)).to_vec();
        let sample = Sample::new(packet.clone()).in_segments(&segments);
        let out = host.run::<Ip4Input>([sample]);
        prop_assert_eq!(joined4(&sent(&out), mtu as usize), &packet[20..]);
        host.assert_no_leaks();
    }
}
