//! Fields of headers: name, place, and what is filled in when nothing is said.

use super::value::Kind;

/// What a field holds when the template does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auto {
    /// What the layer's usual header has.
    Usual,
    /// It must be said.
    Required,
    /// What announces the next layer.
    NextLayer,
    /// Bytes from here (that many behind the layer's start) to the packet's end.
    Length(usize),
    /// The header's own length in units of 4 bytes.
    HeaderLength,
}

/// A field of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its word.
    pub name: &'static str,
    /// How its value is written, and how many bits it has.
    pub kind: Kind,
    /// Offset in the header of the bytes that hold it.
    pub offset: usize,
    /// How many bytes that is: 1, 2, 4, 6 or 16.
    pub width: usize,
    /// Bits behind it in these bytes.
    pub shift: u32,
    /// What is filled in.
    pub auto: Auto,
    /// Whether it may have several values.
    pub varies: bool,
}

const fn number(name: &'static str, bits: u32, offset: usize, width: usize) -> Field {
    Field { name, kind: Kind::Number(bits), offset, width, shift: 0, auto: Auto::Usual, varies: true }
}

const fn address(name: &'static str, kind: Kind, offset: usize) -> Field {
    let width = match kind {
        Kind::Mac => 6,
        Kind::Ip6 => 16,
        Kind::Ip4 | Kind::Number(_) => 4,
    };
    Field { name, kind, offset, width, shift: 0, auto: Auto::Required, varies: true }
}

impl Field {
    const fn auto(mut self, auto: Auto) -> Self {
        self.auto = auto;
        self
    }

    /// A few bits among others, which take one value.
    const fn fixed(mut self, shift: u32) -> Self {
        self.shift = shift;
        self.varies = false;
        self
    }
}

pub(super) const ETH: &[Field] = &[
    address("source", Kind::Mac, 6),
    address("destination", Kind::Mac, 0),
    number("type", 16, 12, 2).auto(Auto::NextLayer),
];

pub(super) const VLAN: &[Field] = &[
    number("id", 12, 0, 2).auto(Auto::Required),
    number("priority", 3, 0, 2).fixed(13),
    number("type", 16, 2, 2).auto(Auto::NextLayer),
];

pub(super) const ARP: &[Field] = &[
    address("source", Kind::Ip4, 14),
    address("destination", Kind::Ip4, 24),
    number("operation", 16, 6, 2),
    address("sender-mac", Kind::Mac, 8).auto(Auto::Usual),
    address("target-mac", Kind::Mac, 18).auto(Auto::Usual),
];

pub(super) const IP4: &[Field] = &[
    address("source", Kind::Ip4, 12),
    address("destination", Kind::Ip4, 16),
    number("ttl", 8, 8, 1),
    number("tos", 8, 1, 1),
    number("id", 16, 4, 2),
    number("offset", 13, 6, 2).fixed(0),
    number("protocol", 8, 9, 1).auto(Auto::NextLayer),
    number("length", 16, 2, 2).auto(Auto::Length(0)),
    number("version", 4, 0, 1).fixed(4),
    number("header-length", 4, 0, 1).fixed(0).auto(Auto::HeaderLength),
];

pub(super) const IP6: &[Field] = &[
    address("source", Kind::Ip6, 8),
    address("destination", Kind::Ip6, 24),
    number("hop-limit", 8, 7, 1),
    number("flow-label", 20, 0, 4),
    number("traffic-class", 8, 0, 4).fixed(20),
    number("next-header", 8, 6, 1).auto(Auto::NextLayer),
    number("length", 16, 4, 2).auto(Auto::Length(40)),
    number("version", 4, 0, 4).fixed(28),
];

pub(super) const EXTENSION: &[Field] =
    &[number("next-header", 8, 0, 1).auto(Auto::NextLayer), number("length", 8, 1, 1)];

pub(super) const FRAGMENT: &[Field] = &[
    number("next-header", 8, 0, 1).auto(Auto::NextLayer),
    number("offset", 13, 2, 2).fixed(3),
    number("id", 32, 4, 4),
];

pub(super) const UDP: &[Field] = &[
    number("source", 16, 0, 2).auto(Auto::Required),
    number("destination", 16, 2, 2).auto(Auto::Required),
    number("length", 16, 4, 2).auto(Auto::Length(0)),
];

pub(super) const TCP: &[Field] = &[
    number("source", 16, 0, 2).auto(Auto::Required),
    number("destination", 16, 2, 2).auto(Auto::Required),
    number("seq", 32, 4, 4),
    number("ack", 32, 8, 4),
    number("window", 16, 14, 2),
    number("urgent", 16, 18, 2),
    number("data-offset", 4, 12, 1).fixed(4).auto(Auto::HeaderLength),
];

pub(super) const ICMP: &[Field] =
    &[number("type", 8, 0, 1), number("code", 8, 1, 1), number("id", 16, 4, 2), number("seq", 16, 6, 2)];

#[cfg(test)]
mod tests {
    use super::super::layer::LayerKind;
    use super::*;

    #[test]
    fn every_field_lies_in_its_header_and_words_are_told_apart() {
        for kind in LayerKind::ALL {
            let header = kind.header().len();
            let mut names: Vec<&str> = kind.fields().iter().map(|field| field.name).collect();
            if !kind.flags_are_listed() {
                names.extend(kind.flags().iter().map(|flag| flag.0));
            }
            for field in kind.fields() {
                assert!(field.offset + field.width <= header, "{kind:?} {}", field.name);
                assert!(field.kind.bits() + field.shift <= 8 * field.width as u32, "{kind:?} {}", field.name);
            }
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{kind:?}");
        }
    }

    #[test]
    fn fields_that_vary_share_no_bytes() {
        for kind in LayerKind::ALL {
            let varying: Vec<&Field> = kind.fields().iter().filter(|field| field.varies).collect();
            for (position, a) in varying.iter().enumerate() {
                for b in &varying[position + 1..] {
                    let apart = a.offset + a.width <= b.offset || b.offset + b.width <= a.offset;
                    assert!(apart, "{kind:?} {} {}", a.name, b.name);
                }
            }
        }
    }
}
