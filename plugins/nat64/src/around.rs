//! What stands around the packets' way: the feature on interfaces, routes, addresses and tables of others. Main thread only.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use raddle_plugin_api::address::AddressInfo;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::route::{MAX_BATCH, RouteBatch, RouteTarget, TableKey};
use raddle_plugin_api::wire::{Ip4Prefix, IpPrefix};

use crate::config::{Nat64Config, Surroundings};
use crate::node_six_to_four::{Routed, Way};
use crate::service::Nat64;
use crate::state::Rules;
use crate::{Main, NAME};

/// Who its routes are from.
const OWNER: u16 = 6146;
const PREFERENCE: u8 = 20;
/// Features that are on where packets are translated: those of the core note the ports of fragments.
const FEATURES: [&str; 3] = ["ip4-virtual-reassembly", "ip6-virtual-reassembly", NAME];

/// A route of the translator's: the table, and the prefix.
pub type Route = (TableKey, IpPrefix);

/// What the section speaks of, as it is now. What is not there yet is left out.
pub fn look(control: &Control<'_>, config: &Nat64Config) -> Result<Surroundings, Failure> {
    let mut around = Surroundings::default();
    let interfaces = control.interfaces()?;
    for interface in interfaces {
        let network = control.network(interface.index)?;
        let ip4 = |info: &AddressInfo| match info.address.address() {
            IpAddr::V4(address) => Some(address.into()),
            IpAddr::V6(_) => None,
        };
        around.addresses.insert(interface.name, network.addresses.iter().filter_map(ip4).collect());
    }
    for table in config.tables() {
        if let Ok(fib) = control.fib_index(table) {
            around.tables.insert(table.clone(), fib);
        }
    }
    Ok(around)
}

/// Has nodes go by the configuration and what is around it, and packets of raddle's own find the way.
///
/// # Errors
/// What contradicts itself: all stays as it was.
pub fn settle(control: &Control<'_>) -> Result<(), Failure> {
    let nat = control.resource::<Nat64>()?;
    publish(control, nat.rules.get(control))?;
    update_routes(control)
}

/// As [`settle`], with the numbers of prefixes and tenants that were before, and without routes: nodes are not there yet.
///
/// # Errors
/// As [`settle`].
pub fn publish(control: &Control<'_>, before: &Rules) -> Result<(), Failure> {
    let (main, nat) = (control.resource::<Main>()?, control.resource::<Nat64>()?);
    let config = main.config();
    let mut rules = config.rules(before, &look(control, &config)?)?;
    rules.filtering = nat.rules.get(control).filtering;
    nat.rules.publish(control, rules);
    if config.is_used() {
        nat.is_used.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// As [`settle`], where nobody is there to be told but the log.
pub fn settle_or_log(control: &Control<'_>) {
    if let Err(failure) = settle(control) {
        control.log(LogLevel::ERROR, format_args!("{failure}; all stays as it was"));
    }
}

/// Has packets of an interface translated, or not any more; the same of answers to its hosts.
///
/// # Errors
/// There is no such interface.
pub fn set_interface(control: &Control<'_>, name: &str, index: InterfaceIndex) -> Result<(), Failure> {
    let main = control.resource::<Main>()?;
    let config = main.config();
    hold(control, index, &main.held, &FEATURES, config.translates(name))?;
    hold(control, index, &main.asked, &["nat64-pcp"], config.answers(name))
}

/// Says in the log which interfaces are not there whose hosts may ask for bindings.
pub fn say_what_is_missing(control: &Control<'_>) {
    let Ok(config) = control.resource::<Main>().map(|main| main.config()) else { return };
    let Ok(interfaces) = control.interfaces() else { return };
    for name in config.pcp.iter().filter(|name| interfaces.iter().all(|there| there.name != **name)) {
        let said = "is not there; hosts of it may ask for bindings when it comes";
        control.log(LogLevel::WARN, format_args!("nat64: the interface {name}, which pcp names, {said}"));
    }
}

fn hold(
    control: &Control<'_>,
    index: InterfaceIndex,
    held: &Mutex<BTreeSet<InterfaceIndex>>,
    features: &[&str],
    is_wanted: bool,
) -> Result<(), Failure> {
    let mut held = lock(held);
    if is_wanted == held.contains(&index) {
        return Ok(());
    }
    for feature in features {
        if is_wanted {
            control.hold_feature(index, feature)?;
        } else {
            control.release_feature(index, feature)?;
        }
    }
    if is_wanted {
        held.insert(index);
    } else {
        held.remove(&index);
    }
    Ok(())
}

/// Has packets that no interface of the translator brought come to it: what raddle says itself, above all.
fn update_routes(control: &Control<'_>) -> Result<(), Failure> {
    let (main, nat) = (control.resource::<Main>()?, control.resource::<Nat64>()?);
    let config = main.config();
    let wanted = if config.is_used() { routes(nat.rules.get(control), &config) } else { BTreeSet::new() };
    let mut present = lock(&main.routes);
    let gone = present.difference(&wanted).map(|route| (route.clone(), false));
    let new = wanted.difference(&present).map(|route| (route.clone(), true));
    let changes: Vec<_> = gone.chain(new).collect();
    *present = wanted;
    change_routes(control, &changes)
}

/// Takes all routes away.
///
/// # Errors
/// The host refuses.
pub fn remove_routes(control: &Control<'_>) -> Result<(), Failure> {
    let routes = std::mem::take(&mut *lock(&control.resource::<Main>()?.routes));
    change_routes(control, &routes.into_iter().map(|route| (route, false)).collect::<Vec<_>>())
}

/// The routes to prefixes in the tables of hosts inside, and to pools and mappings in those of hosts outside. Addresses that are
/// raddle's own have theirs.
fn routes(rules: &Rules, config: &Nat64Config) -> BTreeSet<Route> {
    let table = |tenant: &str, outside: bool| {
        let tenant = config.tenant.get(tenant);
        let key =
            tenant.and_then(|tenant| if outside { &tenant.outside_table } else { &tenant.table }.clone());
        key.unwrap_or(TableKey::DEFAULT)
    };
    let mut routes = BTreeSet::new();
    for found in rules.active() {
        let prefix = IpPrefix::V6(rules.prefix(found.number).to_prefix());
        routes.insert((table(&rules.tenant(found.tenant).name, false), prefix));
    }
    for tenant in rules.tenants.iter().filter(|tenant| tenant.is_present) {
        for range in &tenant.pool {
            let prefixes = prefixes_of(range.first.to_bits(), range.last.to_bits())
                .filter(|prefix| prefix.length() != 32 || !rules.is_shared(prefix.network().into()));
            routes.extend(prefixes.map(|prefix| (table(&tenant.name, true), IpPrefix::V4(prefix))));
        }
    }
    routes.extend(rules.eam.entries().iter().map(|eam| (TableKey::DEFAULT, IpPrefix::V4(eam.ip4))));
    let statics = rules.statics.addresses().iter().filter(|&&address| !rules.is_shared(address));
    routes
        .extend(statics.map(|address| (TableKey::DEFAULT, IpPrefix::V4(Ip4Prefix::host(address.to_std())))));
    routes
}

fn change_routes(control: &Control<'_>, changes: &[(Route, bool)]) -> Result<(), Failure> {
    // Those of a table follow each other.
    for of_table in changes.chunk_by(|((one, _), _), ((other, _), _)| one == other) {
        for part in of_table.chunks(MAX_BATCH) {
            let target = |prefix: &IpPrefix| u32::from(matches!(prefix.network(), IpAddr::V4(_)));
            let change = |((_, prefix), is_new): &(Route, bool)| (*prefix, is_new.then(|| target(prefix)));
            control.change_routes(&RouteBatch {
                table: part[0].0.0.clone(),
                preference: PREFERENCE,
                owner: OWNER,
                targets: [Routed::NAME6, Routed::NAME4].map(|node| RouteTarget::Node(node.into())).into(),
                routes: part.iter().map(change).collect(),
            })?;
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The fewest prefixes that hold just these addresses.
fn prefixes_of(first: u32, last: u32) -> impl Iterator<Item = Ip4Prefix> {
    let mut next = Some(first);
    std::iter::from_fn(move || {
        let from = next.filter(|&from| from <= last)?;
        let left = u64::from(last) - u64::from(from) + 1;
        let bits = from.trailing_zeros().min(left.ilog2()).min(32);
        next = from.checked_add(1_u32.checked_shl(bits).unwrap_or(0)).filter(|&next| next > from);
        Ip4Prefix::containing(from.into(), (32 - bits) as u8).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_covered_by_prefixes() {
        let text = |first: [u8; 4], last: [u8; 4]| {
            let found = prefixes_of(u32::from_be_bytes(first), u32::from_be_bytes(last));
            found.map(|prefix| prefix.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text([192, 0, 2, 1], [192, 0, 2, 1]), "192.0.2.1/32");
        assert_eq!(text([192, 0, 2, 0], [192, 0, 2, 255]), "192.0.2.0/24");
        assert_eq!(
            text([192, 0, 2, 1], [192, 0, 2, 6]),
            "192.0.2.1/32 192.0.2.2/31 192.0.2.4/31 192.0.2.6/32"
        );
        assert_eq!(text([255, 255, 255, 254], [255, 255, 255, 255]), "255.255.255.254/31");
    }
}
