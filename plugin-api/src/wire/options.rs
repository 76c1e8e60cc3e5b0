//! Options inside headers: kind, length, data. Those of IPv4 and TCP count the whole option, those of IPv6
//! the data.

reasons! {
    /// Why a list of options cannot be read on.
    pub enum OptionMalformed {
        /// A kind with nothing behind it.
        NoLength = "option without length",
        /// A length that does not cover kind and length themselves.
        LengthTooShort = "option length below 2",
        /// A length that reaches beyond the header.
        Beyond = "option beyond its header",
    }
}

/// One option; padding is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderOption<'a> {
    /// What it is.
    pub kind: u8,
    /// Where its kind byte stands, from the front of the list.
    pub offset: usize,
    /// What is behind its length byte.
    pub data: &'a [u8],
}

/// The options of an IPv4 (RFC 791 §3.1) or TCP (RFC 9293 §3.2) header. Ends at the end mark, and after an
/// error.
#[derive(Clone, Debug)]
pub struct HeaderOptions<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> HeaderOptions<'a> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;

    /// Iterates over a list of options.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl<'a> Iterator for HeaderOptions<'a> {
    type Item = Result<HeaderOption<'a>, OptionMalformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let offset = self.at;
            match *self.bytes.get(offset)? {
                Self::END => {
                    self.at = self.bytes.len();
                    return None;
                }
                Self::NO_OPERATION => self.at += 1,
                kind => {
                    let option = take(self.bytes, offset, 2).map(|data| HeaderOption { kind, offset, data });
                    self.at = option.map_or(self.bytes.len(), |option| offset + 2 + option.data.len());
                    return Some(option);
                }
            }
        }
    }
}

/// The options of an IPv6 hop-by-hop or destination options header (RFC 8200 §4.2). Ends after an error.
#[derive(Clone, Debug)]
pub struct Ip6Options<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Ip6Options<'a> {
    const PAD_1: u8 = 0;
    const PAD_N: u8 = 1;

    /// Iterates over the options, which begin 2 bytes into their extension header.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl<'a> Iterator for Ip6Options<'a> {
    type Item = Result<HeaderOption<'a>, OptionMalformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let offset = self.at;
            let kind = *self.bytes.get(offset)?;
            if kind == Self::PAD_1 {
                self.at += 1;
                continue;
            }
            let option = take(self.bytes, offset, 0).map(|data| HeaderOption { kind, offset, data });
            self.at = option.map_or(self.bytes.len(), |option| offset + 2 + option.data.len());
            if kind != Self::PAD_N || option.is_err() {
                return Some(option);
            }
        }
    }
}

/// The data of the option at `offset`, whose length field counts `counted` bytes besides the data.
fn take(bytes: &[u8], offset: usize, counted: usize) -> Result<&[u8], OptionMalformed> {
    let length = *bytes.get(offset + 1).ok_or(OptionMalformed::NoLength)? as usize;
    let length = length.checked_sub(counted).ok_or(OptionMalformed::LengthTooShort)?;
    bytes.get(offset + 2..offset + 2 + length).ok_or(OptionMalformed::Beyond)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_options_between_padding() {
        // Router alert (RFC 2113) behind a no-operation, then the end, then rubbish.
        let bytes = [1, 148, 4, 0, 0, 0, 99, 200];
        let options: Vec<_> = HeaderOptions::new(&bytes).collect();
        assert_eq!(options, [Ok(HeaderOption { kind: 148, offset: 1, data: &[0, 0] })]);
        // IPv6: PadN of 0, Pad1, router alert (RFC 2711).
        let bytes = [1, 0, 0, 5, 2, 0, 0];
        let options: Vec<_> = Ip6Options::new(&bytes).collect();
        assert_eq!(options, [Ok(HeaderOption { kind: 5, offset: 3, data: &[0, 0] })]);
    }

    #[test]
    fn stops_after_an_error() {
        for (bytes, reason) in [
            (&[7][..], OptionMalformed::NoLength),
            (&[7, 0, 1, 1], OptionMalformed::LengthTooShort),
            (&[7, 1, 1, 1], OptionMalformed::LengthTooShort),
            (&[7, 5, 1, 1], OptionMalformed::Beyond),
        ] {
            assert_eq!(HeaderOptions::new(bytes).collect::<Vec<_>>(), [Err(reason)], "{bytes:?}");
        }
        assert_eq!(Ip6Options::new(&[5]).collect::<Vec<_>>(), [Err(OptionMalformed::NoLength)]);
        assert_eq!(Ip6Options::new(&[1, 1]).collect::<Vec<_>>(), [Err(OptionMalformed::Beyond)]);
    }

    proptest! {
        #[test]
        fn never_yields_more_options_than_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(HeaderOptions::new(&bytes).count() <= bytes.len());
            prop_assert!(Ip6Options::new(&bytes).count() <= bytes.len());
        }
    }
}
