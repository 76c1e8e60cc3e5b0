//! ICMP of both versions: a valid echo request becomes a valid reply. The first 40 bytes serve as the IPv6
//! header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raddle_plugin_api::wire::checksum::checksum;
use raddle_plugin_api::wire::{Icmp4Error, Icmp4Header, Icmp6Header, Ip6Header};

fuzz_target!(|data: &[u8]| {
    let mut message = data.to_vec();
    if let Some((header, _)) = Icmp4Header::parse_mut(&mut message) {
        header.set_checksum(0);
        let sum = checksum(&message);
        if let Some((header, _)) = Icmp4Header::parse_mut(&mut message) {
            header.set_checksum(sum);
            let _ = header.make_echo_reply();
            header.set_identifier(sum);
        }
        assert!(Icmp4Header::check(&message).is_ok());
    }
    let quote = Icmp4Error::quote(data);
    let _ = Icmp4Error::TtlExceeded.header(quote);

    let Some((ip, rest)) = Ip6Header::parse(data) else { return };
    if Icmp6Header::check(ip, rest).is_ok() {
        let mut message = rest.to_vec();
        if let Some((header, _)) = Icmp6Header::parse_mut(&mut message) {
            let _ = header.make_echo_reply();
        }
        assert!(Icmp6Header::check(ip, &message).is_ok());
    }
});
