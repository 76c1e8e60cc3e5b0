//! The command line of the binary `raddle`.

#![forbid(unsafe_code)]

mod args;
mod config;
mod ctl;
mod dispatch;
mod engine;
mod exit;
mod history;
mod output;
mod plugin;
mod run;
mod session;
mod shell;
mod top;

pub use dispatch::main;
pub use engine::Engine;
pub use exit::Exit;
