//! Addresses are tried for duplicates before they are used, announced when they are, and defended while they are (RFC 5227,
//! RFC 4862 §5.4, RFC 7527).
#![forbid(unsafe_code)]

mod init;
mod machine;
#[cfg(test)]
mod machine_tests;
mod service;

pub use machine::{Detection, Effect, Word};
pub use service::DuplicateDetection;
