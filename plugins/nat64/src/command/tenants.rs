//! `show nat64 tenants`.

use raddle_plugin_api::prelude::*;
use serde::Serialize;

use crate::config::Nat64Config;
use crate::service::Nat64;

command! { "show nat64 tenants", "shows tenants: prefixes, pools, tables, and their numbers in the log", show }

/// A tenant.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct TenantRow {
    number: usize,
    name: Option<String>,
    prefixes: String,
    pool_addresses: u64,
    table: Option<String>,
    outside_table: Option<String>,
    status: &'static str,
}

fn show(control: &mut Control<'_>, _: NoArguments) -> Result<Vec<impl Serialize + use<>>, Failure> {
    let nat = control.resource::<Nat64>()?;
    let config: Nat64Config = control.resource::<crate::Main>()?.config();
    let rules = nat.rules.get(control);
    let row = |(number, tenant): (usize, &crate::state::Tenant)| {
        let known = config.tenant.get(&tenant.name);
        let active = rules.active().filter(|found| usize::from(found.tenant) == number);
        let prefixes: Vec<_> = active.map(|found| rules.prefix(found.number).to_string()).collect();
        let status = match (tenant.is_present, prefixes.is_empty()) {
            (false, _) => "removed: its sessions end in their time",
            (true, true) => "waits for its tables",
            (true, false) => "in force",
        };
        TenantRow {
            number,
            name: Some(tenant.name.clone()).filter(|name| !name.is_empty()),
            prefixes: prefixes.join(", "),
            pool_addresses: tenant.pool.iter().map(crate::state::PoolRange::count).sum(),
            table: known.and_then(|known| known.table.as_ref()).map(ToString::to_string),
            outside_table: known.and_then(|known| known.outside_table.as_ref()).map(ToString::to_string),
            status,
        }
    };
    Ok(rules.tenants.iter().enumerate().map(row).collect())
}
