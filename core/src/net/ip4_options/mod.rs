//! IPv4 options (RFC 791 §3.1, RFC 1812 §4.2.2.2, §5.2.4, RFC 7126).
#![forbid(unsafe_code)]

mod check;
mod command;
mod fill;
mod mode;
mod node;

pub use fill::fill;
pub use mode::{Ip4OptionsMode, Ip4OptionsPolicy, OptionFiller, SourceRoutes};
pub use node::Ip4Options;
