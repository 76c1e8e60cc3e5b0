//! What a key asks for.

use super::view::View;

/// A wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Nothing.
    None,
    /// The end.
    Quit,
    /// A view.
    Show(View),
    /// The next view.
    Next,
    /// The view before.
    Previous,
}

/// The wish in what a terminal sent; of several the last, but `Quit` is heard in any case.
pub(super) fn parse(bytes: &[u8]) -> Key {
    let (mut key, mut rest) = (Key::None, bytes);
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        key = match first {
            // `q`, Ctrl-C, Ctrl-D; in raw mode they are no signals.
            b'q' | b'Q' | 3 | 4 => return Key::Quit,
            b'1'..=b'6' => Key::Show(View::ALL[usize::from(first - b'1')]),
            b'\t' | b'l' | b'n' => Key::Next,
            b'h' | b'p' => Key::Previous,
            // CSI: parameters, then a letter.
            0x1b if rest.first() == Some(&b'[') => {
                let end = rest[1..].iter().position(|byte| (0x40..=0x7e).contains(byte));
                let letter = end.map(|end| rest[1 + end]);
                rest = end.map_or(&[], |end| &rest[2 + end..]);
                match letter {
                    Some(b'C') => Key::Next,
                    Some(b'D' | b'Z') => Key::Previous,
                    _ => key,
                }
            }
            0x1b if rest.is_empty() => return Key::Quit,
            _ => key,
        };
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_arrows_are_understood() {
        for (bytes, key) in [
            (&b""[..], Key::None),
            (b"x", Key::None),
            (b"q", Key::Quit),
            (b"3q", Key::Quit),
            (b"\x03", Key::Quit),
            (b"\x1b", Key::Quit),
            (b"3", Key::Show(View::Nodes)),
            (b"13", Key::Show(View::Nodes)),
            (b"7", Key::None),
            (b"\x1b[C", Key::Next),
            (b"\x1b[1;5D", Key::Previous),
            (b"\x1b[Z", Key::Previous),
            (b"\x1b[5~", Key::None),
            (b"\x1b[", Key::None),
        ] {
            assert_eq!(parse(bytes), key, "{bytes:?}");
        }
    }
}
