//! Types, codes and pointers of ICMP errors (RFC 7915 §4.2, §5.2).

use raddle_plugin_api::wire::{Ip4Header, Ip6Header};

/// How much longer the IPv6 header is.
const HEADER_DIFFERENCE: u32 = (Ip6Header::LENGTH - Ip4Header::LENGTH) as u32;

/// MTUs that links have (RFC 1191 §7.1), for routers that do not say theirs.
const PLATEAUS: [u16; 10] = [65_535, 32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296];

/// Type, code and the word behind the checksum of an ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpErrorKind {
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The second word: MTU or pointer; else 0. Lengths of RFC 4884 are not in it.
    pub rest: u32,
}

const fn error(kind: u8, code: u8, rest: u32) -> Option<IcmpErrorKind> {
    Some(IcmpErrorKind { kind, code, rest })
}

/// An ICMPv6 error as ICMPv4 (RFC 7915 §5.2). `None`: it is dropped silently.
pub fn translate_kind6(from: IcmpErrorKind) -> Option<IcmpErrorKind> {
    match (from.kind, from.code) {
        (1, 0 | 2 | 3) => error(3, 1, 0),
        (1, 1) => error(3, 10, 0),
        (1, 4) => error(3, 3, 0),
        (2, _) => {
            // Links' own MTUs do not matter here: packets too large for them are answered by the node that sends them.
            let mtu = from.rest.saturating_sub(HEADER_DIFFERENCE).clamp(68, 0xffff);
            error(3, 4, mtu)
        }
        (3, code) => error(11, code, 0),
        (4, 0) => {
            let pointer = match from.rest {
                0 => 0,
                1 => 1,
                4 | 5 => 2,
                6 => 9,
                7 => 8,
                8..24 => 12,
                24..40 => 16,
                _ => return None,
            };
            error(12, 0, pointer << 24)
        }
        (4, 1) => error(3, 2, 0),
        _ => None,
    }
}

/// An ICMPv4 error as ICMPv6 (RFC 7915 §4.2). `quoted` is the total length that the quoted packet's header says. `None`: it is
/// dropped silently.
pub fn translate_kind4(from: IcmpErrorKind, quoted: u16) -> Option<IcmpErrorKind> {
    match (from.kind, from.code) {
        (3, 0 | 1 | 5 | 6 | 7 | 8 | 11 | 12) => error(1, 0, 0),
        // To the next-header field.
        (3, 2) => error(4, 1, 6),
        (3, 3) => error(1, 4, 0),
        (3, 4) => {
            let said = from.rest & 0xffff;
            let mtu = if said == 0 { u32::from(plateau_below(quoted)) } else { said };
            // RFC 7915 §4.2 with RFC 8021: nobody is told of less than IPv6's minimum, which would ask for atomic fragments.
            error(2, 0, (mtu + HEADER_DIFFERENCE).max(Ip6Header::MIN_MTU as u32))
        }
        (3, 9 | 10 | 13 | 15) => error(1, 1, 0),
        (11, code) => error(3, code, 0),
        (12, 0 | 2) => {
            let pointer = match from.rest >> 24 {
                0 => 0,
                1 => 1,
                2 | 3 => 4,
                8 => 7,
                9 => 6,
                12..16 => 8,
                16..20 => 24,
                _ => return None,
            };
            error(4, 0, pointer)
        }
        _ => None,
    }
}

/// The next lower usual MTU for a packet that was too large (RFC 1191 §5).
pub fn plateau_below(total_length: u16) -> u16 {
    PLATEAUS.into_iter().find(|&plateau| plateau < total_length).unwrap_or(68)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to4(kind: u8, code: u8, rest: u32) -> Option<(u8, u8, u32)> {
        let found = translate_kind6(IcmpErrorKind { kind, code, rest });
        found.map(|error| (error.kind, error.code, error.rest))
    }

    fn to6(kind: u8, code: u8, rest: u32) -> Option<(u8, u8, u32)> {
        let found = translate_kind4(IcmpErrorKind { kind, code, rest }, 1500);
        found.map(|error| (error.kind, error.code, error.rest))
    }

    /// RFC 7915 §5.2, figure 6 for pointers.
    #[test]
    fn icmp6_errors_become_those_of_the_table() {
        for (code, expected) in
            [(0, Some(1)), (1, Some(10)), (2, Some(1)), (3, Some(1)), (4, Some(3)), (5, None), (6, None)]
        {
            assert_eq!(to4(1, code, 0), expected.map(|code| (3, code, 0)), "code {code}");
        }
        assert_eq!(to4(2, 0, 1500), Some((3, 4, 1480)));
        assert_eq!(to4(2, 0, 0), Some((3, 4, 68)));
        assert_eq!(to4(2, 0, u32::MAX), Some((3, 4, 0xffff)));
        assert_eq!((to4(3, 0, 0), to4(3, 1, 0)), (Some((11, 0, 0)), Some((11, 1, 0))));
        assert_eq!((to4(4, 1, 40), to4(4, 2, 40)), (Some((3, 2, 0)), None));
        for (pointer, expected) in [
            (0, Some(0)),
            (1, Some(1)),
            (2, None),
            (3, None),
            (4, Some(2)),
            (5, Some(2)),
            (6, Some(9)),
            (7, Some(8)),
            (8, Some(12)),
            (23, Some(12)),
            (24, Some(16)),
            (39, Some(16)),
            (40, None),
            (u32::MAX, None),
        ] {
            assert_eq!(to4(4, 0, pointer), expected.map(|byte| (12, 0, byte << 24)), "pointer {pointer}");
        }
        assert_eq!((to4(137, 0, 0), to4(0, 0, 0)), (None, None));
    }

    /// RFC 7915 §4.2, figure 3 for pointers.
    #[test]
    fn icmp4_errors_become_those_of_the_table() {
        for code in [0, 1, 5, 6, 7, 8, 11, 12] {
            assert_eq!(to6(3, code, 0), Some((1, 0, 0)), "code {code}");
        }
        for code in [9, 10, 13, 15] {
            assert_eq!(to6(3, code, 0), Some((1, 1, 0)), "code {code}");
        }
        assert_eq!((to6(3, 2, 0), to6(3, 3, 0), to6(3, 14, 0)), (Some((4, 1, 6)), Some((1, 4, 0)), None));
        assert_eq!((to6(4, 0, 0), to6(5, 1, 0), to6(12, 1, 0)), (None, None, None));
        assert_eq!((to6(11, 0, 0), to6(11, 1, 0)), (Some((3, 0, 0)), Some((3, 1, 0))));
        for (pointer, expected) in [
            (0, Some(0)),
            (1, Some(1)),
            (2, Some(4)),
            (3, Some(4)),
            (4, None),
            (7, None),
            (8, Some(7)),
            (9, Some(6)),
            (10, None),
            (12, Some(8)),
            (15, Some(8)),
            (16, Some(24)),
            (19, Some(24)),
            (20, None),
        ] {
            let found = (to6(12, 0, pointer << 24), to6(12, 2, pointer << 24));
            let expected = expected.map(|pointer| (4, 0, pointer));
            assert_eq!(found, (expected, expected), "pointer {pointer}");
        }
    }

    #[test]
    fn mtu_is_never_below_that_of_ip6_and_guessed_where_it_is_not_said() {
        assert_eq!(to6(3, 4, 1400), Some((2, 0, 1420)));
        assert_eq!(to6(3, 4, 576), Some((2, 0, 1280)));
        // RFC 1191 §5: the router did not say; the packet had 1,500 bytes.
        assert_eq!(to6(3, 4, 0), Some((2, 0, 1512)));
        assert_eq!((plateau_below(1492), plateau_below(296), plateau_below(0)), (1006, 68, 68));
    }
}
