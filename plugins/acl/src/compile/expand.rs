//! From rules, with their sets and lists of ports, to entries.

use raddle_plugin_api::wire::{IpPrefix, IpProtocol};

use super::entry::{Entry, FIRST_FRAGMENT, LATER_FRAGMENT, META4, META6, TRANSPORT, WORDS4, WORDS6, meta};
use crate::rule::{Addresses, Fragments, Rule, Version};

/// Entries that the lists of one interface and direction may become, for each version of IP. A leaf counts its entries in 16
/// bits.
pub const MOST_ENTRIES: usize = 60_000;

/// Rules that become too many entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the rules become more than {MOST_ENTRIES} combinations of prefixes and port ranges; sets on both sides of a rule multiply"
)]
pub struct TooManyEntries;

/// The entries of rules, by version of IP.
#[derive(Debug, Default)]
pub struct Expanded {
    /// Of IPv4.
    pub ip4: Vec<Entry<WORDS4>>,
    /// Of IPv6.
    pub ip6: Vec<Entry<WORDS6>>,
}

/// Adds the entries of a rule, whose place in the lists is `place`; `set` gives the prefixes of a set.
///
/// # Errors
/// There are too many.
pub fn expand<'s>(
    into: &mut Expanded,
    rule: &Rule,
    place: u32,
    set: impl Fn(&str) -> &'s [IpPrefix],
) -> Result<(), TooManyEntries> {
    let sides = [&rule.from.addresses, &rule.to.addresses];
    let (mask, value, fragment_forms) = conditions(rule);
    let (sources, destinations) = match (rule.icmp_type, rule.icmp_code) {
        (None, None) => (ranges(&rule.from.ports), ranges(&rule.to.ports)),
        (kind, code) => {
            let range = |range: Option<(u8, u8)>| {
                range.map_or((0, u16::MAX), |(first, last)| (u16::from(first), u16::from(last - first)))
            };
            (vec![range(kind)], vec![range(code)])
        }
    };
    for version in [Version::Ip4, Version::Ip6] {
        if rule.version.is_some_and(|only| only != version) {
            continue;
        }
        let [from, to] = sides.map(|addresses| match addresses {
            Addresses::Any => vec![None],
            Addresses::Prefix(prefix) => vec![Some(*prefix)],
            Addresses::Set(name) => set(name).iter().copied().map(Some).collect(),
        });
        let of_version = |prefix: &&Option<IpPrefix>| {
            prefix.is_none_or(|prefix| prefix.network().is_ipv4() == (version == Version::Ip4))
        };
        let from: Vec<_> = from.iter().filter(of_version).collect();
        let to: Vec<_> = to.iter().filter(of_version).collect();
        let count = from.len() * to.len() * sources.len() * destinations.len() * fragment_forms.len();
        if into.ip4.len().max(into.ip6.len()) + count > MOST_ENTRIES {
            return Err(TooManyEntries);
        }
        for from in &from {
            for to in &to {
                for &source in &sources {
                    for &destination in &destinations {
                        for &(bits_mask, bits) in fragment_forms {
                            let meta = (mask | bits_mask, value | bits);
                            match version {
                                Version::Ip4 => {
                                    into.ip4.push(entry4([from, to], meta, source, destination, place))
                                }
                                Version::Ip6 => {
                                    into.ip6.push(entry6([from, to], meta, source, destination, place))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// A rule's mask and value of [`meta`] without fragments; and mask and value of each form of fragment that it matches.
fn conditions(rule: &Rule) -> (u32, u32, &'static [(u32, u32)]) {
    let protocol = rule.protocol.map_or((0, 0), |IpProtocol(number)| (u8::MAX, number));
    let flags = rule.flags.map_or((0, 0), |flags| (flags.mask, flags.value));
    let dscp = rule.dscp.map_or((0, 0), |dscp| (0x3f, dscp));
    let has_ports = !rule.from.ports.is_empty() || !rule.to.ports.is_empty();
    let behind = has_ports || rule.icmp_type.is_some() || rule.icmp_code.is_some() || rule.flags.is_some();
    let transport = if behind { TRANSPORT } else { 0 };
    let fragments: &[(u32, u32)] = match rule.fragments {
        None => &[(0, 0)],
        Some(Fragments::First) => &[(FIRST_FRAGMENT, FIRST_FRAGMENT)],
        Some(Fragments::Later) => &[(LATER_FRAGMENT, LATER_FRAGMENT)],
        Some(Fragments::None) => &[(FIRST_FRAGMENT | LATER_FRAGMENT, 0)],
        Some(Fragments::Any) => &[(FIRST_FRAGMENT, FIRST_FRAGMENT), (LATER_FRAGMENT, LATER_FRAGMENT)],
    };
    let mask = meta(protocol.0, flags.0, dscp.0, transport);
    (mask, meta(protocol.1, flags.1, dscp.1, transport), fragments)
}

/// First port, and how many more.
fn ranges(ports: &[(u16, u16)]) -> Vec<(u16, u16)> {
    if ports.is_empty() {
        vec![(0, u16::MAX)]
    } else {
        ports.iter().map(|&(first, last)| (first, last - first)).collect()
    }
}

fn entry4(
    sides: [&Option<IpPrefix>; 2],
    meta: (u32, u32),
    source: (u16, u16),
    destination: (u16, u16),
    rule: u32,
) -> Entry<WORDS4> {
    let mut entry = Entry { values: [0; WORDS4], masks: [0; WORDS4], source, destination, rule };
    for (word, side) in sides.into_iter().enumerate() {
        if let Some(IpPrefix::V4(prefix)) = side {
            (entry.masks[word], entry.values[word]) = (prefix.mask().to_bits(), prefix.network().to_bits());
        }
    }
    (entry.masks[META4], entry.values[META4]) = meta;
    entry
}

fn entry6(
    sides: [&Option<IpPrefix>; 2],
    meta: (u32, u32),
    source: (u16, u16),
    destination: (u16, u16),
    rule: u32,
) -> Entry<WORDS6> {
    let mut entry = Entry { values: [0; WORDS6], masks: [0; WORDS6], source, destination, rule };
    for (side, prefix) in sides.into_iter().enumerate() {
        if let Some(IpPrefix::V6(prefix)) = prefix {
            let (mask, value) = (prefix.mask().to_bits(), prefix.network().to_bits());
            for word in 0..4 {
                let shift = 96 - 32 * word;
                entry.masks[side * 4 + word] = (mask >> shift) as u32;
                entry.values[side * 4 + word] = (value >> shift) as u32;
            }
        }
    }
    (entry.masks[META6], entry.values[META6]) = meta;
    entry
}
