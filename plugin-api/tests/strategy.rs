//! The strategies of packets, judged by etherparse.

use etherparse::{NetSlice, SlicedPacket};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Sample, strategy};
use raddle_plugin_api::wire::{ArpPacket, EtherType, Ip4Header, Ip6Header};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn valid_packets_are_valid(
        ip4 in strategy::ip4_packet(), ip6 in strategy::ip6_packet(), extended in strategy::ip6_with_extensions(),
    ) {
        for packet in [ip4, ip6, extended] {
            SlicedPacket::from_ip(&packet.to_vec()).unwrap();
        }
    }

    #[test]
    fn fragments_are_fragments_within_what_ip_allows(
        ip4 in strategy::ip4_fragment(), ip6 in strategy::ip6_fragment(),
    ) {
        for packet in [ip4, ip6] {
            let bytes = packet.to_vec();
            let sliced = SlicedPacket::from_ip(&bytes).unwrap();
            let net = sliced.net.unwrap();
            prop_assert!(net.ip_payload_ref().unwrap().fragmented);
            let payload = net.ip_payload_ref().unwrap().payload.len();
            prop_assert!(payload.is_multiple_of(8) && payload > 0);
            let offset = match net {
                NetSlice::Ipv4(ip4) => usize::from(ip4.header().fragments_offset().byte_offset()),
                _ => 0,
            };
            prop_assert!(offset + payload <= 65_535);
        }
    }

    #[test]
    fn valid_frames_are_valid(frame in strategy::ethernet_frame(), arp in strategy::arp_frame()) {
        SlicedPacket::from_ethernet(&frame).unwrap();
        prop_assert_eq!(&arp[12..14], EtherType::ARP.0.to_be_bytes());
        ArpPacket::parse(&arp[14..]).unwrap();
    }

    #[test]
    fn packets_in_several_buffers_are_whole(
        bytes in strategy::hostile_ip4(), samples in strategy::in_buffers(strategy::ip4_packet().prop_map(|packet| packet.to_vec())),
    ) {
        let mut host = Harness::builder().build();
        let expected = [bytes.clone(), samples.bytes().to_vec()];
        let out = host.run::<Pass>([Sample::new(bytes), samples]);
        let found: Vec<_> = out.to(PassNext::On).iter().map(|packet| packet.bytes().to_vec()).collect();
        prop_assert_eq!(found, expected);
        host.assert_no_leaks();
    }
}

next! { enum PassNext { On => "on" } }

/// Lets every packet pass.
struct Pass;

impl Node for Pass {
    const NAME: &'static str = "pass";
    type Next = PassNext;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, _| Verdict::Next(PassNext::On));
    }
}

/// Of many hostile packets some are still valid and some are not: else they would test half of a node.
#[test]
fn hostile_packets_are_valid_and_malformed_in_turn() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut valid = [0_usize; 3];
    const TRIES: usize = 300;
    for _ in 0..TRIES {
        let mut make = |strategy: BoxedStrategy<Vec<u8>>| strategy.new_tree(&mut runner).unwrap().current();
        let (ip4, ip6) = (make(strategy::hostile_ip4().boxed()), make(strategy::hostile_ip6().boxed()));
        let ethernet = make(strategy::hostile_ethernet().boxed());
        valid[0] += usize::from(Ip4Header::check(&ip4, ip4.len()).is_ok());
        valid[1] += usize::from(Ip6Header::check(&ip6, ip6.len()).is_ok());
        valid[2] += usize::from(SlicedPacket::from_ethernet(&ethernet).is_ok());
    }
    for count in valid {
        assert!((TRIES / 20..TRIES - TRIES / 20).contains(&count), "{valid:?} of {TRIES} are valid");
    }
}
