//! One routing table: a FIB of each family.
#![forbid(unsafe_code)]

use std::io;
use std::net::IpAddr;

use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::wire::IpPrefix;

use crate::net::adjacency::Family;
use crate::net::fib::{Action, Address, Fib, FibError, Forwarding, Prefix, Source};
use crate::net::leaf_resolver::{LINK_LOCAL_TABLE, LeafResolver};
use crate::net::route_view::{Names, RouteInfo};

/// What is in every table and is never forwarded, whatever other routes say (RFC 1812 §5.3.7, RFC 4291 §2.5), and
/// link-local destinations, which are looked up with their interface.
pub(super) const FIXED: [(&str, Action); 5] = [
    ("0.0.0.0/8", Action::Blackhole),
    ("127.0.0.0/8", Action::Blackhole),
    ("::/128", Action::Blackhole),
    ("::1/128", Action::Blackhole),
    ("fe80::/10", Action::Table { table: LINK_LOCAL_TABLE }),
];

/// A table.
pub(super) struct Table {
    pub(super) id: u32,
    pub(super) ip4: Fib<u32>,
    pub(super) ip6: Fib<u128>,
}

impl Table {
    pub(super) fn new(id: u32) -> io::Result<Self> {
        Ok(Self { id, ip4: Fib::new()?, ip6: Fib::new()? })
    }

    /// Puts a source's route in, or takes it out.
    pub(super) fn change(
        &mut self,
        prefix: IpPrefix,
        source: Source,
        action: Option<Action>,
        resolver: &mut LeafResolver<'_>,
    ) -> Result<(), FibError> {
        match prefix {
            IpPrefix::V4(prefix) => {
                let key = Prefix::containing(prefix.network().to_bits(), prefix.length());
                change(&mut self.ip4, key, source, action, resolver)
            }
            IpPrefix::V6(prefix) => {
                let key = Prefix::containing(prefix.network().to_bits(), prefix.length());
                change(&mut self.ip6, key, source, action, resolver)
            }
        }
    }

    /// What packets to the address meet.
    pub(super) fn forwarding(&self, address: IpAddr) -> Option<&Forwarding> {
        match address {
            IpAddr::V4(ip) => self.ip4.longest_match(ip.to_bits()).map(|view| view.forwarding),
            IpAddr::V6(ip) => self.ip6.longest_match(ip.to_bits()).map(|view| view.forwarding),
        }
    }

    /// Whether the address, leaving aside routes to itself alone, is a neighbour's on the interface.
    pub(super) fn has_neighbor(&self, address: IpAddr, interface: InterfaceIndex) -> bool {
        let forwarding = match address {
            IpAddr::V4(ip) => cover(&self.ip4, ip.to_bits(), interface),
            IpAddr::V6(ip) => cover(&self.ip6, ip.to_bits(), interface),
        };
        forwarding.is_some_and(|forwarding| *forwarding == Forwarding::Glean { interface: interface.0 })
    }

    /// The route of exactly this prefix, else the longest that covers it.
    pub(super) fn find(&self, prefix: IpPrefix, names: Names<'_>) -> Option<RouteInfo> {
        match prefix {
            IpPrefix::V4(prefix) => {
                let key = Prefix::containing(prefix.network().to_bits(), prefix.length());
                find(&self.ip4, key, names)
            }
            IpPrefix::V6(prefix) => {
                let key = Prefix::containing(prefix.network().to_bits(), prefix.length());
                find(&self.ip6, key, names)
            }
        }
    }

    /// Up to `most` prefixes behind `after` that have a route of `source`, out of the next few thousand; and where to go on.
    pub(super) fn prefixes_of(
        &self,
        source: Source,
        after: Option<IpPrefix>,
        most: usize,
    ) -> (Vec<IpPrefix>, Option<IpPrefix>) {
        const LOOKED_AT: usize = 4096;
        let (mut after4, mut after6) = (None, None);
        match after {
            Some(IpPrefix::V4(after)) => {
                after4 = Some(Prefix::containing(after.network().to_bits(), after.length()));
            }
            Some(IpPrefix::V6(after)) => {
                after6 = Some(Prefix::containing(after.network().to_bits(), after.length()));
            }
            None => {}
        }
        let ip4 = after6.is_none().then(|| of_source(&self.ip4, after4, source)).into_iter().flatten();
        let all = ip4.chain(of_source(&self.ip6, after6, source));
        let (mut found, mut last) = (Vec::new(), None);
        for (looked, (prefix, is_source)) in all.enumerate() {
            if looked >= LOOKED_AT || found.len() >= most {
                return (found, last);
            }
            last = Some(prefix);
            if is_source {
                found.push(prefix);
            }
        }
        (found, None)
    }

    /// What the routes say, each text once.
    pub(super) fn actions(&self) -> impl Iterator<Item = &Action> {
        self.ip4.actions().chain(self.ip6.actions())
    }

    /// Routes of a family.
    pub(super) fn len(&self, family: Family) -> usize {
        match family {
            Family::Ip4 => self.ip4.len(),
            Family::Ip6 => self.ip6.len(),
        }
    }

    pub(super) fn set_epoch(&mut self, epoch: u64) {
        self.ip4.set_epoch(epoch);
        self.ip6.set_epoch(epoch);
    }

    pub(super) fn reclaim(&mut self, epoch: u64, resolver: &mut LeafResolver<'_>) {
        resolver.family = Family::Ip4;
        self.ip4.reclaim(epoch, resolver);
        resolver.family = Family::Ip6;
        self.ip6.reclaim(epoch, resolver);
    }

    /// What waits for readers.
    pub(super) fn retired(&self) -> usize {
        self.ip4.retired() + self.ip6.retired()
    }
}

fn change<A: Address>(
    fib: &mut Fib<A>,
    prefix: Prefix<A>,
    source: Source,
    action: Option<Action>,
    resolver: &mut LeafResolver<'_>,
) -> Result<(), FibError> {
    match action {
        Some(action) => fib.add(prefix, source, action, resolver),
        None => fib.remove(prefix, source, resolver),
    }
}

/// What the longest prefix shorter than the address itself comes to; only asked where the interface has on-link routes
/// at all.
fn cover<A: Address>(fib: &Fib<A>, address: A, interface: InterfaceIndex) -> Option<&Forwarding> {
    if !fib.says(&Action::Connected { interface: interface.0 }) {
        return None;
    }
    fib.cover(Prefix::host(address)).map(|view| view.forwarding)
}

fn find<A: Address>(fib: &Fib<A>, key: Prefix<A>, names: Names<'_>) -> Option<RouteInfo> {
    fib.exact(key).or_else(|| fib.cover(key)).map(|view| RouteInfo::of(&view, names))
}

fn of_source<A: Address>(
    fib: &Fib<A>,
    after: Option<Prefix<A>>,
    source: Source,
) -> impl Iterator<Item = (IpPrefix, bool)> {
    fib.sources_after(after).filter_map(move |(prefix, mut sources)| {
        let named = IpPrefix::containing(prefix.address().to_ip(), prefix.len()).ok()?;
        Some((named, sources.any(|known| known == source)))
    })
}
