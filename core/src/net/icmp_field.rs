//! What a node asks of `ip4-icmp-error` and `ip6-icmp-error`, as plugins do.

pub use raddle_plugin_api::icmp_error::{IcmpRequest, icmp_field};
