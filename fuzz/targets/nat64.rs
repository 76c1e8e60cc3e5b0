//! NAT64's translators of ICMP errors, in both directions: whatever a peer sends, what comes out is a whole message, with a checksum as
//! right or as wrong as it was. And what hosts ask for by PCP: it is understood, or answered with what is wrong, or with nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nat64::pcp::{Response, read};
use nat64::translate::{Ends4, Ends6, translate_error4, translate_error6};
use raddle_plugin_api::wire::checksum::Sum;
use raddle_plugin_api::wire::{Ip4Address, Ip6Address, Ip6Header, IpProtocol, checksum};

fuzz_target!(|data: &[u8]| {
    let (inside, outside) =
        (Ip6Address::from_bits(0x2001_0db8 << 96 | 1), Ip6Address::from_bits(0x0064_ff9b << 96 | 9));
    let four = |last| Ip4Address([192, 0, 2, last]);
    let mut into = [0; 4096];
    if let Err(Some(code)) = read(data, inside) {
        let response = Response::error(data, code, 1);
        assert!((24..=1100).contains(&response.bytes().len()) && response.bytes().len().is_multiple_of(4));
    }
    if data.len() > 2048 {
        return;
    }
    if let Some((ip, message)) = Ip6Header::parse(data) {
        let ends = Ends4 { source: four(1), destination: four(2), source_port: 1, destination_port: 2 };
        let was = ip.pseudo_header(IpProtocol::ICMP6, message.len() as u32).add_bytes(message).is_valid();
        for hop in [None, Some(inside)] {
            if let Ok(done) = translate_error6(ip, message, &ends, hop, &mut into) {
                assert_eq!(checksum::is_valid(&into[..done.length]), was);
            }
        }
    }
    let inner = Ends6 { source: inside, destination: outside, source_port: 1, destination_port: 2 };
    let outer = Ends6 { source: outside, destination: inside, source_port: 0, destination_port: 0 };
    if let Ok(done) = translate_error4(data, (&outer, &inner), &mut into) {
        assert!(done.length <= 1240);
        let pseudo = Sum::pseudo_ip6(outside, inside, IpProtocol::ICMP6, done.length as u32);
        assert_eq!(pseudo.add_bytes(&into[..done.length]).is_valid(), checksum::is_valid(data));
    }
});
