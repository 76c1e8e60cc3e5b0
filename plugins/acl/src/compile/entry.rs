//! What packets and rules are to the classifier: words that are compared under a mask, and two ranges.

/// Words of an IPv4 key: source, destination, [`meta`], ports.
pub const WORDS4: usize = 4;
/// Words of an IPv6 key: source and destination in four words each, [`meta`], ports.
pub const WORDS6: usize = 10;
/// Where [`meta`] stands in an IPv4 key.
pub const META4: usize = 2;
/// Where [`meta`] stands in an IPv6 key.
pub const META6: usize = 8;

/// In [`meta`]: the transport header is known.
pub const TRANSPORT: u32 = 1 << 0;
/// In [`meta`]: the packet is a first fragment.
pub const FIRST_FRAGMENT: u32 = 1 << 1;
/// In [`meta`]: the packet is a fragment other than the first.
pub const LATER_FRAGMENT: u32 = 1 << 2;

/// What of a packet is compared bit by bit, beside its addresses: protocol, TCP flags, DSCP, and the bits above.
#[inline(always)]
pub const fn meta(protocol: u8, flags: u8, dscp: u8, bits: u32) -> u32 {
    (protocol as u32) << 24 | (flags as u32) << 16 | (dscp as u32) << 8 | bits
}

/// What a packet is classified by. The last word holds the ports, source above destination; of ICMP its type and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Key<const W: usize> {
    /// The words.
    pub words: [u32; W],
}

/// Of an IPv4 packet.
pub type Key4 = Key<WORDS4>;
/// Of an IPv6 packet.
pub type Key6 = Key<WORDS6>;

impl<const W: usize> Default for Key<W> {
    fn default() -> Self {
        Self { words: [0; W] }
    }
}

/// A rule, or a part of one that names a single pair of prefixes and of port ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<const W: usize> {
    /// What a key's words are under the masks. That of the ports is 0: they are compared as ranges.
    pub values: [u32; W],
    /// Bits that are compared.
    pub masks: [u32; W],
    /// The first source port, and how many more there are.
    pub source: (u16, u16),
    /// The first destination port, and how many more there are.
    pub destination: (u16, u16),
    /// The rule, by its place in the lists.
    pub rule: u32,
}

impl<const W: usize> Entry<W> {
    /// Whether the entry matches, without a branch.
    #[inline(always)]
    pub fn matches(&self, key: &Key<W>) -> bool {
        let mut differ = 0;
        for word in 0..W {
            differ |= (key.words[word] & self.masks[word]) ^ self.values[word];
        }
        let ports = key.words[W - 1];
        let source = ((ports >> 16) as u16).wrapping_sub(self.source.0) > self.source.1;
        let destination = (ports as u16).wrapping_sub(self.destination.0) > self.destination.1;
        differ == 0 && !(source | destination)
    }

    /// Whether whatever `other` matches is matched by this one.
    pub fn covers(&self, other: &Self) -> bool {
        let words = (0..W).all(|word| {
            self.masks[word] & !other.masks[word] == 0
                && other.values[word] & self.masks[word] == self.values[word]
        });
        words && is_within(other.source, self.source) && is_within(other.destination, self.destination)
    }

    /// Whether every packet matches.
    pub fn is_all(&self) -> bool {
        self.masks == [0; W] && self.source.1 == u16::MAX && self.destination.1 == u16::MAX
    }
}

fn is_within(inner: (u16, u16), outer: (u16, u16)) -> bool {
    inner.0 >= outer.0 && u32::from(inner.0) + u32::from(inner.1) <= u32::from(outer.0) + u32::from(outer.1)
}
