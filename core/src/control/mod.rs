//! The operator's side: configuration file, command language, control socket.

#![forbid(unsafe_code)]

pub mod address;
pub mod client;
pub mod config;
pub mod language;
pub mod protocol;
pub mod render;
pub mod server;
pub mod socket;
