//! What is for raddle itself.

mod l4_checksum;
mod own;
mod own_table;

pub use own::OwnAddresses;
pub use own_table::OwnTable;
