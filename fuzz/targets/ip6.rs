//! IPv6 and its extension headers: what is found is within the packet, and named where it is said to be.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raddle_plugin_api::wire::{Icmp6Error, Ip6Header, Ip6Options, Ip6Upper, IpProtocol, MAX_EXTENSION_BYTES};

fuzz_target!(|data: &[u8]| {
    assert!(Icmp6Error::quote(data).len() <= Icmp6Error::MAX_QUOTE);
    let _ = Icmp6Error::NoRoute.is_allowed_for(data);
    let checked = Ip6Header::check(data, data.len());
    if let Ok(header) = checked {
        assert_eq!(Ip6Header::payload(data).len(), header.payload_length() as usize);
    }
    let Ok(upper) = Ip6Upper::find(data) else { return };
    assert!(upper.offset <= data.len() && upper.offset <= Ip6Header::LENGTH + MAX_EXTENSION_BYTES);
    assert_eq!(data[upper.named_at], upper.protocol.0);
    if let Some(fragment) = upper.fragment {
        assert!(fragment.header_at + 8 <= upper.offset && fragment.offset % 8 == 0);
    }
    assert!(upper.is_later_fragment() || !upper.protocol.is_extension());
    if data[6] == IpProtocol::HOP_BY_HOP.0 {
        let options = Ip6Options::new(&data[Ip6Header::LENGTH + 2..upper.offset]);
        assert!(options.count() <= data.len());
    }
});
