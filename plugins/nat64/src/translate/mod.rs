//! Translation between IPv4 and IPv6: addresses, headers and whole packets. No state, no clock.

mod error;
mod hop;
mod icmp;
mod ip;
mod prefix;

pub use error::{Malformed, Translated, translate_error4, translate_error6};
pub use icmp::{IcmpErrorKind, plateau_below, translate_kind4, translate_kind6};
pub use ip::{Ends4, Ends6, Fragment4, Outgoing4, Outgoing6, ip4_header, ip6_header, pseudo4, pseudo6};
pub use prefix::{Nat64Prefix, PrefixError, is_non_global};
