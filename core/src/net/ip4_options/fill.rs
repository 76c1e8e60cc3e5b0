//! Record route and timestamp, filled in by a router that forwards or answers (RFC 1812 §5.2.4, RFC 791 §3.1).

use raddle_plugin_api::wire::{Ip4Address, Ip4Header, checksum};

use super::check::{RECORD_ROUTE, RawOption, TIMESTAMP, next_option};

/// The IPv4 header's own checksum.
const CHECKSUM: std::ops::Range<usize> = 10..12;

/// Fills the recording options of the header that `packet` begins with, and makes its checksum right again: record route
/// with `own`, the address of the interface by which it leaves (RFC 1812 §4.2.2.2), timestamps with `time_ms`, asked for only if
/// there is one: ms since midnight UT. `is_own` tells the router's other addresses.
///
/// # Errors
/// The byte at fault, from the header's first on: a timestamp option's count of those that found no room is full itself.
pub fn fill(
    packet: &mut [u8],
    own: Ip4Address,
    is_own: impl Fn(Ip4Address) -> bool,
    time_ms: impl Fn() -> u32,
) -> Result<(), u8> {
    let Some((ip, _)) = Ip4Header::parse(packet) else { return Ok(()) };
    let length = ip.header_length();
    let Some(header) = packet.get_mut(..length) else { return Ok(()) };
    let Some(options) = header.get_mut(Ip4Header::LENGTH..) else { return Ok(()) };
    let mut at = 0;
    // What is malformed was refused on its way in.
    while let Ok(Some(RawOption { at: start, kind, length })) = next_option(options, at) {
        let Some(option) = options.get_mut(start..start + length) else { break };
        let filled = match kind {
            RECORD_ROUTE => {
                record_route(option, own);
                Some(())
            }
            TIMESTAMP => timestamp(option, own, &is_own, &time_ms),
            _ => Some(()),
        };
        filled.ok_or((Ip4Header::LENGTH + start + 3) as u8)?;
        at = start + length;
    }
    header[CHECKSUM].fill(0);
    let sum = checksum::checksum(header);
    header[CHECKSUM].copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

/// Where the pointer in byte 2 points, if a whole entry has room there.
fn entry(option: &[u8], size: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::from(*option.get(2)?).checked_sub(1)?;
    (start >= 3 && start + size <= option.len()).then_some(start..start + size)
}

/// A list that is full stays as it is.
fn record_route(option: &mut [u8], own: Ip4Address) {
    if let Some(entry) = entry(option, 4) {
        option[entry].copy_from_slice(&own.0);
        option[2] += 4;
    }
}

/// `None`: the count of overflows overflows.
fn timestamp(
    option: &mut [u8],
    own: Ip4Address,
    is_own: impl Fn(Ip4Address) -> bool,
    time_ms: impl Fn() -> u32,
) -> Option<()> {
    let flags = *option.get(3)?;
    let (mode, size) = match flags & 0xf {
        0 => (0, 4),
        mode => (mode, 8),
    };
    let Some(entry) = entry(option, size) else {
        // RFC 791: how many had no room; when that overflows too, the packet is in error.
        if flags >> 4 == 15 {
            return None;
        }
        // Named addresses are those of the routers that are to write: the others write nothing.
        if mode != 3 {
            option[3] = flags + 0x10;
        }
        return Some(());
    };
    let slot = &mut option[entry];
    match mode {
        0 => slot.copy_from_slice(&time_ms().to_be_bytes()),
        1 => {
            slot[..4].copy_from_slice(&own.0);
            slot[4..].copy_from_slice(&time_ms().to_be_bytes());
        }
        _ => {
            if !is_own(Ip4Address([slot[0], slot[1], slot[2], slot[3]])) {
                return Some(());
            }
            slot[4..].copy_from_slice(&time_ms().to_be_bytes());
        }
    }
    option[2] += size as u8;
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raddle_plugin_api::wire::IpProtocol;

    use super::*;

    const OWN: Ip4Address = Ip4Address([192, 0, 2, 1]);
    const OTHER: Ip4Address = Ip4Address([198, 51, 100, 1]);

    fn packet(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 20];
        let (from, to) = (Ip4Address([192, 0, 2, 9]), Ip4Address([203, 0, 113, 9]));
        Ip4Header::new(IpProtocol::UDP, from, to, options.len() + 4).unwrap().write_to(&mut bytes).unwrap();
        bytes.extend(options);
        bytes.extend([0x5a; 4]);
        Ip4Header::parse_mut(&mut bytes).unwrap().0.set_options(options);
        bytes
    }

    fn filled(options: &[u8]) -> Result<Vec<u8>, u8> {
        let mut bytes = packet(options);
        fill(&mut bytes, OWN, |address| address == OWN || address == OTHER, || 0x0102_0304)?;
        let ip = Ip4Header::check(&bytes, bytes.len()).unwrap();
        assert_eq!(bytes[ip.header_length()..], [0x5a; 4]);
        Ok(bytes[20..ip.header_length()].to_vec())
    }

    // RFC 791 §3.1 "Record Route", RFC 1812 §5.2.4.2
    #[test]
    fn writes_the_outgoing_address_where_there_is_room() {
        assert_eq!(
            filled(&[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap(),
            [7, 11, 8, 192, 0, 2, 1, 0, 0, 0, 0, 0]
        );
        let full = [7, 7, 8, 9, 9, 9, 9, 0];
        assert_eq!(filled(&full).unwrap(), full);
    }

    // RFC 791 §3.1 "Internet Timestamp", RFC 1812 §5.2.4.3
    #[test]
    fn writes_timestamps_as_their_flags_say() {
        for (options, expected) in [
            (&[68, 8, 5, 0, 0, 0, 0, 0][..], &[68, 8, 9, 0, 1, 2, 3, 4][..]),
            (&[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0][..], &[68, 12, 13, 1, 192, 0, 2, 1, 1, 2, 3, 4][..]),
            (
                &[68, 12, 5, 3, 198, 51, 100, 1, 0, 0, 0, 0][..],
                &[68, 12, 13, 3, 198, 51, 100, 1, 1, 2, 3, 4][..],
            ),
            (
                &[68, 12, 5, 3, 198, 51, 100, 2, 0, 0, 0, 0][..],
                &[68, 12, 5, 3, 198, 51, 100, 2, 0, 0, 0, 0][..],
            ),
            (&[68, 8, 9, 0x20, 9, 9, 9, 9][..], &[68, 8, 9, 0x30, 9, 9, 9, 9][..]),
        ] {
            assert_eq!(filled(options).unwrap(), expected);
        }
        assert_eq!(filled(&[1, 1, 1, 1, 68, 8, 9, 0xf0, 9, 9, 9, 9]), Err(27));
    }

    proptest! {
        #[test]
        fn any_options_keep_the_header_right(mut options in prop::collection::vec(any::<u8>(), 0..=40)) {
            options.resize(options.len() / 4 * 4, 0);
            let _ = filled(&options);
        }
    }
}
