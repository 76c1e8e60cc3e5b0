//! Packets of a capture file, sent again and again.

/// Packets one behind the other in memory.
#[derive(Debug, Default)]
pub struct Replay {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
}

/// More bytes than a replay holds.
pub const MAX_REPLAY_BYTES: usize = 512 << 20;

impl Replay {
    /// Puts a packet behind the others; `false`, and nothing done, if there is no room.
    pub fn push(&mut self, packet: &[u8]) -> bool {
        let end = self.bytes.len() + packet.len();
        if end > MAX_REPLAY_BYTES {
            return false;
        }
        self.bytes.extend_from_slice(packet);
        self.ends.push(end as u32);
        true
    }

    /// Number of packets.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Packet number `position`; empty if there is none.
    #[inline]
    pub fn packet(&self, position: usize) -> &[u8] {
        let end = self.ends.get(position).map_or(0, |&end| end as usize);
        let start =
            position.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |&end| end as usize);
        self.bytes.get(start..end).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_back_as_they_were_put_in() {
        let mut replay = Replay::default();
        assert!(replay.is_empty());
        for packet in [&[1, 2, 3][..], &[], &[4]] {
            assert!(replay.push(packet));
        }
        assert_eq!(replay.len(), 3);
        assert_eq!(replay.packet(0), [1, 2, 3]);
        assert!(replay.packet(1).is_empty());
        assert_eq!(replay.packet(2), [4]);
        assert!(replay.packet(3).is_empty());
    }
}
