//! Redirects: hosts on a link hear of a better first hop there (RFC 1812 §5.2.7.2, RFC 4861 §8).
#![forbid(unsafe_code)]

mod ip4_redirect;
mod ip6_redirect;
mod message;
mod offer;

pub use ip4_redirect::Ip4Redirect;
pub use ip6_redirect::Ip6Redirect;
pub use offer::RedirectOffers;
