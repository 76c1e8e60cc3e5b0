//! Log lines of plugins, which the host writes with its own.
//!
//! The macros take what can write ([`Control`](crate::Control), a [`Worker`](crate::Worker)), and a message as
//! `format!` does. Lines of all plugins together are limited by the second.
//!
//! ```
//! use raddle_plugin_api::prelude::*;
//! use raddle_plugin_api::testing::Harness;
//!
//! fn init(control: &mut Control<'_>) -> Result<(), Failure> {
//!     log_info!(control, "{} threads", control.thread_count());
//!     Ok(())
//! }
//!
//! let mut host = Harness::builder().workers(2).build();
//! host.control(init).unwrap();
//! assert!(host.logged(LogLevel::INFO, "3 threads"));
//! host.worker(1, |worker| log_warn!(worker, "from thread {}", worker.thread_index()));
//! assert!(host.logged(LogLevel::WARN, "from thread 1"));
//! ```

use crate::abi::{HostTable, LogLevel, Text};

/// Writes a line.
///
/// # Safety
/// The host is alive. Any thread.
pub(crate) unsafe fn write(host: *const HostTable, level: LogLevel, message: &str) {
    // SAFETY: as the caller vouches; the texts live until the call returns.
    unsafe { ((*host).log)((*host).data, level, Text::EMPTY, Text::new(message)) };
}

/// Logs that something failed: `log_error!(control, "no memory for {count} entries")`.
#[macro_export]
macro_rules! log_error {
    ($to:expr, $($message:tt)+) => { $to.log($crate::abi::LogLevel::ERROR, ::std::format_args!($($message)+)) };
}

/// Logs that something is not as it should be.
#[macro_export]
macro_rules! log_warn {
    ($to:expr, $($message:tt)+) => { $to.log($crate::abi::LogLevel::WARN, ::std::format_args!($($message)+)) };
}

/// Logs what is worth knowing.
#[macro_export]
macro_rules! log_info {
    ($to:expr, $($message:tt)+) => { $to.log($crate::abi::LogLevel::INFO, ::std::format_args!($($message)+)) };
}

/// Logs what is for those who look for a fault.
#[macro_export]
macro_rules! log_debug {
    ($to:expr, $($message:tt)+) => { $to.log($crate::abi::LogLevel::DEBUG, ::std::format_args!($($message)+)) };
}
