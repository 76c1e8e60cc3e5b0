//! Whether a packet's transport checksum is right, over all of its buffers.

use raddle_plugin_api::Packet;
use raddle_plugin_api::wire::checksum::Sum;

/// Whether the `length` bytes of the packet from `offset` on, checksum included, add up right with the pseudo header's
/// sum. `false` if the packet is shorter.
pub fn is_checksum_right(packet: &Packet<'_>, offset: usize, length: usize, pseudo: Sum) -> bool {
    is_right(packet.segments(), offset, length, pseudo)
}

fn is_right<'s>(segments: impl Iterator<Item = &'s [u8]>, offset: usize, length: usize, pseudo: Sum) -> bool {
    let (mut skip, mut left, mut sum) = (offset, length, pseudo);
    for segment in segments {
        let from = skip.min(segment.len());
        skip -= from;
        let part = &segment[from..][..left.min(segment.len() - from)];
        left -= part.len();
        sum = sum.add_bytes(part);
        if left == 0 {
            break;
        }
    }
    left == 0 && sum.is_valid()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raddle_plugin_api::wire::checksum::checksum;

    use super::*;

    #[test]
    fn refuses_a_packet_shorter_than_it_says() {
        assert!(!is_right([&[0xff; 4][..]].into_iter(), 0, 6, Sum::new()));
        assert!(is_right([&[0xff; 4][..]].into_iter(), 0, 4, Sum::new()));
    }

    proptest! {
        #[test]
        fn agrees_with_the_sum_over_one_buffer(
            mut bytes in proptest::collection::vec(any::<u8>(), 2..200), cuts in proptest::collection::vec(0usize..200, 0..5),
            front in 0usize..40, behind in 0usize..20, flip in proptest::option::of(0usize..200),
        ) {
            bytes[..2].fill(0);
            let sum = checksum(&bytes);
            bytes[..2].copy_from_slice(&sum.to_be_bytes());
            let length = bytes.len();
            if let Some(flip) = flip {
                bytes[flip % length] ^= 1;
            }
            let whole = [vec![1; front], bytes, vec![2; behind]].concat();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let segments = cuts.windows(2).map(|pair| &whole[pair[0]..pair[1]]);
            prop_assert_eq!(is_right(segments, front, length, Sum::new()), flip.is_none());
        }
    }
}
