//! ARP: an accepted packet is the bytes that were read, and its answer is accepted too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raddle_plugin_api::wire::{ArpOperation, ArpPacket, MacAddress};

fuzz_target!(|data: &[u8]| {
    let Ok(packet) = ArpPacket::parse(data) else { return };
    let mut copy = [0; ArpPacket::LENGTH];
    assert!(packet.write_to(&mut copy).is_some_and(|rest| rest.is_empty()));
    assert_eq!(copy, data[..ArpPacket::LENGTH]);

    let reply = packet.reply(MacAddress([2, 0, 0, 0, 0, 1]));
    assert!(reply.write_to(&mut copy).is_some());
    let reply = ArpPacket::parse(&copy).expect("what we build is well-formed");
    assert_eq!(reply.operation(), ArpOperation::REPLY);
    assert_eq!(reply.target_ip, packet.sender_ip);
});
