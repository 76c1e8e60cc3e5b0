//! Fragmentation: IPv4 packets on their way, and IPv6 packets that are made here.

mod identification;
mod ip4_fragment;
mod ip4_plan;
mod ip6_fragment;
mod ip6_plan;

pub use ip4_fragment::{Ip4Fragment, Ip4FragmentError, Ip4FragmentNext};
pub use ip4_plan::{Ip4FragmentHeader, Ip4FragmentRefusal, Ip4Fragments};
pub use ip6_fragment::{Ip6Fragment, Ip6FragmentError, Ip6FragmentNext};
pub use ip6_plan::{Ip6FragmentRefusal, Ip6Fragments};
