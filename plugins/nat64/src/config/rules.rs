//! What nodes go by, made of the section and of what is around it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use raddle_plugin_api::config::InRange;
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::Ip4Address;
use raddle_plugin_api::{Failure, bail, failure};

use super::text::{PoolText, PrefixText};
use super::{
    EamConfig, IncomingSyn, Nat64Config, StaticConfig, StaticProtocol, TenantConfig, TimeoutConfig,
    ZeroChecksum,
};
use crate::service::TICKS_PER_SECOND;
use crate::state::{
    Eam, EamTable, KnownPrefix, Limits, PoolRange, Protocol, Reuse, Rules, StaticMap, Statics, Tenant,
    Timeouts,
};

/// Prefixes, and tenants, that sessions can know by number.
const MOST: usize = 255;

/// What the section speaks of and others have.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// IPv4 addresses of interfaces, by their names.
    pub addresses: HashMap<String, Vec<Ip4Address>>,
    /// FIB indices of routing tables.
    pub tables: HashMap<TableKey, u32>,
}

impl Surroundings {
    /// IPv4 addresses that raddle has itself.
    fn own(&self) -> impl Iterator<Item = Ip4Address> {
        self.addresses.values().flatten().copied()
    }
}

impl Nat64Config {
    /// What nodes go by. Prefixes and tenants of before keep their numbers. A tenant whose tables are not there is left out until
    /// they are.
    ///
    /// # Errors
    /// What contradicts itself, in a sentence.
    pub fn rules(&self, before: &Rules, around: &Surroundings) -> Result<Rules, Failure> {
        let mut rules = Rules::nothing();
        rules.prefixes.clone_from(&before.prefixes);
        rules.tenants.clone_from(&before.tenants);
        for tenant in &mut rules.tenants {
            (tenant.is_present, tenant.pool) = (false, Vec::new());
        }
        let (mut active, mut shared) = (Vec::new(), Vec::new());
        let own = TenantConfig {
            prefixes: self.prefixes.clone(),
            pool: self.pool.clone(),
            pool_interfaces: self.pool_interfaces.clone(),
            table: None,
            outside_table: None,
        };
        self.check_prefixes()?;
        self.check_thresholds()?;
        self.check_pcp()?;
        for (name, config) in
            std::iter::once(("", &own)).chain(self.tenant.iter().map(|(n, c)| (n.as_str(), c)))
        {
            let number = tenant_number(&rules, name).map_or(rules.tenants.len(), usize::from);
            if number >= MOST {
                bail!("nat64: more than {MOST} tenants since the start");
            }
            let find = |key: &Option<TableKey>| match key {
                None => Some(None),
                Some(key) => around.tables.get(key).map(|&fib| Some(fib)),
            };
            let tables = find(&config.table).zip(find(&config.outside_table));
            let (inside_table, outside_table) = tables.unwrap_or_default();
            let mut pool: Vec<PoolRange> = config.pool.iter().map(|PoolText(range)| *range).collect();
            for interface in &config.pool_interfaces {
                let addresses = around.addresses.get(interface).into_iter().flatten();
                for &address in addresses {
                    shared.push(address);
                    pool.push(PoolRange::one(address));
                }
            }
            pool.sort_unstable();
            let tenant =
                Tenant { name: name.to_owned(), is_present: true, pool, inside_table, outside_table };
            match rules.tenants.get_mut(number) {
                Some(place) => *place = tenant,
                None => rules.tenants.push(tenant),
            }
            if tables.is_some() {
                for PrefixText(prefix) in &config.prefixes {
                    active.push(number_of_prefix(
                        &mut rules,
                        KnownPrefix { prefix: *prefix, tenant: number as u8 },
                    )?);
                }
            }
        }
        check_pools(&rules)?;
        rules.eam = EamTable::new(self.eams(&rules)?);
        let maps = self.static_maps(&rules)?;
        check_mappings(&rules.eam, &maps, around)?;
        rules.statics = Statics::new(&maps);
        // Of these addresses hosts have ports, and raddle has what is left.
        let is_given =
            |address: &Ip4Address| rules.in_pool(*address) || maps.iter().any(|map| map.outside == *address);
        shared.extend(around.own().filter(is_given));
        rules.filtering = self.filtering;
        rules.timeouts = self.timeouts.ticks();
        let limit =
            |limit: Option<InRange<1, 4_294_967_295>>| limit.map_or(u32::MAX, |limit| limit.get() as u32);
        rules.limits = Limits {
            sessions: limit(self.subscribers.max_sessions),
            bindings: limit(self.subscribers.max_bindings),
            blocks: self.subscribers.max_blocks.get() as u32,
        };
        rules.reuse = Reuse {
            after: self.port_reuse.after.get() as u32 * TICKS_PER_SECOND,
            most: self.port_reuse.max_waiting.get() as u32,
        };
        rules.hops = self.hop_addresses.iter().map(|PoolText(range)| *range).collect();
        rules.names_hops = self.hop_names;
        rules.subscriber_bits = self.subscribers.prefix_length.get() as u8;
        rules.blocks = self.subscribers.port_block_size.is_some();
        rules.translate_non_global = self.translate_non_global;
        rules.computes_udp_checksum = self.udp_zero_checksum == ZeroChecksum::Compute;
        rules.holds_incoming_syn = self.incoming_syn == IncomingSyn::Hold;
        rules.lowest_mtu = self.lowest_ipv6_mtu.get() as u16;
        rules.settle(&active, shared);
        Ok(rules)
    }

    /// Ports of a piece that one thread gives out, as a power of two.
    ///
    /// # Errors
    /// The size of blocks is no power of two.
    pub fn share_bits(&self) -> Result<u32, Failure> {
        match self.subscribers.port_block_size.map(|size| size.get()) {
            None => Ok(6),
            Some(size) if size.is_power_of_two() => Ok(size.ilog2()),
            Some(size) => {
                bail!("nat64: port-block-size is 64, 128, 256, 512, 1024, 2048 or 4096, not {size}")
            }
        }
    }

    /// Prefixes that the same packets might be for do not overlap.
    fn check_prefixes(&self) -> Result<(), Failure> {
        let own = self.prefixes.iter().map(|prefix| (None, prefix));
        let of_tenants = self.tenant.values();
        let of_tenants = of_tenants
            .flat_map(|tenant| tenant.prefixes.iter().map(|prefix| (tenant.table.as_ref(), prefix)));
        let all: Vec<_> = own.chain(of_tenants).collect();
        for (at, (table, PrefixText(prefix))) in all.iter().enumerate() {
            for (other_table, PrefixText(other)) in &all[..at] {
                let overlap = prefix.to_prefix().covers(other.to_prefix())
                    || other.to_prefix().covers(prefix.to_prefix());
                if table == other_table && overlap {
                    bail!("nat64: the prefixes {other} and {prefix} overlap");
                }
            }
        }
        Ok(())
    }

    /// What is low is below what is high.
    fn check_thresholds(&self) -> Result<(), Failure> {
        let Some(thresholds) = self.log.as_ref().map(|log| &log.thresholds) else { return Ok(()) };
        if let (Some(low), Some(high)) = (&thresholds.pool_low, &thresholds.pool_high)
            && low.get() >= high.get()
        {
            bail!("nat64: pool-low is {}, which is not below pool-high, {}", low.get(), high.get());
        }
        Ok(())
    }

    /// Who asks for bindings has packets translated.
    fn check_pcp(&self) -> Result<(), Failure> {
        if let Some(name) = self.pcp.iter().find(|name| !self.looks_at(name)) {
            bail!("nat64: by pcp hosts of {name} may ask for bindings, but {name} is not one of interfaces");
        }
        Ok(())
    }

    fn eams(&self, rules: &Rules) -> Result<Vec<Eam>, Failure> {
        let mut eams: Vec<Eam> = Vec::new();
        for EamConfig { ip4, ip6 } in &self.eam {
            if 32 - ip4.length() > 128 - ip6.length() {
                bail!("nat64: {ip6} has fewer addresses than {ip4}");
            }
            // RFC 7757 §3.1: prefixes within others are found by their length; the same one twice means nothing.
            if eams.iter().any(|other| other.ip4 == *ip4) {
                bail!("nat64: {ip4} is mapped explicitly twice");
            }
            if eams.iter().any(|other| other.ip6 == *ip6) {
                bail!("nat64: {ip6} is mapped explicitly twice");
            }
            let (first, last) = (Ip4Address::from(ip4.network()), Ip4Address::from(ip4.last()));
            let mut pools = rules.tenants.iter().flat_map(|tenant| &tenant.pool);
            if pools.any(|range| range.first <= last && first <= range.last) {
                bail!("nat64: {ip4} is mapped explicitly and in the pool");
            }
            eams.push(Eam { ip4: *ip4, ip6: *ip6 });
        }
        Ok(eams)
    }

    fn static_maps(&self, rules: &Rules) -> Result<Vec<StaticMap>, Failure> {
        let mut maps: Vec<StaticMap> = Vec::new();
        for StaticConfig { protocol, inside, outside, tenant } in &self.statics {
            let tenant = match tenant {
                None => 0,
                Some(name) => tenant_number(rules, name)
                    .ok_or_else(|| failure!("nat64: {inside} is of tenant `{name}`, who is not there"))?,
            };
            let map = match protocol {
                Some(protocol) => {
                    let inner: SocketAddrV6 = inside.parse().map_err(|_| {
                        failure!("nat64: `{inside}` is not an address with a port, as [2001:db8::1]:80")
                    })?;
                    let outer: SocketAddrV4 = outside.parse().map_err(|_| {
                        failure!("nat64: `{outside}` is not an address with a port, as 192.0.2.1:80")
                    })?;
                    let protocol = match protocol {
                        StaticProtocol::Tcp => Protocol::Tcp,
                        StaticProtocol::Udp => Protocol::Udp,
                    };
                    StaticMap {
                        inside: (*inner.ip()).into(),
                        outside: (*outer.ip()).into(),
                        port: Some((protocol, inner.port(), outer.port())),
                        tenant,
                    }
                }
                None => {
                    let inner: Ipv6Addr = inside.parse().map_err(|_| {
                        failure!("nat64: `{inside}` is not an IPv6 address; with a port it needs `protocol`")
                    })?;
                    let outer: Ipv4Addr = outside.parse().map_err(|_| {
                        failure!("nat64: `{outside}` is not an IPv4 address; with a port it needs `protocol`")
                    })?;
                    if rules.in_pool(outer.into()) {
                        bail!("nat64: {outer} is {inner}'s alone and in the pool");
                    }
                    StaticMap { inside: inner.into(), outside: outer.into(), port: None, tenant }
                }
            };
            let same = |other: &&StaticMap| {
                let port = |map: &StaticMap| map.port.map(|(protocol, _, outside)| (protocol, outside));
                other.outside == map.outside && port(other) == port(&map)
            };
            if maps.iter().find(same).is_some() {
                bail!("nat64: {outside} is mapped twice");
            }
            maps.push(map);
        }
        Ok(maps)
    }
}

/// The number of a tenant that there is, or was.
fn tenant_number(rules: &Rules, name: &str) -> Option<u8> {
    rules.tenants.iter().position(|tenant| tenant.name == name).map(|number| number as u8)
}

/// The number of a prefix, which is a new one if it was never in force.
fn number_of_prefix(rules: &mut Rules, prefix: KnownPrefix) -> Result<u8, Failure> {
    let number = rules.prefixes.iter().position(|known| *known == prefix).unwrap_or(rules.prefixes.len());
    if number >= MOST {
        bail!("nat64: more than {MOST} prefixes since the start");
    }
    if number == rules.prefixes.len() {
        rules.prefixes.push(prefix);
    }
    Ok(number as u8)
}

/// No address is in two pools, or twice in one.
fn check_pools(rules: &Rules) -> Result<(), Failure> {
    let mut all: Vec<_> = rules.tenants.iter().flat_map(|tenant| tenant.pool.iter().copied()).collect();
    all.sort_unstable();
    if let Some([before, after]) = all.array_windows::<2>().find(|[before, after]| before.last >= after.first)
    {
        bail!(
            "nat64: the pool's {}-{} and {}-{} overlap",
            before.first,
            before.last,
            after.first,
            after.last
        );
    }
    Ok(())
}

/// What is a host's alone is not raddle's own.
fn check_mappings(eams: &EamTable, maps: &[StaticMap], around: &Surroundings) -> Result<(), Failure> {
    for own in around.own() {
        if let Some(inside) = eams.to6(own) {
            bail!("nat64: {own} is raddle's own address and mapped explicitly to {inside}");
        }
        if let Some(map) = maps.iter().find(|map| map.outside == own && map.port.is_none()) {
            bail!("nat64: {own} is raddle's own address and {}'s alone", map.inside);
        }
    }
    Ok(())
}

impl TimeoutConfig {
    fn ticks(&self) -> Timeouts {
        let ticks = |seconds: u64| seconds as u32 * TICKS_PER_SECOND;
        Timeouts {
            udp: ticks(self.udp.get()),
            tcp_established: ticks(self.tcp_established.get()),
            tcp_transitory: ticks(self.tcp_transitory.get()),
            tcp_incoming_syn: ticks(self.tcp_incoming_syn.get()),
            icmp: ticks(self.icmp.get()),
        }
    }
}
