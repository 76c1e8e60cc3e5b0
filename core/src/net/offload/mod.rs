//! What devices do to packets, in software: GSO packets cut into segments, partial checksums filled in, segments merged.

mod gro;
mod gro_rules;
mod gso_headers;
mod part;
mod segment;
mod tx_offload;

pub use gro::{Ip4Gro, Ip6Gro};
pub use gso_headers::{GsoHeaders, Network, Transport, network_offset};
pub use part::{part, whole};
pub use segment::{Checksums, SegmentRefusal, segment};
pub use tx_offload::{TxOffload, TxOffloadError};
