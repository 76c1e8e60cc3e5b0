//! What a route says and what it comes to: sources, next hops, and paths ready for forwarding.

use std::net::IpAddr;

/// Next hops that one route may have.
pub const MAX_NEXT_HOPS: usize = 256;

/// Who gave a route. Of several sources of one prefix the least in order wins: preference first, then owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Lower is better, as administrative distances are.
    pub preference: u8,
    /// Tells sources of one preference apart, such as plugins; 0 is the core itself.
    pub owner: u16,
}

impl Source {
    /// Addresses of interfaces and the networks they are connected to.
    pub const INTERFACE: Self = Self { preference: 0, owner: 0 };
    /// Routes by configuration and command.
    pub const STATIC: Self = Self { preference: 1, owner: 0 };
    /// Neighbours that were resolved on a connected network, as host routes.
    pub const NEIGHBOR: Self = Self { preference: 2, owner: 0 };

    /// Routes that were loaded from a file, or in batches.
    pub const LOADED: Self = Self { preference: 3, owner: 0 };

    /// A source of its own, such as a routing plugin; preferences below 10 are the core's.
    pub const fn dynamic(preference: u8, owner: u16) -> Self {
        Self { preference, owner }
    }
}

/// One next hop as a route names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// The router's address; none on a link where the destination itself is the neighbour. It may be of the other family
    /// (RFC 8950) when the interface is given.
    pub address: Option<IpAddr>,
    /// The interface's index; without one the address is looked up in the same table.
    pub interface: Option<u32>,
    /// Share of the flows, relative to the other next hops; 1 or more.
    pub weight: u16,
}

impl NextHop {
    /// A router on the link of an interface.
    pub fn on_link(address: IpAddr, interface: u32) -> Self {
        Self { address: Some(address), interface: Some(interface), weight: 1 }
    }

    /// A router that other routes of the table lead to.
    pub fn recursive(address: IpAddr) -> Self {
        Self { address: Some(address), interface: None, weight: 1 }
    }
}

/// What a route does with its packets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Sends by flow to one of these, at least one.
    Via(Vec<NextHop>),
    /// The destination is a neighbour on this interface, to be resolved.
    Connected {
        /// The interface's index.
        interface: u32,
    },
    /// The destination is an own address.
    Local {
        /// The interface that has the address, if it is one's.
        interface: Option<u32>,
    },
    /// Drops silently.
    Blackhole,
    /// Drops and tells the sender that there is no route.
    Unreachable,
    /// Drops and tells the sender that it is forbidden.
    Prohibit,
    /// Looks the destination up again in another table of the family.
    Table {
        /// The table's number.
        table: u32,
    },
    /// Sends to a node.
    Node {
        /// The node's number.
        node: u16,
        /// Its name.
        name: String,
    },
}

impl Action {
    /// One next hop.
    pub fn via(next_hop: NextHop) -> Self {
        Self::Via(vec![next_hop])
    }

    /// Whether packets may leave by interface `index` without recursion.
    pub fn names_interface(&self, index: u32) -> bool {
        match self {
            Self::Via(next_hops) => next_hops.iter().any(|next_hop| next_hop.interface == Some(index)),
            Self::Connected { interface } => *interface == index,
            Self::Local { interface } => *interface == Some(index),
            _ => false,
        }
    }

    /// Addresses that must be looked up in the same table.
    pub(super) fn recursive(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let next_hops = match self {
            Self::Via(next_hops) => next_hops.as_slice(),
            _ => &[],
        };
        next_hops
            .iter()
            .filter(|next_hop| next_hop.interface.is_none())
            .filter_map(|next_hop| next_hop.address)
    }
}

/// One way out, ready for an adjacency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// The neighbour to send to; none when the packet's destination is the neighbour.
    pub address: Option<IpAddr>,
    /// The interface's index.
    pub interface: u32,
    /// Share of the flows relative to the other paths; 1 or more.
    pub weight: u32,
}

/// What a set of paths comes to once recursive next hops are resolved: the content of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// One of these by flow, at least one, ascending.
    Paths(Vec<Path>),
    /// Resolve the destination on this interface.
    Glean {
        /// The interface's index.
        interface: u32,
    },
    /// To the host's own protocols.
    Receive {
        /// The interface that has the address, if it is one's.
        interface: Option<u32>,
    },
    /// Drop silently.
    Blackhole,
    /// Drop and report no route; also where no next hop is reachable.
    Unreachable,
    /// Drop and report administratively prohibited.
    Prohibit,
    /// Look up again in this table.
    Table {
        /// The table's number.
        table: u32,
    },
    /// To this node.
    Node {
        /// The node's number.
        node: u16,
    },
}

/// Joins equal ways and orders them; `shares` is (neighbour, interface, share's numerator and denominator).
pub(super) fn weigh(shares: Vec<(Option<IpAddr>, u32, u64, u64)>) -> Vec<Path> {
    // A common denominator makes the shares whole numbers. Past 2^32 precision is given up, never a path.
    let common = shares.iter().fold(1_u64, |common, (.., whole)| {
        (common / gcd(common, *whole))
            .checked_mul(*whole)
            .filter(|common| *common < 1 << 32)
            .unwrap_or(common)
    });
    let mut weighed: Vec<(Option<IpAddr>, u32, u64)> = shares
        .into_iter()
        .map(|(address, interface, part, whole)| {
            (address, interface, (u128::from(part) * u128::from(common) / u128::from(whole)).max(1) as u64)
        })
        .collect();
    weighed.sort_unstable();
    weighed.dedup_by(|next, kept| {
        let same = (next.0, next.1) == (kept.0, kept.1);
        if same {
            kept.2 = kept.2.saturating_add(next.2);
        }
        same
    });
    let divisor = weighed.iter().fold(0, |divisor, (.., weight)| gcd(divisor, *weight)).max(1);
    let greatest = weighed.iter().map(|(.., weight)| weight / divisor).max().unwrap_or(1);
    let shift = (64 - greatest.leading_zeros()).saturating_sub(32);
    let paths = weighed.into_iter().map(|(address, interface, weight)| Path {
        address,
        interface,
        weight: ((weight / divisor) >> shift).max(1) as u32,
    });
    paths.collect()
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}
