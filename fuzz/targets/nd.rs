//! Neighbour discovery: IPv6 header and message, options alone, and another router's advertisement as it is compared. The
//! checksum and hop limit are made right, so that what is behind them is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raddle::net::router_advertisement::{Heard, RouterAdvertisementConfig};
use raddle_plugin_api::wire::{
    Icmp6Header, Ip6Header, IpProtocol, NdMessage, NdOption, NdOptions, write_domain_name,
};

fuzz_target!(|data: &[u8]| {
    read(NdOptions::new(data));
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
        let _ = message.options().nonce();
        read(message.options().clone());
        if let Some(heard) = Heard::of(ip.source(), &message) {
            let _ = heard.contradictions(&RouterAdvertisementConfig::default(), &[], 1500);
        }
    }
});

/// Takes everything out of the options that they have.
fn read(options: NdOptions<'_>) {
    for option in options.map_while(Result::ok) {
        match option {
            NdOption::Prefix(prefix) => drop(prefix.prefix()),
            NdOption::DnsServers(servers) => assert!(servers.addresses().count() >= 1),
            NdOption::SearchList(list) => {
                for name in list.names() {
                    assert!(name.len() < 255);
                    let _ = write_domain_name(&name, &mut Vec::new());
                }
            }
            NdOption::Pref64(pref64) => assert!(pref64.lifetime_seconds() % 8 == 0),
            _ => {}
        }
    }
}
