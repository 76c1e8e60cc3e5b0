//! The command line of the binary `raddle`.

#![forbid(unsafe_code)]

mod args;
mod config;
mod ctl;
mod dispatch;
mod exit;
mod history;
mod run;
mod shell;

pub use dispatch::main;
pub use exit::Exit;
pub use run::Engine;
