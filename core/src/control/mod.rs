//! The operator's side: configuration file, command language, control socket.

#![forbid(unsafe_code)]

pub mod address;
pub mod language;
