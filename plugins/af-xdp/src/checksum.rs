//! Checksums that a sender on this host has left to its device.
//!
//! A virtual link hands frames over as the sender's stack left them: with the sum of the pseudo header in the checksum's place,
//! for a device to complete. XDP is not told. Such a frame is known by that sum. Where a whole checksum is by chance the same,
//! completing it changes nothing: what is summed up then is what the sender had summed up.

use raddle_plugin_api::wire::{ChecksumOffload, Ip4Header, Ip6Header, IpProtocol, Offload};

use crate::filter::TAGS;

const ETHERNET_BYTES: usize = 14;
const IP4: u16 = 0x0800;
const IP6: u16 = 0x86dd;

/// What is left to be done to a frame of `length` bytes that begins with these; `None`: nothing.
#[inline]
pub fn left_to_device(bytes: &[u8], length: usize) -> Option<Offload> {
    let mut start = ETHERNET_BYTES;
    let mut kind = half(bytes, 12)?;
    if TAGS.contains(&kind) {
        start += 4;
        kind = half(bytes, 16)?;
    }
    let packet = bytes.get(start..)?;
    let left = length - start;
    let (protocol, header_bytes, sum) = match kind {
        IP4 => {
            let ip = Ip4Header::check(packet, left).ok()?;
            if ip.is_fragment() {
                return None;
            }
            let payload = u16::try_from(ip.payload_length()).ok()?;
            (ip.protocol(), ip.header_length(), ip.pseudo_header(payload))
        }
        IP6 => {
            let ip = Ip6Header::check(packet, left).ok()?;
            let protocol = ip.next_header();
            (protocol, 40, ip.pseudo_header(protocol, u32::from(ip.payload_length())))
        }
        _ => return None,
    };
    let offset = match protocol {
        IpProtocol::TCP => 16,
        IpProtocol::UDP => 6,
        _ => return None,
    };
    let field = half(packet, header_bytes + offset)?;
    if field != sum.partial() {
        return None;
    }
    let checksum = ChecksumOffload { start: (start + header_bytes) as u16, offset: offset as u16 };
    Some(Offload { checksum: Some(checksum), ..Offload::default() })
}

#[inline]
fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raddle_plugin_api::testing::packets;

    use super::*;

    /// Puts the sum of the pseudo header into the checksum's place, as a stack does that leaves it to its device.
    fn unfinished(frame: &mut [u8]) {
        let (at, sum) = match frame[12..14] {
            [8, 0] => {
                let ip = Ip4Header::check(&frame[14..], frame.len() - 14).unwrap();
                (34, ip.pseudo_header(ip.payload_length() as u16))
            }
            _ => {
                let ip = Ip6Header::check(&frame[14..], frame.len() - 14).unwrap();
                (54, ip.pseudo_header(ip.next_header(), u32::from(ip.payload_length())))
            }
        };
        let protocol = if at == 34 { frame[23] } else { frame[20] };
        let field = at + if protocol == 6 { 16 } else { 6 };
        frame[field..field + 2].copy_from_slice(&sum.partial().to_be_bytes());
    }

    #[test]
    fn unfinished_checksums_are_found_and_whole_ones_left_alone() {
        for (frame, start, offset) in [
            (packets::udp("192.0.2.1:1", "198.51.100.2:53").ethernet().to_vec(), 34, 6),
            (packets::tcp("192.0.2.1:1", "198.51.100.2:53").ethernet().to_vec(), 34, 16),
            (packets::tcp("[2001:db8::1]:1", "[2001:db8::2]:22").ethernet().to_vec(), 54, 16),
            (packets::udp("[2001:db8::1]:1", "[2001:db8::2]:22").ethernet().to_vec(), 54, 6),
        ] {
            assert_eq!(left_to_device(&frame, frame.len()), None);
            let mut open = frame.clone();
            unfinished(&mut open);
            let found = left_to_device(&open, open.len()).unwrap();
            assert_eq!(found.checksum, Some(ChecksumOffload { start, offset }));
            let mut tagged = open.clone();
            tagged.splice(12..12, [0x81, 0, 0, 5]);
            let found = left_to_device(&tagged, tagged.len()).unwrap();
            assert_eq!(found.checksum, Some(ChecksumOffload { start: start + 4, offset }));
        }
    }

    proptest! {
        #[test]
        fn what_is_found_lies_in_the_frame(bytes in proptest::collection::vec(any::<u8>(), 0..90), more in 0..2000_usize) {
            let length = bytes.len() + more;
            if let Some(Offload { checksum: Some(found), .. }) = left_to_device(&bytes, length) {
                prop_assert!(usize::from(found.start) + usize::from(found.offset) + 2 <= bytes.len());
            }
        }
    }
}
