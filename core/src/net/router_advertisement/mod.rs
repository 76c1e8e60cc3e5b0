//! Router advertisements: hosts on a link are told that raddle is a router, and with what to configure themselves (RFC 4861 §6.2).
#![forbid(unsafe_code)]

mod command;
mod config;
mod consistency;
mod init;
mod leave;
mod message;
mod schedule;
mod service;

pub use config::{Mistake, Pref64Config, Preference, PrefixConfig, RouteConfig, RouterAdvertisementConfig};
pub use consistency::{Heard, HeardPrefix};
pub(super) use init::interface_event;
pub use leave::after_farewell;
pub use service::RouterAdvertisements;
