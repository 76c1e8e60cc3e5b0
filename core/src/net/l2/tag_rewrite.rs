//! Rewriting of VLAN tags on frames that are switched: what is asked for, and what is done to a frame.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use raddle_plugin_api::{Failure, Packet, bail};
use serde::{Deserialize, Serialize};

use crate::net::vlan::{Selection, TAG_BYTES, Tag, TagProtocol, first_tag, put_tags, take_tags};

/// What is done to the tags of frames as they come in by an interface, for a cross-connect or a bridge to see; the reverse
/// is done to what leaves by it. In words:
///
/// - `pop 1`, `pop 2`: tags are taken off;
/// - `push TAG`, `push TAG TAG`: tags are put on;
/// - `translate 1-1 TAG`, `translate 1-2 TAG TAG`, `translate 2-1 TAG`, `translate 2-2 TAG TAG`: tags are replaced, the first
///   number of them by the second. The outer one keeps its priority.
///
/// A tag is a VLAN, `100`, with its kind if that is not the usual one: `802.1ad:100`. Of two the outer one is usually a service
/// tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TagRewrite {
    pop: u8,
    push: [Option<Tag>; 2],
}

impl TagRewrite {
    fn pushed(&self) -> impl Iterator<Item = Tag> {
        self.push.into_iter().flatten()
    }

    /// What is done to frames that come in.
    pub fn input(&self) -> TagChange {
        TagChange::new(self.pop, self.pushed())
    }

    /// What is done to frames that leave by an interface that takes frames of this selection (`None`: any).
    ///
    /// # Errors
    /// It would have to put on tags that nobody knows.
    pub fn output(&self, selection: Option<Selection>) -> Result<TagChange, Failure> {
        let own = selection.map(Selection::tags).unwrap_or_default();
        let pop = usize::from(self.pop);
        if pop > own.len() {
            bail!(
                "`{self}` takes off {pop} VLAN tags, of which the interface says {}: they could not be put on again",
                own.len()
            );
        }
        Ok(TagChange::new(self.pushed().count() as u8, own.into_iter().take(pop)))
    }
}

impl fmt::Display for TagRewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pop, self.pushed().count()) {
            (pop, 0) => write!(f, "pop {pop}")?,
            (0, _) => f.write_str("push")?,
            (pop, push) => write!(f, "translate {pop}-{push}")?,
        }
        self.pushed().try_for_each(|tag| write!(f, " {tag}"))
    }
}

impl FromStr for TagRewrite {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (pop, push, tags) = match words.as_slice() {
            ["pop", "1"] => (1, 0, &[][..]),
            ["pop", "2"] => (2, 0, &[][..]),
            ["push", tags @ ..] => (0, tags.len(), tags),
            ["translate", "1-1", tags @ ..] => (1, 1, tags),
            ["translate", "1-2", tags @ ..] => (1, 2, tags),
            ["translate", "2-1", tags @ ..] => (2, 1, tags),
            ["translate", "2-2", tags @ ..] => (2, 2, tags),
            _ => bail!(
                "`{text}` is no tag rewrite: expected `pop 1|2`, `push TAG [TAG]`, or `translate 1-1|1-2|2-1|2-2 TAG [TAG]`"
            ),
        };
        if tags.len() != push || tags.len() > 2 || pop == 0 && tags.is_empty() {
            bail!("`{text}` is no tag rewrite: it has {} tags", tags.len());
        }
        let mut rewrite = Self { pop, push: [None; 2] };
        for (place, word) in rewrite.push.iter_mut().zip(tags) {
            *place = Some(word.parse()?);
        }
        // Of two tags without a word on their kinds, the outer one is a service tag.
        if let ([Some(outer), Some(_)], [first, _]) = (&mut rewrite.push, tags)
            && !first.contains(':')
        {
            outer.protocol = TagProtocol::Service;
        }
        Ok(rewrite)
    }
}

impl TryFrom<String> for TagRewrite {
    type Error = Failure;

    fn try_from(text: String) -> Result<Self, Failure> {
        text.parse()
    }
}

impl From<TagRewrite> for String {
    fn from(rewrite: TagRewrite) -> Self {
        rewrite.to_string()
    }
}

impl schemars::JsonSchema for TagRewrite {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TagRewrite".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^(pop [12]|push .+|translate [12]-[12] .+)$" })
    }
}

/// Tags off, tags on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagChange {
    pop: u8,
    count: u8,
    push: [[u8; TAG_BYTES]; 2],
}

/// Why a frame cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagRefusal {
    /// It has fewer tags than are to be taken off.
    Missing,
    /// There is no room for a tag.
    NoRoom,
}

impl TagChange {
    fn new(pop: u8, tags: impl Iterator<Item = Tag>) -> Self {
        let mut change = Self { pop, count: 0, push: [[0; TAG_BYTES]; 2] };
        for (place, tag) in change.push.iter_mut().zip(tags) {
            *place = tag.bytes(0);
            change.count += 1;
        }
        change
    }

    /// Changes a frame. One that cannot be changed is to be dropped.
    ///
    /// # Errors
    /// It cannot.
    #[inline]
    pub fn apply(&self, packet: &mut Packet<'_>) -> Result<(), TagRefusal> {
        let mut class = 0;
        for number in 0..self.pop {
            let (_, control, _) = first_tag(packet.bytes()).ok_or(TagRefusal::Missing)?;
            if number == 0 {
                class = (control >> 8) as u8 & 0xf0;
            }
            if !take_tags(packet, 1) {
                return Err(TagRefusal::Missing);
            }
        }
        let mut push = self.push;
        // Priority and drop eligibility go over to the tag that comes in the place of the first one.
        push[0][2] |= class;
        let push = &push[..usize::from(self.count).min(push.len())];
        if push.is_empty() || put_tags(packet, push) { Ok(()) } else { Err(TagRefusal::NoRoom) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::vlan::Tags;

    #[test]
    fn rewrites_are_written_as_they_are_read() {
        for (text, written) in [
            ("pop 1", "pop 1"),
            ("pop 2", "pop 2"),
            ("push 100", "push 802.1q:100"),
            ("push 100 200", "push 802.1ad:100 802.1q:200"),
            ("push 802.1q:100 200", "push 802.1q:100 802.1q:200"),
            ("translate 1-1 802.1ad:7", "translate 1-1 802.1ad:7"),
            ("translate  2-1  7", "translate 2-1 802.1q:7"),
            ("translate 2-2 7 8", "translate 2-2 802.1ad:7 802.1q:8"),
        ] {
            let rewrite: TagRewrite = text.parse().unwrap();
            assert_eq!(rewrite.to_string(), written);
            assert_eq!(written.parse::<TagRewrite>().unwrap(), rewrite);
        }
        for wrong in [
            "",
            "pop",
            "pop 3",
            "pop 1 5",
            "push",
            "push 1 2 3",
            "translate 1-1",
            "translate 1-2 5",
            "push 4095",
        ] {
            assert!(wrong.parse::<TagRewrite>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_way_out_puts_on_what_the_interface_says() {
        let outer = Tag { protocol: TagProtocol::Service, vlan: 5 };
        let two = Some(Selection::Tags(Tags::Two(outer, 6)));
        let rewrite = |text: &str| text.parse::<TagRewrite>().unwrap();
        let out = rewrite("translate 2-1 9").output(two).unwrap();
        assert_eq!((out.pop, out.count), (1, 2));
        assert_eq!(out.push, [outer.bytes(0), Tag { protocol: TagProtocol::Customer, vlan: 6 }.bytes(0)]);
        assert_eq!(rewrite("push 9").output(None).unwrap(), TagChange::new(1, std::iter::empty()));
        let error = rewrite("pop 1").output(None).unwrap_err().to_string();
        assert!(error.contains("takes off 1 VLAN tags, of which the interface says 0"), "{error}");
        let one = Some(Selection::Tags(Tags::One(outer)));
        assert!(rewrite("pop 2").output(one).is_err() && rewrite("pop 1").output(one).is_ok());
    }
}
