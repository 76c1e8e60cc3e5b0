//! What drivers ask of the Linux host: its links over rtnetlink, its network namespaces, addresses that stay the same.

mod links;
mod mac;
mod message;

pub use links::{HostError, HostLinks, Link};
pub use mac::stable_mac;
pub use raddle_plugin_api::namespace::{Namespace, NamespaceError, NamespaceId};
