//! TCP and UDP: lengths hold, and changing ports keeps a checksum right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raddle_plugin_api::wire::checksum::Sum;
use raddle_plugin_api::wire::{TcpHeader, TcpOption, UdpHeader};

fuzz_target!(|data: &[u8]| {
    let pseudo = Sum::new().add_u16(0x1234);
    assert!(TcpHeader::options(data).count() <= 40);
    if let Ok(header) = TcpHeader::check(data) {
        assert!(header.header_length() <= data.len());
        for option in TcpHeader::options(data).map_while(Result::ok) {
            let _ = TcpOption::from(option);
        }
        let mut segment = data.to_vec();
        if let Some((header, behind)) = TcpHeader::parse_mut(&mut segment) {
            header.fill_checksum(pseudo, behind);
            header.set_source_port(header.window());
            header.set_destination_port(header.urgent());
        }
        assert!(TcpHeader::is_checksum_valid(pseudo, &segment));
    }
    if let Ok(header) = UdpHeader::check(data, data.len()) {
        let mut datagram = data[..header.length() as usize].to_vec();
        if let Some((header, payload)) = UdpHeader::parse_mut(&mut datagram) {
            header.fill_checksum(pseudo, payload);
            header.set_source_port(header.destination_port());
        }
        assert!(UdpHeader::is_checksum_valid(pseudo, &datagram));
    }
});
