//! The laboratory of the black-box tests: network namespaces, the daemon between them, real clients, and a judge that
//! decodes packets independently of raddle.
//!
//! A test reads: [`requirement::met`], a [`Topology`] of hosts, a [`Daemon`] in its router namespace, clients and the
//! [`Judge`] in the hosts, and at its end [`Daemon::stop`], which also checks that nothing is left behind.
//! Whatever a test makes is named after its process, removed when dropped, and swept by the next run should the
//! process have been killed.

#![forbid(unsafe_code)]

pub mod bird;
pub mod command;
pub mod daemon;
pub mod daemon_config;
pub mod dns64;
pub mod esp;
pub mod host_side;
pub mod iperf;
pub mod judge;
pub mod namespace;
pub mod observe;
pub mod ping;
pub mod process;
pub mod requirement;
pub mod scratch;
pub mod sweep;
pub mod test_plugin;
pub mod topology;
pub mod udp_flow;
pub mod wait;
pub mod web;

pub use bird::Bird;
pub use daemon::{Daemon, raddle, target_dir};
pub use daemon_config::DaemonConfig;
pub use dns64::Dns64;
pub use iperf::{IperfServer, iperf};
pub use judge::Judge;
pub use namespace::Namespace;
pub use ping::ping;
pub use process::Process;
pub use requirement::Need;
pub use test_plugin::TestPlugin;
pub use topology::{Host, HostSpec, Topology};
pub use udp_flow::UdpFlow;
pub use wait::wait_until;
pub use web::{WebServer, fetch};
