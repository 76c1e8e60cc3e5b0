//! What the operator wants: prefixes, pools, mappings, times, limits. Replaced as a whole when that changes.

use raddle_plugin_api::wire::{Ip4Address, Ip6Address};
use serde::{Deserialize, Serialize};

use super::eam::EamTable;
use super::port_hold::Reuse;
use super::ranges::{AddressSet, PoolRange};
use super::shard::Ticks;
use super::statics::Statics;
use crate::translate::Nat64Prefix;

/// Which packets from outside may use a binding (RFC 6146 §3.5, RFC 4787 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// Those of anybody.
    #[default]
    EndpointIndependent,
    /// Those of hosts to which a session of the binding has gone.
    AddressDependent,
}

/// How long sessions live without packets, in ticks (RFC 6146 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// UDP_DEFAULT.
    pub udp: Ticks,
    /// TCP_EST.
    pub tcp_established: Ticks,
    /// TCP_TRANS.
    pub tcp_transitory: Ticks,
    /// TCP_INCOMING_SYN.
    pub tcp_incoming_syn: Ticks,
    /// ICMP_DEFAULT.
    pub icmp: Ticks,
}

/// What a subscriber may have (RFC 6888 REQ-4, REQ-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions.
    pub sessions: u32,
    /// Bindings: ports of all protocols together.
    pub bindings: u32,
    /// Blocks of ports, where ports are given out in blocks.
    pub blocks: u32,
}

/// Whose hosts share a pool: the operator's own, number 0, or a customer with routing tables of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenant {
    /// Its name; the operator's own has none.
    pub name: String,
    /// Whether it is in the configuration. One that is not has the sessions that are left of it.
    pub is_present: bool,
    /// Its pool addresses, ascending, without overlaps.
    pub pool: Vec<PoolRange>,
    /// FIB index of the table in which its hosts are. `None`: that of the interface by which a packet comes.
    pub inside_table: Option<u32>,
    /// FIB index of the table in which those are whom they talk to. `None`: as above.
    pub outside_table: Option<u32>,
}

impl Tenant {
    /// The pool address to which a hash points, and with further `step`s others.
    pub fn pool_address(&self, hash: u64, step: u64) -> Option<Ip4Address> {
        PoolRange::nth(&self.pool, (hash >> 32).wrapping_add(step))
    }

    /// Whether an address is one of its pool.
    pub fn has(&self, address: Ip4Address) -> bool {
        self.pool.iter().any(|range| range.contains(address))
    }
}

/// A prefix and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownPrefix {
    /// The prefix.
    pub prefix: Nat64Prefix,
    /// Number of the tenant.
    pub tenant: u8,
}

/// A prefix in force, as packets are compared with it: words are as they lie in memory.
#[derive(Clone, Copy, Debug)]
struct Active {
    network: [u64; 2],
    mask: [u64; 2],
    /// Whether the IPv4 address is the last of the address, as it nearly always is.
    is_96: bool,
    /// FIB index of the packets that it is for; [`ANY_TABLE`]: of all for which there is no other.
    table: u32,
    found: FoundPrefix,
}

/// "Whatever the table."
const ANY_TABLE: u32 = u32::MAX;

/// The prefix that an address is in, by its number, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundPrefix {
    /// Number of the prefix.
    pub number: u8,
    /// Number of the tenant.
    pub tenant: u8,
}

/// What the operator wants.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Prefixes that have ever been in force: a session knows its own by number.
    pub prefixes: Vec<KnownPrefix>,
    /// Tenants that have ever been there, likewise; the operator's own is the first.
    pub tenants: Vec<Tenant>,
    /// Explicit address mappings.
    pub eam: EamTable,
    /// The operator's mappings.
    pub statics: Statics,
    /// Who may come in.
    pub filtering: Filtering,
    /// How long sessions live.
    pub timeouts: Timeouts,
    /// What a subscriber may have.
    pub limits: Limits,
    /// How ports of UDP and ICMP come into use again (RFC 6888 REQ-8).
    pub reuse: Reuse,
    /// Addresses by which routers inside, which have none outside, speak to hosts outside (RFC 6791 §5).
    pub hops: Vec<PoolRange>,
    /// Whether their ICMP errors name their own address (RFC 6791 §4).
    pub names_hops: bool,
    /// Bits of an address that say whose it is.
    pub subscriber_bits: u8,
    /// Whether subscribers get ports in blocks, of the size that the shares have.
    pub blocks: bool,
    /// Whether the well-known prefix stands for addresses that are not global, against RFC 6052 §3.1.
    pub translate_non_global: bool,
    /// Whether UDP datagrams without a checksum are given one; else they are dropped (RFC 7915 §4.5).
    pub computes_udp_checksum: bool,
    /// Whether SYNs that nobody asked for wait for an answer to themselves (RFC 6146 §3.5.2.2); else they are dropped.
    pub holds_incoming_syn: bool,
    /// IPv6 packets larger than this are cut, if they came without "don't fragment" (RFC 7915 §4, lowest-ipv6-mtu).
    pub lowest_mtu: u16,
    active: Vec<Active>,
    /// Of each prefix, by number: its network's address, and whether an IPv4 address is the last of an address in it.
    networks: Vec<(Ip6Address, bool)>,
    /// Whether a tenant has tables of its own.
    has_tables: bool,
    /// Tables that tenants have for their hosts.
    claimed: Vec<u32>,
    /// Addresses whose packets are for the translator.
    ours: AddressSet,
    /// Those of them that are raddle's own, too: what no binding is for is for raddle itself.
    shared: AddressSet,
}

impl Rules {
    /// Nothing is translated: what is there before the configuration is read.
    pub fn nothing() -> Self {
        Self {
            prefixes: Vec::new(),
            tenants: vec![Tenant::default()],
            eam: EamTable::default(),
            statics: Statics::default(),
            filtering: Filtering::default(),
            timeouts: Timeouts {
                udp: 1200,
                tcp_established: 29_760,
                tcp_transitory: 960,
                tcp_incoming_syn: 24,
                icmp: 240,
            },
            limits: Limits { sessions: u32::MAX, bindings: u32::MAX, blocks: u32::MAX },
            reuse: Reuse { after: 480, most: 32_768 },
            hops: Vec::new(),
            names_hops: true,
            subscriber_bits: 128,
            blocks: false,
            translate_non_global: false,
            computes_udp_checksum: true,
            holds_incoming_syn: true,
            lowest_mtu: 1280,
            active: Vec::new(),
            networks: Vec::new(),
            has_tables: false,
            claimed: Vec::new(),
            ours: AddressSet::default(),
            shared: AddressSet::default(),
        }
    }

    /// Has these prefixes, by their numbers, be in force, and makes of tenants and mappings what packets are compared with;
    /// `shared` are pool addresses that are raddle's own. To be called when all else is set.
    pub fn settle(&mut self, active: &[u8], shared: impl IntoIterator<Item = Ip4Address>) {
        self.active = active
            .iter()
            .filter_map(|&number| {
                let KnownPrefix { prefix, tenant } = *self.prefixes.get(usize::from(number))?;
                let (network, mask) = prefix.network_and_mask();
                let (network, mask) = (words(network), words(mask));
                let table = self.tenant(tenant).inside_table.unwrap_or(ANY_TABLE);
                let is_96 = prefix.to_prefix().length() == 96;
                Some(Active { network, mask, is_96, table, found: FoundPrefix { number, tenant } })
            })
            .collect();
        let network = |known: &KnownPrefix| {
            let prefix = known.prefix.to_prefix();
            (Ip6Address::from(prefix.network()), prefix.length() == 96)
        };
        self.networks = self.prefixes.iter().map(network).collect();
        let has_table = |tenant: &Tenant| tenant.inside_table.or(tenant.outside_table).is_some();
        self.has_tables = self.tenants.iter().any(has_table);
        // What names a table is asked before what takes any.
        self.active.sort_by_key(|active| active.table == ANY_TABLE);
        let present = self.tenants.iter().filter(|tenant| tenant.is_present);
        self.claimed = present.filter_map(|tenant| tenant.inside_table).collect();
        let pools = self.tenants.iter().flat_map(|tenant| tenant.pool.iter().copied());
        let statics = self.statics.addresses().iter().map(|&address| PoolRange::one(address));
        let eams = self
            .eam
            .entries()
            .iter()
            .map(|eam| PoolRange { first: eam.ip4.network().into(), last: eam.ip4.last().into() });
        self.ours = AddressSet::of(pools.chain(statics).chain(eams));
        self.shared = AddressSet::of(shared.into_iter().map(PoolRange::one));
    }

    /// The prefix in force for packets of this table that an address is in.
    pub fn prefix_of(&self, address: Ip6Address, table: u32) -> Option<FoundPrefix> {
        self.split(address, table).map(|(found, _)| found)
    }

    /// As [`Self::prefix_of`], and the IPv4 address in it.
    #[inline(always)]
    pub fn split(&self, address: Ip6Address, table: u32) -> Option<(FoundPrefix, Ip4Address)> {
        let [high, low] = words(address);
        for active in &self.active {
            let differs =
                (high ^ active.network[0]) & active.mask[0] | (low ^ active.network[1]) & active.mask[1];
            if differs == 0 && (active.table == table || self.takes_any(active, table)) {
                return Some(match active.is_96 {
                    true => (active.found, Ip4Address(*address.0.last_chunk()?)),
                    false => (active.found, self.prefix(active.found.number).extract(address)),
                });
            }
        }
        None
    }

    /// Whether a prefix is for packets of a table that it does not name.
    #[inline(always)]
    fn takes_any(&self, active: &Active, table: u32) -> bool {
        active.table == ANY_TABLE && (self.claimed.is_empty() || !self.claimed.contains(&table))
    }

    /// A prefix by its number, which is a session's or of [`Self::prefix_of`].
    #[inline(always)]
    pub fn prefix(&self, number: u8) -> Nat64Prefix {
        self.prefixes.get(usize::from(number)).map_or(Nat64Prefix::WELL_KNOWN, |known| known.prefix)
    }

    /// An outside host as it is known inside by a session's prefix.
    #[inline(always)]
    pub fn embed(&self, number: u8, address: Ip4Address) -> Ip6Address {
        match self.networks.get(usize::from(number)) {
            Some(&(Ip6Address(mut bytes), true)) => {
                bytes[12..].copy_from_slice(&address.0);
                Ip6Address(bytes)
            }
            _ => self.prefix(number).embed(address),
        }
    }

    /// Whether a tenant has tables of its own: else all packets are of the table of the interface by which they came.
    #[inline(always)]
    pub fn has_tables(&self) -> bool {
        self.has_tables
    }

    /// An address for a router inside that has none outside, if there are any: each time another one (RFC 6791 §5).
    pub fn hop_address(&self, random: u32) -> Option<Ip4Address> {
        PoolRange::nth(&self.hops, random.into())
    }

    /// Numbers of the prefixes in force, the operator's first one first.
    pub fn active(&self) -> impl Iterator<Item = FoundPrefix> {
        self.active.iter().map(|active| active.found)
    }

    /// The prefix of sessions of a tenant that begin outside.
    pub fn first_prefix(&self, tenant: u8) -> Option<u8> {
        self.active().find(|found| found.tenant == tenant).map(|found| found.number)
    }

    /// A tenant by its number, which is a session's, a mapping's or a prefix's.
    #[inline(always)]
    pub fn tenant(&self, number: u8) -> &Tenant {
        // The first is always there.
        self.tenants.get(usize::from(number)).unwrap_or(&self.tenants[0])
    }

    /// The tenant whose hosts are in a table.
    pub fn tenant_of_table(&self, table: u32) -> u8 {
        let is_its = |tenant: &Tenant| tenant.is_present && tenant.inside_table == Some(table);
        self.tenants.iter().position(is_its).unwrap_or(0) as u8
    }

    /// Whether a packet of this table may be for a tenant's pool.
    #[inline(always)]
    pub fn may_come_in(&self, tenant: u8, table: u32) -> bool {
        self.tenant(tenant).outside_table.is_none_or(|own| own == table)
    }

    /// Whether packets to this IPv4 address are for the translator.
    #[inline(always)]
    pub fn is_ours(&self, address: Ip4Address) -> bool {
        self.ours.contains(address)
    }

    /// Whether the address is raddle's own, too.
    pub fn is_shared(&self, address: Ip4Address) -> bool {
        self.shared.contains(address)
    }

    /// Whether an address is one of a pool.
    pub fn in_pool(&self, address: Ip4Address) -> bool {
        self.tenants.iter().any(|tenant| tenant.has(address))
    }

    /// The subscriber that an inside host is of.
    #[inline(always)]
    pub fn subscriber_of(&self, inside: Ip6Address) -> Ip6Address {
        match self.subscriber_bits {
            128.. => inside,
            bits => Ip6Address::from_bits(inside.to_bits() & !(u128::MAX >> bits)),
        }
    }
}

/// An address in two words, as they lie in memory.
#[inline(always)]
pub(super) fn words(address: Ip6Address) -> [u64; 2] {
    let (words, _) = address.0.as_chunks::<8>();
    [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn four(text: &str) -> Ip4Address {
        text.parse::<Ipv4Addr>().unwrap().into()
    }

    fn six(text: &str) -> Ip6Address {
        text.parse::<Ipv6Addr>().unwrap().into()
    }

    #[test]
    fn pool_addresses_are_all_reached() {
        let mut rules = Rules::nothing();
        assert_eq!(rules.tenant(0).pool_address(7 << 32, 0), None);
        rules.tenants[0].pool = vec![
            PoolRange { first: four("192.0.2.1"), last: four("192.0.2.2") },
            PoolRange::one(four("198.51.100.5")),
        ];
        rules.settle(&[], []);
        let found: Vec<_> = (0..4).filter_map(|step| rules.tenant(0).pool_address(0, step)).collect();
        assert_eq!(found, ["192.0.2.1", "192.0.2.2", "198.51.100.5", "192.0.2.1"].map(four));
        assert!(rules.is_ours(four("192.0.2.2")) && !rules.is_ours(four("192.0.2.3")));
    }

    #[test]
    fn subscriber_is_the_prefix() {
        let mut rules = Rules::nothing();
        assert_eq!(rules.subscriber_of(six("2001:db8::5")), six("2001:db8::5"));
        rules.subscriber_bits = 56;
        assert_eq!(rules.subscriber_of(six("2001:db8:0:1ff::5")), six("2001:db8:0:100::"));
    }

    #[test]
    fn tenants_may_have_one_prefix_in_tables_of_their_own() {
        let mut rules = Rules::nothing();
        let tenant = |name: &str, table| Tenant {
            name: name.into(),
            is_present: true,
            inside_table: table,
            ..Tenant::default()
        };
        rules.tenants = vec![tenant("", None), tenant("red", Some(3)), tenant("blue", Some(4))];
        let known = |tenant| KnownPrefix { prefix: Nat64Prefix::WELL_KNOWN, tenant };
        rules.prefixes = vec![known(0), known(1)];
        rules.settle(&[0, 1], []);
        let inside = six("64:ff9b::1");
        let of = |table| rules.prefix_of(inside, table).map(|found| (found.number, found.tenant));
        assert_eq!((of(0), of(3), of(7)), (Some((0, 0)), Some((1, 1)), Some((0, 0))));
        assert_eq!(of(4), None, "blue has no prefix, and the operator's is not for its hosts");
        assert_eq!((rules.first_prefix(1), rules.first_prefix(2)), (Some(1), None));
        assert_eq!(rules.prefix_of(six("2001:db8::1"), 0), None);
    }
}
