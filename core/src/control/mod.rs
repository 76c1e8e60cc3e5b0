//! The operator's side: configuration file, command language, control socket.

#![forbid(unsafe_code)]

pub mod client;
mod commands;
pub mod config;
pub mod executor;
pub mod language;
mod names;
mod pending;
pub mod protocol;
pub mod render;
pub mod server;
pub mod socket;

#[cfg(test)]
mod executor_tests;
#[cfg(test)]
pub(crate) mod test_engine;
