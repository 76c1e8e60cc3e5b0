//! What is for raddle itself.

mod ip4_local;
mod ip6_local;
mod l4_checksum;
mod own;
mod own_table;

pub use ip4_local::Ip4Local;
pub use ip6_local::Ip6Local;
pub use own::OwnAddresses;
pub use own_table::OwnTable;
