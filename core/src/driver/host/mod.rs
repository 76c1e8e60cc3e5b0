//! What drivers ask of the Linux host: its links over rtnetlink, its network namespaces, addresses that stay the same.

mod links;
mod mac;
mod message;
mod namespace;

pub use links::{HostError, HostLinks, Link};
pub use mac::stable_mac;
pub use namespace::{Namespace, NamespaceError};
