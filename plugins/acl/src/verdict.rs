//! Why nodes drop packets.

use raddle_plugin_api::prelude::*;

use crate::judge::Judgement;
use crate::link_rule::LinkRefusal;

error! {
    /// Why packets are dropped.
    pub enum AclError {
        Denied => "denied": "a rule denies it",
        NoMatch => "no-match": "no rule of the lists applied matches",
        SessionLimit => "session-limit": "the interface has as many sessions as it may have",
        TableFull => "table-full": "no room for one more session",
        SessionEnded => "session-ended": "its session was judged again by lists that have changed, and is not allowed any more",
        Malformed => "malformed": "IP header or extension headers cut short, out of order, or too many",
        Congested => "congested": "the thread that has its session takes no more packets",
        EtherType => "ethertype": "the ethertype is not on the interface's list",
        MacAddress => "mac-ip": "the MAC-IP rules do not allow the source",
    }
}

impl From<LinkRefusal> for AclError {
    fn from(refusal: LinkRefusal) -> Self {
        match refusal {
            LinkRefusal::EtherType => Self::EtherType,
            LinkRefusal::Mac => Self::MacAddress,
        }
    }
}

impl Judgement {
    /// Why the packet is dropped, if it is.
    #[inline(always)]
    pub fn error(self) -> Option<AclError> {
        Some(match self {
            Self::NoLists | Self::Session | Self::Related | Self::Permit(_) | Self::Reflect(_) => {
                return None;
            }
            Self::Deny(_) => AclError::Denied,
            Self::NoMatch => AclError::NoMatch,
            Self::Limit => AclError::SessionLimit,
            Self::Full => AclError::TableFull,
            Self::Ended => AclError::SessionEnded,
            Self::Malformed => AclError::Malformed,
            Self::HandOff(_) => AclError::Congested,
        })
    }

    /// The place of the rule that it is by.
    pub fn place(self) -> Option<u32> {
        match self {
            Self::Permit(place) | Self::Reflect(place) | Self::Deny(place) => Some(place),
            _ => None,
        }
    }

    /// As it is told.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoLists => "no lists",
            Self::Session => "session",
            Self::Related => "related to a session",
            Self::Permit(_) => "permit",
            Self::Reflect(_) => "permit, session begins",
            Self::Deny(_) => "deny",
            Self::NoMatch => "deny, no rule matches",
            Self::Limit => "deny, session limit",
            Self::Full => "deny, no room for sessions",
            Self::Ended => "deny, session ended",
            Self::Malformed => "deny, malformed",
            Self::HandOff(_) => "to the thread of its session",
        }
    }
}
