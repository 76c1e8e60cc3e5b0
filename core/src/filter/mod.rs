//! Packet filters in tcpdump's language: compiled by libpcap where it is installed, run here.

mod aside;
mod expression;
mod libpcap;
mod program;

pub use aside::compile_aside;
pub use expression::{Filter, Link};
pub use libpcap::CompileError;
pub use program::{Instruction, Program, ProgramError};
