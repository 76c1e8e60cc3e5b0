//! The registry and what the operator has changed of it, as one table.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::sync::Published;
use raddle_plugin_api::wire::IpPrefix;
use raddle_plugin_api::{Control, Failure, Worker, bail};
use serde::Serialize;

use super::ranges::{Ranges, Span};
use super::registry::{Columns, REGISTRY};

/// Prefixes of the operator at most.
pub const MAX_PREFIXES: usize = 4096;

/// What the operator has changed of the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MartianLists {
    /// Prefixes whose addresses are like any other.
    pub allow: BTreeSet<IpPrefix>,
    /// Prefixes whose addresses may not be in packets.
    pub deny: BTreeSet<IpPrefix>,
}

struct Tables {
    ip4: Ranges<u32>,
    ip6: Ranges<u128>,
}

/// The table. A resource of the core.
pub struct Martians {
    tables: Published<Tables>,
    lists: Mutex<MartianLists>,
}

/// A prefix of the table, for `show martians`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MartianInfo {
    prefix: IpPrefix,
    source: bool,
    destination: bool,
    forwardable: bool,
    global: bool,
    purpose: String,
}

impl Martians {
    /// The registry as it is.
    ///
    /// # Errors
    /// None: the registry's prefixes are right, as a test says.
    pub fn new(control: &Control<'_>) -> Result<Self, Failure> {
        let lists = MartianLists::default();
        Ok(Self { tables: Published::new(control, tables(&lists)?), lists: Mutex::new(lists) })
    }

    /// The IPv4 table, for a worker.
    #[inline]
    pub fn ip4<'w>(&'w self, worker: &'w Worker<'_>) -> &'w Ranges<u32> {
        &self.tables.read(worker).ip4
    }

    /// The IPv6 table, for a worker.
    #[inline]
    pub fn ip6<'w>(&'w self, worker: &'w Worker<'_>) -> &'w Ranges<u128> {
        &self.tables.read(worker).ip6
    }

    /// What the operator has changed.
    pub fn lists(&self) -> MartianLists {
        self.state().clone()
    }

    /// Changes what the operator has changed.
    ///
    /// # Errors
    /// A prefix is on both lists, or there are too many.
    pub fn set_lists(&self, control: &Control<'_>, lists: MartianLists) -> Result<(), Failure> {
        if let Some(prefix) = lists.allow.intersection(&lists.deny).next() {
            bail!("{prefix} is both allowed and denied");
        }
        let count = lists.allow.len() + lists.deny.len();
        if count > MAX_PREFIXES {
            bail!("{count} prefixes are too many; at most {MAX_PREFIXES}");
        }
        self.tables.publish(control, tables(&lists)?);
        *self.state() = lists;
        Ok(())
    }

    /// All prefixes, the registry's first.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn list(&self) -> Result<Vec<MartianInfo>, Failure> {
        let all = entries(&self.state())?.into_iter();
        Ok(all
            .map(|(prefix, columns, purpose)| {
                let Columns { source, destination, forwardable, global } = columns;
                MartianInfo { prefix, source, destination, forwardable, global, purpose: purpose.into() }
            })
            .collect())
    }

    fn state(&self) -> MutexGuard<'_, MartianLists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The registry's prefixes, then the operator's, which count where both have one.
fn entries(lists: &MartianLists) -> Result<Vec<(IpPrefix, Columns, &'static str)>, Failure> {
    let mut all = Vec::with_capacity(REGISTRY.len() + lists.allow.len() + lists.deny.len());
    for special in REGISTRY {
        all.push((special.prefix.parse()?, special.columns, special.purpose));
    }
    all.extend(lists.allow.iter().map(|prefix| (*prefix, Columns::ORDINARY, "allowed by the operator")));
    all.extend(lists.deny.iter().map(|prefix| (*prefix, Columns::FORBIDDEN, "denied by the operator")));
    Ok(all)
}

fn tables(lists: &MartianLists) -> Result<Tables, Failure> {
    let (mut ip4, mut ip6) = (Vec::new(), Vec::new());
    for (prefix, columns, _) in entries(lists)? {
        match prefix {
            IpPrefix::V4(prefix) => {
                let (first, last) = (prefix.network().to_bits(), prefix.last().to_bits());
                ip4.push(Span { first, last, columns });
            }
            IpPrefix::V6(prefix) => {
                let (first, last) = (prefix.network().to_bits(), prefix.last().to_bits());
                ip6.push(Span { first, last, columns });
            }
        }
    }
    Ok(Tables {
        ip4: Ranges::new(ip4, 0, u32::MAX, |address| address + 1),
        ip6: Ranges::new(ip6, 0, u128::MAX, |address| address + 1),
    })
}

impl Martians {
    /// What may be done with an address, for the main thread.
    pub fn find(&self, control: &Control<'_>, address: IpAddr) -> Columns {
        let tables = self.tables.get(control);
        match address {
            IpAddr::V4(address) => tables.ip4.find(address.to_bits()),
            IpAddr::V6(address) => tables.ip6.find(address.to_bits()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(lists: &MartianLists, address: &str) -> Columns {
        let tables = tables(lists).unwrap();
        match address.parse().unwrap() {
            IpAddr::V4(address) => tables.ip4.find(address.to_bits()),
            IpAddr::V6(address) => tables.ip6.find(address.to_bits()),
        }
    }

    // RFC 6890 §2.2.2, §2.2.3
    #[test]
    fn registry_says_what_the_rfc_says() {
        let none = MartianLists::default();
        for (address, columns) in [
            ("8.8.8.8", "TTTT"),
            ("10.1.2.3", "TTTF"),
            ("100.127.255.255", "TTTF"),
            ("100.128.0.0", "TTTT"),
            ("127.0.0.1", "FFFF"),
            ("169.254.0.1", "TTFF"),
            ("172.31.255.255", "TTTF"),
            ("172.32.0.0", "TTTT"),
            ("192.0.0.7", "TTTF"),
            ("192.0.0.8", "TFFF"),
            ("192.0.0.9", "TTTT"),
            ("192.0.0.170", "FFFF"),
            ("192.0.1.0", "TTTT"),
            ("192.0.2.255", "FFFF"),
            ("198.19.255.255", "TTTF"),
            ("203.0.113.1", "FFFF"),
            ("250.0.0.1", "FFFF"),
            ("255.255.255.255", "FTFF"),
            ("::", "TFFF"),
            ("::2", "TTTT"),
            ("::ffff:10.0.0.1", "FFFF"),
            ("64:ff9b::1", "TTTT"),
            ("100::1", "TTTF"),
            ("2001::1", "TTTF"),
            ("2001:1::4", "FFFF"),
            ("2001:2:0:1::", "TTTF"),
            ("2001:2:1::", "FFFF"),
            ("2001:20::1", "TTTT"),
            ("2001:200::1", "TTTT"),
            ("2001:db8::1", "FFFF"),
            ("2a00::1", "TTTT"),
            ("fd00::1", "TTTF"),
            ("fe80::1", "TTFF"),
        ] {
            let Columns { source, destination, forwardable, global } = find(&none, address);
            let found = [source, destination, forwardable, global].map(|yes| if yes { 'T' } else { 'F' });
            assert_eq!(String::from_iter(found), columns, "{address}");
        }
    }

    #[test]
    fn operator_counts_where_both_have_a_prefix() {
        let set = |prefixes: &[&str]| prefixes.iter().map(|text| text.parse().unwrap()).collect();
        let lists = MartianLists {
            allow: set(&["192.0.2.0/24", "2001:db8:1::/48"]),
            deny: set(&["10.0.0.0/8", "203.0.113.128/25"]),
        };
        assert_eq!(find(&lists, "192.0.2.1"), Columns::ORDINARY);
        assert_eq!(find(&lists, "2001:db8:1::1"), Columns::ORDINARY);
        assert_eq!(find(&lists, "2001:db8:2::1"), Columns::FORBIDDEN);
        assert_eq!(find(&lists, "10.0.0.1"), Columns::FORBIDDEN);
    }
}
