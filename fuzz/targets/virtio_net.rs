//! The virtio-net headers: what is accepted lies within the packet and encodes to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raddle_plugin_api::wire::{Offload, VirtioNetHeader, VirtioNetHeaderMergeable};

fuzz_target!(|data: &[u8]| {
    if let Some((header, packet)) = VirtioNetHeader::parse(data)
        && let Ok(offload) = header.decode(packet.len())
    {
        check(&offload, packet);
        assert_eq!(VirtioNetHeader::encode(&offload).decode(packet.len()), Ok(offload));
    }
    if let Some((header, packet)) = VirtioNetHeaderMergeable::parse(data)
        && let Ok(offload) = header.decode(packet.len())
    {
        check(&offload, packet);
        let again = VirtioNetHeaderMergeable::encode(&offload, header.buffers());
        assert_eq!(again.decode(packet.len()), Ok(offload));
    }
});

fn check(offload: &Offload, packet: &[u8]) {
    if let Some(checksum) = offload.checksum {
        let at = checksum.start as usize + checksum.offset as usize;
        assert!(packet.get(at..at + 2).is_some());
    }
    if let Some(gso) = offload.gso {
        assert!(gso.size > 0 && gso.header_length as usize <= packet.len());
    }
}
