//! How an IPv6 packet is cut into fragments by the host that made it (RFC 8200 §4.5).
#![forbid(unsafe_code)]

use std::ops::Range;

use raddle_plugin_api::wire::{Ip6FragmentHeader, Ip6Header, IpProtocol, MAX_EXTENSION_HEADERS};

/// Why an IPv6 packet cannot be cut into fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip6FragmentRefusal {
    /// A header is cut short, or there are too many.
    Malformed,
    /// It has a fragment header: only its maker cuts a packet, and once.
    AlreadyFragment,
    /// Not even eight bytes fit behind the headers.
    MtuTooSmall,
}

/// The fragments of a packet, in order: the headers of each, and which bytes of the packet stand behind them.
pub struct Ip6Fragments {
    /// The headers that each fragment has, with the fragment header at their end.
    headers: Vec<u8>,
    payload: Range<usize>,
    upper: IpProtocol,
    identification: u32,
    /// Bytes behind the headers of each but the last: a multiple of 8.
    room: usize,
    done: usize,
}

impl Ip6Fragments {
    /// Of the packet that begins with `bytes`, which hold all of its extension headers, for a link whose largest packet
    /// has `mtu` bytes.
    ///
    /// # Errors
    /// It cannot be cut.
    pub fn new(bytes: &[u8], mtu: usize, identification: u32) -> Result<Self, Ip6FragmentRefusal> {
        let (header, _) = Ip6Header::parse(bytes).ok_or(Ip6FragmentRefusal::Malformed)?;
        let (shared, named_at) = shared_headers(bytes)?;
        let mut headers = bytes.get(..shared).ok_or(Ip6FragmentRefusal::Malformed)?.to_vec();
        // The byte is within the headers that were just copied.
        let upper = IpProtocol(std::mem::replace(&mut headers[named_at], IpProtocol::FRAGMENT.0));
        headers.resize(shared + Ip6FragmentHeader::LENGTH, 0);
        let room = mtu.saturating_sub(headers.len()) & !7;
        let payload = shared..header.total_length();
        if room == 0 {
            return Err(Ip6FragmentRefusal::MtuTooSmall);
        }
        if payload.is_empty() {
            return Err(Ip6FragmentRefusal::Malformed);
        }
        Ok(Self { headers, payload, upper, identification, room, done: 0 })
    }
}

impl Iterator for Ip6Fragments {
    type Item = (Vec<u8>, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.payload.len() - self.done;
        if left == 0 {
            return None;
        }
        // What is left may fill the whole packet, whose last bytes need no multiple of 8; that is less than 8 bytes more.
        let count = left.min(self.room);
        let mut headers = self.headers.clone();
        let at = headers.len() - Ip6FragmentHeader::LENGTH;
        // The offset is within the payload of a packet, whose length is 16 bits.
        let fragment =
            Ip6FragmentHeader::new(self.upper, self.done as u16, count < left, self.identification);
        fragment.write_to(&mut headers[at..])?;
        let behind = headers.len() - Ip6Header::LENGTH + count;
        // No more than the packet's own payload and a fragment header, and less than the MTU of a link.
        Ip6Header::parse_mut(&mut headers)?.0.set_payload_length(behind as u16);
        let start = self.payload.start + self.done;
        self.done += count;
        Some((headers, start..start + count))
    }
}

/// Bytes of the headers that all fragments have, up to the routing header or else the hop-by-hop options, and where the
/// byte stands that names what follows them.
fn shared_headers(bytes: &[u8]) -> Result<(usize, usize), Ip6FragmentRefusal> {
    let (header, _) = Ip6Header::parse(bytes).ok_or(Ip6FragmentRefusal::Malformed)?;
    let (mut next, mut at) = (header.next_header(), Ip6Header::LENGTH);
    let mut shared = (Ip6Header::LENGTH, 6);
    for _ in 0..=MAX_EXTENSION_HEADERS {
        match next {
            IpProtocol::FRAGMENT => return Err(Ip6FragmentRefusal::AlreadyFragment),
            IpProtocol::HOP_BY_HOP | IpProtocol::ROUTING | IpProtocol::DESTINATION_OPTIONS => {}
            _ => return Ok(shared),
        }
        let Some(&[following, length]) = bytes.get(at..).and_then(<[u8]>::first_chunk) else {
            return Err(Ip6FragmentRefusal::Malformed);
        };
        let end = at + (usize::from(length) + 1) * 8;
        if next != IpProtocol::DESTINATION_OPTIONS {
            shared = (end, at);
        }
        (next, at) = (IpProtocol(following), end);
    }
    Err(Ip6FragmentRefusal::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raddle_plugin_api::wire::{Ip6Address, Ip6Upper};
    use zerocopy::IntoBytes;

    use super::*;

    /// A packet with these extension headers, each of eight bytes, in front of UDP.
    fn packet(extensions: &[IpProtocol], payload: usize) -> Vec<u8> {
        let chain = [extensions, &[IpProtocol::UDP]].concat();
        let mut body = Vec::new();
        for pair in chain.windows(2) {
            body.extend([pair[1].0, 0, 1, 4, 0, 0, 0, 0]);
        }
        body.extend((0..payload).map(|number| (number % 251) as u8));
        let [source, destination] = [1, 2].map(|host| Ip6Address::from_bits(0x2001_0db8 << 96 | host));
        let mut header = Ip6Header::new(chain[0], source, destination, body.len()).unwrap();
        header.set_hop_limit(9);
        [header.as_bytes(), &body].concat()
    }

    fn cut(bytes: &[u8], mtu: usize) -> Vec<Vec<u8>> {
        let fragments = Ip6Fragments::new(bytes, mtu, 0xdead_beef).unwrap();
        fragments.map(|(headers, payload)| [&headers, &bytes[payload]].concat()).collect()
    }

    /// What RFC 8200's receiver makes of fragments that came whole.
    fn reassemble(fragments: &[Vec<u8>]) -> Vec<u8> {
        let mut pieces: Vec<_> = fragments
            .iter()
            .map(|bytes| (Ip6Upper::find(&bytes[..]).unwrap().fragment.unwrap(), bytes))
            .collect();
        pieces.sort_by_key(|(fragment, _)| fragment.offset);
        let (first, bytes) = pieces[0];
        let mut whole = bytes[..first.header_at].to_vec();
        let named_at = shared_headers_end(&whole);
        whole[named_at] = bytes[first.header_at];
        for (position, (fragment, bytes)) in pieces.iter().enumerate() {
            assert_eq!(usize::from(fragment.offset), whole.len() - first.header_at);
            assert_eq!(fragment.more_fragments, position + 1 < pieces.len());
            whole.extend_from_slice(&bytes[first.header_at + 8..]);
        }
        let length = whole.len() - 40;
        Ip6Header::parse_mut(&mut whole).unwrap().0.set_payload_length(length as u16);
        whole
    }

    /// Where the last header of `headers` is that names the next one.
    fn shared_headers_end(headers: &[u8]) -> usize {
        if headers.len() == 40 { 6 } else { headers.len() - 8 }
    }

    // RFC 8200 §4.5: the per-fragment headers end with the routing header, else with the hop-by-hop options.
    #[test]
    fn headers_on_the_way_stand_in_each_fragment() {
        use IpProtocol as P;
        for (extensions, shared) in [
            (&[][..], 40),
            (&[P::HOP_BY_HOP], 48),
            (&[P::DESTINATION_OPTIONS], 40),
            (&[P::HOP_BY_HOP, P::DESTINATION_OPTIONS, P::ROUTING, P::DESTINATION_OPTIONS], 64),
        ] {
            let bytes = packet(extensions, 3000);
            let fragments = cut(&bytes, 1280);
            for fragment in &fragments {
                let upper = Ip6Upper::find(fragment).unwrap();
                assert_eq!(upper.fragment.unwrap().header_at, shared, "{extensions:?}");
            }
            assert_eq!(reassemble(&fragments), bytes);
        }
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let refusal = |bytes: &[u8], mtu| Ip6Fragments::new(bytes, mtu, 1).map(drop);
        assert_eq!(refusal(&packet(&[], 100), 55), Err(Ip6FragmentRefusal::MtuTooSmall));
        assert_eq!(refusal(&packet(&[], 100), 56), Ok(()));
        assert_eq!(
            refusal(&packet(&[IpProtocol::FRAGMENT], 8), 60),
            Err(Ip6FragmentRefusal::AlreadyFragment)
        );
        assert_eq!(refusal(&packet(&[IpProtocol::ROUTING; 9], 8), 200), Err(Ip6FragmentRefusal::Malformed));
        assert_eq!(
            refusal(&packet(&[IpProtocol::ROUTING], 8)[..47], 200),
            Err(Ip6FragmentRefusal::Malformed)
        );
        assert_eq!(refusal(&packet(&[], 0), 60), Err(Ip6FragmentRefusal::Malformed));
        assert_eq!(refusal(&[0x60; 39], 60), Err(Ip6FragmentRefusal::Malformed));
    }

    proptest! {
        #[test]
        fn fragmentation_then_reassembly_is_identity(payload in 1..9000usize, mtu in 56..4000usize) {
            let bytes = packet(&[], payload);
            let mut fragments = cut(&bytes, mtu);
            for fragment in &fragments {
                let header = Ip6Header::check(fragment, fragment.len()).unwrap();
                prop_assert!(fragment.len() <= mtu && header.total_length() == fragment.len());
                prop_assert_eq!(header.hop_limit(), 9);
            }
            fragments.reverse();
            prop_assert_eq!(reassemble(&fragments), bytes);
        }

        #[test]
        fn no_header_makes_it_panic_or_go_on_for_ever(
            bytes in proptest::collection::vec(any::<u8>(), 0..120), mtu in 0..200usize,
        ) {
            if let Ok(fragments) = Ip6Fragments::new(&bytes, mtu, 1) {
                prop_assert!(fragments.count() <= 65_535 / 8 + 1);
            }
        }
    }
}
