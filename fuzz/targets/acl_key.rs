//! What `acl` reads of packets: never beyond them, and of a whole packet what its header says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raddle_acl::key::{quoted4, quoted6, read4, read6};
use raddle_plugin_api::L4Ports;
use raddle_plugin_api::wire::{Ip4Header, Ip6Header, IpProtocol};

fuzz_target!(|data: &[u8]| {
    let noted = || Some(L4Ports::of_first(IpProtocol::TCP, data).of_later());
    if let Ok(seen) = read4(data, noted) {
        let (header, _) = Ip4Header::parse(data).expect("it was read");
        assert_eq!(seen.key.words[..2], [header.source().to_bits(), header.destination().to_bits()]);
        assert_eq!(usize::from(seen.transport_at), header.header_length());
        if let Some(quoted) = data.get(usize::from(seen.transport_at)..).and_then(quoted4) {
            assert!(data.len() >= usize::from(seen.transport_at) + 8 + Ip4Header::LENGTH, "{quoted:?}");
        }
    }
    if let Ok(seen) = read6(data, noted) {
        let (header, _) = Ip6Header::parse(data).expect("it was read");
        assert_eq!(u128::from(seen.key.words[0]), header.source().to_bits() >> 96);
        assert!(usize::from(seen.transport_at) >= Ip6Header::LENGTH);
        let _ = data.get(usize::from(seen.transport_at)..).and_then(quoted6);
    }
});
