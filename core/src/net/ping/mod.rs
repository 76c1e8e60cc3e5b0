//! `ping`: echo requests and their answers.
#![forbid(unsafe_code)]

mod command;
mod ping_input;
mod report;
mod request;
mod sessions;

pub use ping_input::PingInput;
pub use sessions::Pings;
