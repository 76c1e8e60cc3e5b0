//! Ethernet header and VLAN tags: what is behind them is the input's own end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raddle_plugin_api::wire::{EthernetHeader, Tagged};

fuzz_target!(|data: &[u8]| {
    let Some((header, rest)) = EthernetHeader::parse(data) else {
        assert!(data.len() < EthernetHeader::LENGTH);
        return;
    };
    if let Some(tagged) = Tagged::parse(header.ethertype(), rest) {
        assert_eq!(EthernetHeader::LENGTH + tagged.tags_length() + tagged.payload.len(), data.len());
        assert!(tagged.inner.is_none() || tagged.outer.is_some());
    }
});
