//! Which frames of its parent a sub-interface takes.
#![forbid(unsafe_code)]

use std::fmt;

use super::{Tag, TagProtocol};

/// Which frames a sub-interface takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Selection {
    /// Those with these tags.
    Tags(Tags),
    /// Tagged ones that no other sub-interface takes, as they are.
    Default,
    /// Those without a tag, or with one that says no more than a priority.
    Untagged,
}

/// The tags by which frames are told, and which a sub-interface takes off and puts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tags {
    /// One tag. Frames with more tags are meant too unless a sub-interface tells them by their second one; they keep it.
    One(Tag),
    /// The first of two or more tags, whatever the second.
    OneOfTwo(Tag),
    /// Two tags. The second is a customer tag.
    Two(Tag, u16),
}

impl Tags {
    /// The outer tag.
    pub const fn outer(self) -> Tag {
        match self {
            Self::One(outer) | Self::OneOfTwo(outer) | Self::Two(outer, _) => outer,
        }
    }

    /// The inner tag, where it is told apart.
    pub const fn inner(self) -> Option<Tag> {
        match self {
            Self::Two(_, vlan) => Some(Tag { protocol: TagProtocol::Customer, vlan }),
            _ => None,
        }
    }
}

impl Selection {
    /// The tags that are taken off what comes in and put on what leaves, outermost first.
    pub fn tags(self) -> Vec<Tag> {
        match self {
            Self::Tags(tags) => [Some(tags.outer()), tags.inner()].into_iter().flatten().collect(),
            Self::Default | Self::Untagged => Vec::new(),
        }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tags(Tags::One(tag)) => write!(f, "VLAN {tag}"),
            Self::Tags(Tags::OneOfTwo(tag)) => write!(f, "VLAN {tag} with any inner VLAN"),
            Self::Tags(Tags::Two(tag, inner)) => write!(f, "VLAN {tag} with inner VLAN {inner}"),
            Self::Default => f.write_str("the default VLAN"),
            Self::Untagged => f.write_str("untagged frames"),
        }
    }
}
