//! IPv4: an accepted packet's lengths hold, and forwarding it keeps it acceptable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raddle_plugin_api::wire::{Icmp4Error, Ip4Address, Ip4Header};

fuzz_target!(|data: &[u8]| {
    let payload = Ip4Header::payload(data);
    let options = Ip4Header::options(data).count();
    assert!(options <= 40 && payload.len() <= data.len());
    assert!(Icmp4Error::quote(data).len() <= Icmp4Error::MAX_QUOTE);
    let _ = Icmp4Error::is_allowed_for(data);

    let Ok(header) = Ip4Header::check(data, data.len()) else { return };
    assert_eq!(header.header_length() + payload.len(), header.total_length() as usize);
    assert_eq!(header.payload_length(), payload.len());

    let mut packet = data.to_vec();
    let Some((header, _)) = Ip4Header::parse_mut(&mut packet) else { return };
    let _ = header.decrement_ttl();
    header.set_source(Ip4Address([192, 0, 2, 1]));
    header.set_destination(Ip4Address([198, 51, 100, 1]));
    header.set_ecn(3);
    assert!(Ip4Header::check(&packet, packet.len()).is_ok());
});
