//! How an IPv4 packet is cut into fragments (RFC 791 §3.2, RFC 1812 §4.2.2.7).
#![forbid(unsafe_code)]

use std::ops::Range;

use raddle_plugin_api::wire::Ip4Header;

/// The largest packet of RFC 791: what the fragments make together must not be beyond it.
const MAX_PACKET_BYTES: usize = 65_535;
/// Options with this bit stand in every fragment (RFC 791 §3.1).
const COPIED: u8 = 0x80;

/// Why an IPv4 packet cannot be cut into fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip4FragmentRefusal {
    /// Header or options are not as they should be, or shorter than they say.
    Malformed,
    /// Not even eight bytes fit behind the header.
    MtuTooSmall,
    /// The fragment lies, or ends, where no IPv4 packet reaches.
    BeyondPacket,
}

/// An IPv4 header with its options.
#[derive(Clone, Copy)]
pub struct Ip4FragmentHeader {
    bytes: [u8; Ip4Header::MAX_LENGTH],
    length: usize,
}

impl Ip4FragmentHeader {
    /// `header` with `options`, of at most 40 bytes, padded to whole words by the mark for their end.
    fn new(header: &Ip4Header, options: &[u8]) -> Option<Self> {
        let length = Ip4Header::LENGTH + options.len().next_multiple_of(4);
        let mut bytes = [0; Ip4Header::MAX_LENGTH];
        let behind = header.write_to(bytes.get_mut(..length)?)?;
        behind[..options.len()].copy_from_slice(options);
        let mut made = Self { bytes, length };
        let (header, padded) = Ip4Header::parse_mut(&mut made.bytes[..length])?;
        header.set_options(padded);
        Some(made)
    }

    /// The header's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The fragments of a packet, in order: each one's header, and which bytes of the packet stand behind it.
///
/// What is cut may be a fragment itself: offsets count on from its own, and the last keeps its "more fragments".
/// Identification, TTL, DSCP and ECN are as they were (RFC 6864 §4.1, RFC 3168 §5.3).
pub struct Ip4Fragments {
    first: Ip4FragmentHeader,
    later: Ip4FragmentHeader,
    payload: Range<usize>,
    /// Of the payload in the packet as it was sent.
    offset: usize,
    more: bool,
    mtu: usize,
    done: usize,
}

impl Ip4Fragments {
    /// Of the packet that begins with `bytes`, which hold all of its header, for a link whose largest packet has `mtu`
    /// bytes.
    ///
    /// # Errors
    /// It cannot be cut.
    pub fn new(bytes: &[u8], mtu: usize) -> Result<Self, Ip4FragmentRefusal> {
        let (header, _) = Ip4Header::parse(bytes).ok_or(Ip4FragmentRefusal::Malformed)?;
        let (start, end) = (header.header_length(), usize::from(header.total_length()));
        let options = bytes.get(Ip4Header::LENGTH..start).ok_or(Ip4FragmentRefusal::Malformed)?;
        if end < start {
            return Err(Ip4FragmentRefusal::Malformed);
        }
        let offset = usize::from(header.fragment_offset());
        if offset + end - start > MAX_PACKET_BYTES {
            return Err(Ip4FragmentRefusal::BeyondPacket);
        }
        let mut kept = Vec::new();
        for option in Ip4Header::options(bytes) {
            let option = option.map_err(|_| Ip4FragmentRefusal::Malformed)?;
            if option.kind & COPIED != 0 {
                let length = option.data.len() + 2;
                kept.extend_from_slice(&options[option.offset..option.offset + length]);
            }
        }
        let with = |options| Ip4FragmentHeader::new(header, options).ok_or(Ip4FragmentRefusal::Malformed);
        let (first, later) = (with(options)?, with(&kept)?);
        // The first header is the longer one.
        if first.length + 8 > mtu {
            return Err(Ip4FragmentRefusal::MtuTooSmall);
        }
        Ok(Self { first, later, payload: start..end, offset, more: header.more_fragments(), mtu, done: 0 })
    }
}

impl Iterator for Ip4Fragments {
    type Item = (Ip4FragmentHeader, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.payload.len() - self.done;
        if left == 0 {
            return None;
        }
        let mut header = if self.done == 0 { self.first } else { self.later };
        let room = self.mtu - header.length;
        let (count, more) = if left <= room { (left, self.more) } else { (room & !7, true) };
        let start = self.payload.start + self.done;
        let length = header.length;
        let (ip, _) = Ip4Header::parse_mut(&mut header.bytes[..length])?;
        // Both are at most `MAX_PACKET_BYTES`, as `new` has seen.
        ip.set_total_length((length + count) as u16);
        ip.set_fragment((self.offset + self.done) as u16, more);
        self.done += count;
        Some((header, start..start + count))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raddle_plugin_api::wire::checksum::is_valid;
    use raddle_plugin_api::wire::{Ip4Address, IpProtocol};

    use super::*;

    fn packet(options: &[u8], payload: usize) -> Vec<u8> {
        let (source, destination) = (Ip4Address([192, 0, 2, 1]), Ip4Address([198, 51, 100, 2]));
        let mut header =
            Ip4Header::new(IpProtocol::UDP, source, destination, payload + options.len()).unwrap();
        header.set_identification(0xbeef);
        header.set_traffic_class(0xb9);
        header.set_ttl(7);
        header.set_options(options);
        let mut bytes = zerocopy::IntoBytes::as_bytes(&header).to_vec();
        bytes.extend(options);
        bytes.extend((0..payload).map(|number| (number % 251) as u8));
        bytes
    }

    fn cut(bytes: &[u8], mtu: usize) -> Vec<Vec<u8>> {
        let fragments = Ip4Fragments::new(bytes, mtu).unwrap();
        fragments.map(|(header, payload)| [header.bytes(), &bytes[payload]].concat()).collect()
    }

    /// What RFC 791's receiver makes of fragments that came whole: header of the first, bytes in order of their offsets.
    fn reassemble(fragments: &[Vec<u8>]) -> Option<Vec<u8>> {
        let mut sorted: Vec<_> =
            fragments.iter().map(|bytes| (Ip4Header::parse(bytes).unwrap().0, bytes)).collect();
        sorted.sort_by_key(|(header, _)| header.fragment_offset());
        let (mut payload, mut complete) = (Vec::new(), false);
        for (header, bytes) in &sorted {
            if usize::from(header.fragment_offset()) != payload.len() || complete {
                return None;
            }
            payload.extend_from_slice(Ip4Header::payload(bytes));
            complete = !header.more_fragments();
        }
        let (first, bytes) = sorted.first()?;
        let mut header = **first;
        let options = &bytes[Ip4Header::LENGTH..first.header_length()];
        header.set_fragment(0, false);
        header.set_total_length((first.header_length() + payload.len()) as u16);
        complete.then(|| [zerocopy::IntoBytes::as_bytes(&header), options, &payload].concat())
    }

    #[test]
    fn fragments_are_as_large_as_fits_in_eights() {
        for (mtu, lengths) in [
            (1500, vec![1420]),
            (1419, vec![1412, 28]),
            (576, vec![572, 572, 316]),
            (68, [vec![68; 29], vec![28]].concat()),
        ] {
            let fragments = cut(&packet(&[], 1400), mtu);
            assert_eq!(fragments.iter().map(Vec::len).collect::<Vec<_>>(), lengths, "{mtu}");
        }
    }

    // RFC 791 §3.1: route options stand in all fragments, record route (7) and timestamp (68) in the first.
    #[test]
    fn options_are_copied_by_their_copied_bit() {
        let options = [7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 1, 130, 3, 9, 0];
        let fragments = cut(&packet(&options, 100), 84);
        assert_eq!(&fragments[0][20..36], options);
        for later in &fragments[1..] {
            assert_eq!(Ip4Header::parse(later).unwrap().0.header_length(), 28);
            assert_eq!(&later[20..28], [148, 4, 0, 0, 130, 3, 9, 0]);
        }
    }

    #[test]
    fn fragment_is_cut_on_from_its_own_offset() {
        for more in [false, true] {
            let mut bytes = packet(&[], 104);
            Ip4Header::parse_mut(&mut bytes).unwrap().0.set_fragment(800, more);
            let fragments = cut(&bytes, 68);
            let facts: Vec<_> = fragments
                .iter()
                .map(|bytes| Ip4Header::parse(bytes).unwrap().0)
                .map(|header| (header.fragment_offset(), header.more_fragments()))
                .collect();
            assert_eq!(facts, [(800, true), (848, true), (896, more)]);
        }
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let refusal = |bytes: &[u8], mtu| Ip4Fragments::new(bytes, mtu).map(drop);
        assert_eq!(refusal(&packet(&[], 100), 27), Err(Ip4FragmentRefusal::MtuTooSmall));
        assert_eq!(refusal(&packet(&[1; 40], 100), 67), Err(Ip4FragmentRefusal::MtuTooSmall));
        assert_eq!(refusal(&packet(&[1; 40], 100), 68), Ok(()));
        assert_eq!(refusal(&packet(&[148, 1, 0, 0], 100), 68), Err(Ip4FragmentRefusal::Malformed));
        assert_eq!(refusal(&packet(&[1; 8], 100)[..27], 68), Err(Ip4FragmentRefusal::Malformed));
        assert_eq!(refusal(&[0x45; 19], 68), Err(Ip4FragmentRefusal::Malformed));
        let mut beyond = packet(&[], 104);
        Ip4Header::parse_mut(&mut beyond).unwrap().0.set_fragment(65_432, true);
        assert_eq!(refusal(&beyond, 68), Err(Ip4FragmentRefusal::BeyondPacket));
        let mut short = packet(&[], 104);
        Ip4Header::parse_mut(&mut short).unwrap().0.set_total_length(19);
        assert_eq!(refusal(&short, 68), Err(Ip4FragmentRefusal::Malformed));
    }

    /// Options that do and do not stand in all fragments.
    fn options() -> impl Strategy<Value = Vec<u8>> {
        let option = (any::<u8>(), 0..9usize).prop_map(|(kind, length)| match kind {
            0 | 1 => vec![1],
            _ => [vec![kind, length as u8 + 2], vec![0x33; length]].concat(),
        });
        proptest::collection::vec(option, 0..5).prop_map(|all| {
            let mut bytes = all.concat();
            bytes.truncate(40);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        })
    }

    proptest! {
        #[test]
        fn fragmentation_then_reassembly_is_identity(
            options in options(), payload in 1..9000usize, mtu in 68..4000usize, again in 68..2000usize,
        ) {
            let bytes = packet(&options, payload);
            prop_assume!(Ip4Fragments::new(&bytes, mtu).is_ok());
            let fragments = cut(&bytes, mtu);
            for fragment in &fragments {
                let header = Ip4Header::check(fragment, fragment.len()).unwrap();
                prop_assert_eq!(usize::from(header.total_length()), fragment.len());
                prop_assert!(fragment.len() <= mtu && is_valid(&fragment[..header.header_length()]));
                prop_assert!(!header.more_fragments() || header.payload_length().is_multiple_of(8));
                prop_assert_eq!((header.identification(), header.ttl(), header.traffic_class()), (0xbeef, 7, 0xb9));
            }
            prop_assert_eq!(&reassemble(&fragments).unwrap(), &bytes);
            // Fragments of fragments come together as well, in whatever order they come.
            let fits = |bytes: &Vec<u8>| Ip4Fragments::new(bytes, again).is_ok();
            prop_assume!(fragments.iter().all(fits));
            let mut twice: Vec<_> = fragments.iter().flat_map(|fragment| cut(fragment, again)).collect();
            twice.reverse();
            prop_assert_eq!(reassemble(&twice).unwrap(), bytes);
        }

        #[test]
        fn no_header_makes_it_panic_or_go_on_for_ever(
            bytes in proptest::collection::vec(any::<u8>(), 0..80), mtu in 0..200usize,
        ) {
            if let Ok(fragments) = Ip4Fragments::new(&bytes, mtu) {
                prop_assert!(fragments.count() <= MAX_PACKET_BYTES / 8 + 1);
            }
        }
    }
}
