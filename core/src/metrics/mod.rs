//! Metrics: what raddle counts, as OpenMetrics text over HTTP.
#![forbid(unsafe_code)]

mod connection;
mod exposition;
mod families;
mod process;
mod server;
mod service;
mod text;

pub use exposition::render;
pub use server::{MetricsError, MetricsServer, Source};
pub use service::MetricsService;
