//! What is for raddle itself, and what it sends.
#![forbid(unsafe_code)]

mod init;
mod ip4_local;
mod ip6_local;
mod l4_checksum;
mod local_arc;
mod local_output;
mod own;
mod own_table;
mod proxy;
mod tcp_reset;

pub use ip4_local::Ip4Local;
pub use ip6_local::Ip6Local;
pub use local_output::{LocalNext, LocalOutput, LocalOutputNode};
pub use own::{OnLink, OwnAddresses};
pub use own_table::OwnTable;
pub use proxy::Proxy;
pub use tcp_reset::TcpReset;
