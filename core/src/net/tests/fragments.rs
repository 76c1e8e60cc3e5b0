//! Datagrams cut into fragments.

use proptest::prelude::*;
use raddle_plugin_api::wire::{Ip4Header, Ip6FragmentHeader, Ip6Header, IpProtocol};
use zerocopy::IntoBytes;

/// A stretch of a datagram's data: where it begins and ends.
pub type Cut = (usize, usize);

/// Cuts `length` bytes at these places, rounded down to multiples of 8.
pub fn cuts(length: usize, places: &[usize]) -> Vec<Cut> {
    let mut ends: Vec<_> = places.iter().map(|place| (place % length.max(1)) & !7).collect();
    ends.extend([0, length]);
    ends.sort_unstable();
    ends.dedup();
    ends.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

/// The fragment of the IPv4 packet `whole` that has these bytes of its payload.
pub fn fragment4(whole: &[u8], (start, end): Cut) -> Vec<u8> {
    let payload = Ip4Header::payload(whole);
    let header_length = whole.len() - payload.len();
    let mut bytes = whole[..header_length].to_vec();
    bytes.extend(&payload[start..end]);
    let (ip, _) = Ip4Header::parse_mut(&mut bytes).unwrap();
    ip.set_total_length((header_length + end - start) as u16);
    ip.set_fragment(start as u16, end < payload.len());
    bytes
}

/// The fragment of the IPv6 packet `whole` that has these bytes of what is behind its first `front` bytes, whose next
/// header is named at `named_at`.
pub fn fragment6(
    whole: &[u8],
    front: usize,
    named_at: usize,
    identification: u32,
    (start, end): Cut,
) -> Vec<u8> {
    let (head, data) = whole.split_at(front);
    let mut bytes = head.to_vec();
    let next = IpProtocol(std::mem::replace(&mut bytes[named_at], IpProtocol::FRAGMENT.0));
    let header = Ip6FragmentHeader::new(next, start as u16, end < data.len(), identification);
    bytes.extend(header.as_bytes());
    bytes.extend(&data[start..end]);
    let length = bytes.len() - Ip6Header::LENGTH;
    Ip6Header::parse_mut(&mut bytes).unwrap().0.set_payload_length(length as u16);
    bytes
}

/// An order in which `count` fragments come, some of them twice.
pub fn order(count: usize) -> impl Strategy<Value = Vec<usize>> {
    let each = Just((0..count).collect::<Vec<_>>()).prop_shuffle();
    (each, proptest::collection::vec((0..count, 0..count), 0..4)).prop_map(|(mut order, again)| {
        for (which, at) in again {
            let known = order[..=at].contains(&which);
            if known && at + 1 < order.len() {
                order.insert(at + 1, which);
            }
        }
        order
    })
}
