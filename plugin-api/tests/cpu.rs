//! Nodes compiled for several processors do the same as others.

use raddle_plugin_api::cpu::Level;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, packets};

error! { enum SumError { Odd => "odd": "the sum of all bytes is odd", Thirteen => "thirteen": "13 bytes" } }

struct Parity;

impl Node for Parity {
    const NAME: &'static str = "parity";
    type Next = NoNext;
    type Error = SumError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    #[inline(always)]
    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, packet| {
            assert_ne!(packet.len(), 13, "an unlucky packet");
            let sum: u64 = packet.bytes().iter().map(|&byte| u64::from(byte)).sum();
            if sum % 2 == 1 { Verdict::Drop(SumError::Odd) } else { Verdict::Continue }
        });
    }
}

node!(Parity, cpu_variants);
feature! { "parity", node: Parity, arc: "ip4-unicast" }

fn host() -> Harness {
    Harness::builder().interface("wan", |wan| wan.feature("parity")).build()
}

#[test]
fn the_variant_of_this_processor_does_what_the_node_says() {
    eprintln!("this processor is of {:?}", Level::here());
    let mut host = host();
    let wan = host.interface("wan");
    let packets: Vec<Vec<u8>> = (0..200)
        .map(|length| packets::udp("192.0.2.2:1", "198.51.100.2:2").payload_length(length).to_vec())
        .collect();
    let odd = packets
        .iter()
        .filter(|packet| packet.iter().map(|&byte| u64::from(byte)).sum::<u64>() % 2 == 1)
        .count();
    assert!(odd > 10, "{odd}");
    let out = host.run_arc("ip4-unicast", wan, packets);
    assert_eq!((out.dropped(SumError::Odd), out.to("ip4-lookup").len()), (odd, 200 - odd));
    host.assert_no_leaks();
}

#[test]
fn a_panic_is_contained_in_every_variant() {
    let mut host = host();
    host.nodes(&["parity"]);
    let mut run = || host.run_named("parity", [vec![0; 12], vec![0; 13], vec![0; 14]]).lost();
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut run)).unwrap_err();
    let told = told.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(
        told.contains("parity") && told.contains('3'),
        "the harness tells of the node that panicked: {told}"
    );
    host.assert_no_leaks();
}
