//! `show nat64 pools`.

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip4Address;
use serde::Serialize;

use super::Threads;
use crate::pool_use::pool_use;
use crate::state::PoolUse;

/// Of larger ranges only addresses that are in use are listed.
const LARGE: u64 = 256;

command! { "show nat64 pools", "shows pool addresses and how many of their ports are in use", async show }

/// A pool address.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PoolRow {
    address: String,
    tcp: u32,
    udp: u32,
    icmp: u32,
    blocks: u32,
    /// Ports of UDP and identifiers of ICMP that are nobody's and not given yet.
    held: u32,
    in_pool: bool,
    /// Whether the address is raddle's own, too.
    is_shared: bool,
    tenant: Option<String>,
}

fn show(
    control: &mut Control<'_>,
    _: NoArguments,
) -> Result<impl Future<Output = Result<Vec<PoolRow>, Failure>> + use<>, Failure> {
    let threads = Threads::of(control)?;
    let rules = threads.nat.rules.get(control).clone();
    Ok(async move {
        let mut found = pool_use(&threads.nat, &threads.errands, threads.count).await?;
        for range in
            rules.tenants.iter().flat_map(|tenant| &tenant.pool).filter(|range| range.count() <= LARGE)
        {
            for bits in range.first.to_bits()..=range.last.to_bits() {
                found.entry(Ip4Address::from_bits(bits)).or_default();
            }
        }
        let row = |(address, used): (Ip4Address, PoolUse)| {
            let tenant = rules.tenants.iter().find(|tenant| tenant.has(address));
            PoolRow {
                address: address.to_string(),
                tcp: used.ports[0],
                udp: used.ports[1],
                icmp: used.ports[2],
                blocks: used.blocks,
                held: used.held,
                in_pool: tenant.is_some(),
                is_shared: rules.is_shared(address),
                tenant: tenant.map(|tenant| tenant.name.clone()).filter(|name| !name.is_empty()),
            }
        };
        Ok(found.into_iter().map(row).collect())
    })
}
