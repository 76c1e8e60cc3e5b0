//! Whether a header's options are right, and what there is among them.

/// End of the list, and padding.
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
pub(super) const RECORD_ROUTE: u8 = 7;
pub(super) const TIMESTAMP: u8 = 68;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STREAM_IDENTIFIER: u8 = 136;
const STRICT_SOURCE_ROUTE: u8 = 137;
const ROUTER_ALERT: u8 = 148;

/// What options a header has, of those that mean something to a router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// A loose or strict source route.
    pub source_route: bool,
    /// A record route or timestamp option.
    pub recording: bool,
}

/// An option as its bytes, from its kind on, and where they stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawOption {
    pub at: usize,
    pub kind: u8,
    pub length: usize,
}

/// The option at `at` or behind the padding there, or the end. The error is the byte at fault.
pub(super) fn next_option(options: &[u8], mut at: usize) -> Result<Option<RawOption>, usize> {
    while let Some(&kind) = options.get(at) {
        match kind {
            END => return Ok(None),
            NO_OPERATION => at += 1,
            kind => {
                let length = usize::from(*options.get(at + 1).ok_or(at)?);
                if length < 2 || at + length > options.len() {
                    return Err(at + 1);
                }
                return Ok(Some(RawOption { at, kind, length }));
            }
        }
    }
    Ok(None)
}

/// Reads a header's options. What raddle does not know of them it does not judge (RFC 1812 §4.2.2.6).
///
/// # Errors
/// The byte at fault, from the first option on.
pub fn check(options: &[u8]) -> Result<Found, usize> {
    let (mut found, mut at, mut seen) = (Found::default(), 0, 0_u8);
    while let Some(option) = next_option(options, at)? {
        let RawOption { at: start, kind, length } = option;
        // RFC 791 §3.1: these appear at most once; both source routes count as one (RFC 1812 §5.2.4.1).
        let once = match kind {
            RECORD_ROUTE => 1,
            TIMESTAMP => 2,
            STREAM_IDENTIFIER => 4,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => 8,
            _ => 0,
        };
        if seen & once != 0 {
            return Err(start);
        }
        seen |= once;
        let bytes = options.get(start..start + length).ok_or(start)?;
        match kind {
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => {
                check_route(bytes, start)?;
                found.source_route = true;
            }
            RECORD_ROUTE => {
                check_route(bytes, start)?;
                found.recording = true;
            }
            TIMESTAMP => {
                check_timestamp(bytes, start)?;
                found.recording = true;
            }
            STREAM_IDENTIFIER | ROUTER_ALERT if length != 4 => return Err(start + 1),
            _ => {}
        }
        at = start + length;
    }
    Ok(found)
}

/// A pointer and addresses. The pointer counts from 1, and there is room for whole addresses or none.
fn check_route(option: &[u8], start: usize) -> Result<(), usize> {
    let &[_, length, pointer, ..] = option else { return Err(start + 1) };
    let room = usize::from(length) + 1;
    if pointer < 4 || (usize::from(pointer) < room && room - usize::from(pointer) < 4) {
        return Err(start + 2);
    }
    Ok(())
}

fn check_timestamp(option: &[u8], start: usize) -> Result<(), usize> {
    let &[_, length, pointer, overflow_flags, ..] = option else { return Err(start + 1) };
    let entry = match overflow_flags & 0xf {
        0 => 4,
        1 | 3 => 8,
        _ => return Err(start + 3),
    };
    let room = usize::from(length) + 1;
    if pointer < 5 || (usize::from(pointer) < room && room - usize::from(pointer) < entry) {
        return Err(start + 2);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // RFC 791 §3.1, RFC 792 "Parameter Problem Message"
    #[test]
    fn names_the_byte_at_fault() {
        let none = Found::default();
        let recording = Found { recording: true, ..none };
        let routed = Found { source_route: true, ..none };
        let cases: &[(&[u8], Result<Found, usize>)] = &[
            (&[], Ok(none)),
            (&[1, 1, 1, 0], Ok(none)),
            (&[0, 99, 1, 1], Ok(none)),
            (&[148, 4, 0, 0], Ok(none)),
            (&[148, 3, 0, 0], Err(1)),
            (&[130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Ok(none)),
            (&[1, 1, 1, 148], Err(3)),
            (&[1, 148, 1, 0], Err(2)),
            (&[1, 148, 0, 0], Err(2)),
            (&[1, 99, 4, 0], Err(2)),
            (&[7, 7, 4, 0, 0, 0, 0, 0], Ok(recording)),
            (&[7, 7, 8, 9, 9, 9, 9, 0], Ok(recording)),
            (&[7, 7, 3, 0, 0, 0, 0, 0], Err(2)),
            (&[7, 7, 5, 0, 0, 0, 0, 0], Err(2)),
            (&[7, 2, 0, 0], Err(1)),
            (&[7, 3, 4, 7, 3, 4, 0, 0], Err(3)),
            (&[68, 8, 5, 0, 0, 0, 0, 0], Ok(recording)),
            (&[68, 8, 9, 0xf0, 0, 0, 0, 0], Ok(recording)),
            (&[68, 8, 5, 1, 0, 0, 0, 0], Err(2)),
            (&[68, 12, 5, 3, 0, 0, 0, 0, 0, 0, 0, 0], Ok(recording)),
            (&[68, 8, 5, 2, 0, 0, 0, 0], Err(3)),
            (&[68, 8, 4, 0, 0, 0, 0, 0], Err(2)),
            (&[68, 3, 5, 0], Err(1)),
            (&[131, 7, 4, 10, 0, 0, 1, 0], Ok(routed)),
            (&[137, 3, 4, 131, 3, 4, 0, 0], Err(3)),
        ];
        for (options, expected) in cases {
            assert_eq!(check(options), *expected, "{options:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_and_faults_lie_within(options in prop::collection::vec(any::<u8>(), 0..=40)) {
            if let Err(at) = check(&options) {
                prop_assert!(at < options.len());
            }
        }
    }
}
