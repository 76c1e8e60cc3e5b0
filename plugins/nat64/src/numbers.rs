//! What sessions know prefixes and tenants by, handed from one version of the plugin to the next: a configuration that was read again
//! may have given other numbers than its text alone would.

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip6Prefix;
use serde::{Deserialize, Serialize};

use crate::around;
use crate::service::Nat64;
use crate::state::{KnownPrefix, Rules, Tenant};
use crate::translate::Nat64Prefix;

#[derive(Serialize, Deserialize)]
struct Numbers {
    tenants: Vec<String>,
    prefixes: Vec<(Ip6Prefix, u8)>,
}

/// Hands the numbers on.
///
/// # Errors
/// None.
pub fn export(control: &mut Control<'_>) -> Result<Vec<u8>, Failure> {
    let nat = control.resource::<Nat64>()?;
    let rules = nat.rules.get(control);
    let numbers = Numbers {
        tenants: rules.tenants.iter().map(|tenant| tenant.name.clone()).collect(),
        prefixes: rules.prefixes.iter().map(|known| (known.prefix.to_prefix(), known.tenant)).collect(),
    };
    Ok(serde_json::to_vec(&numbers)?)
}

/// Goes by the numbers of the version before.
///
/// # Errors
/// They are not those of a version of this plugin.
pub fn import(control: &mut Control<'_>, _version: u32, bytes: &[u8]) -> Result<(), Failure> {
    let numbers: Numbers = serde_json::from_slice(bytes)?;
    let mut before = Rules::nothing();
    before.tenants = numbers.tenants.into_iter().map(|name| Tenant { name, ..Tenant::default() }).collect();
    if before.tenants.first().is_none_or(|own| !own.name.is_empty()) {
        bail!("nat64: the version before has handed on tenants without the operator's own");
    }
    let known = |(prefix, tenant): (Ip6Prefix, u8)| {
        let prefix = Nat64Prefix::new(prefix).map_err(|error| failure!("nat64: {error}"))?;
        Ok(KnownPrefix { prefix, tenant })
    };
    before.prefixes = numbers.prefixes.into_iter().map(known).collect::<Result<_, Failure>>()?;
    around::publish(control, &before)
}
