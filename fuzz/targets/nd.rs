//! Neighbour discovery: IPv6 header and message. The checksum and hop limit are made right, so that what is
//! behind them is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raddle_plugin_api::wire::{Icmp6Header, Ip6Header, IpProtocol, NdMessage};

fuzz_target!(|data: &[u8]| {
    let Some((ip, message)) = Ip6Header::parse(data) else { return };
    let _ = NdMessage::parse(ip, message);

    let mut ip = *ip;
    ip.set_hop_limit(255);
    let mut message = message.to_vec();
    let Some((header, _)) = Icmp6Header::parse_mut(&mut message) else { return };
    header.set_checksum(0);
    let sum = ip.pseudo_header(IpProtocol::ICMP6, message.len() as u32).add_bytes(&message).checksum();
    let Some((header, _)) = Icmp6Header::parse_mut(&mut message) else { return };
    header.set_checksum(sum);
    if let Ok(message) = NdMessage::parse(&ip, &message) {
        assert!(message.options().clone().all(|option| option.is_ok()));
        let _ = message.options().source_link_layer();
    }
});
