//! Rule sets of the three kinds of ClassBench (Taylor and Turner, 2007): access lists, firewalls, IP chains.
//!
//! Rules are drawn by the parameters of published seeds, [`Seed`]. A set that is larger than the one that its seed was taken from
//! is of several sites, each of its own addresses; rules that others would hide stand before those, as there.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::rule_seeds::{Seed, high_bits};
use super::workload::Random;

/// A kind of rule set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Access lists: destinations are named well, source ports never.
    Acl,
    /// Firewalls: one side is often open.
    Fw,
    /// IP chains: both sides are named, much else is open.
    Ipc,
}

impl Kind {
    fn seed(self) -> Seed {
        Seed::parse(match self {
            Self::Acl => include_str!("rule_seeds/acl.txt"),
            Self::Fw => include_str!("rule_seeds/fw.txt"),
            Self::Ipc => include_str!("rule_seeds/ipc.txt"),
        })
    }
}

/// A rule of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// Network and mask.
    source: (u32, u32),
    destination: (u32, u32),
    source_ports: (u16, u16),
    destination_ports: (u16, u16),
    /// 0: any.
    protocol: u8,
    /// Value and mask; of ICMP those of the type.
    flags: (u8, u8),
}

/// A packet's addresses, ports and protocol.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// The protocol.
    pub protocol: u8,
    /// Flags of TCP, the type of ICMP.
    pub flags: u8,
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// The flag that a packet has which nothing is said of, and the type of an ICMP message.
const SYN: u8 = 0x02;
const ECHO_REQUEST: u8 = 8;
/// Rules that are drawn for one of a site, at most: few addresses and ports do not make as many different rules as are wanted.
const DRAWS: usize = 20;

/// `count` rules of a kind, all different, the same on every run. No prefix of theirs is in 20.0.0.0/8.
pub fn rule_set(kind: Kind, count: usize) -> Vec<Pattern> {
    let (seed, mut random) = (kind.seed(), Random(0xac1 + kind as u64));
    let (mut rules, mut known) = (Vec::with_capacity(count), HashSet::new());
    for site in 0.. {
        let end = count.min(rules.len() + seed.rules);
        for _ in 0..seed.rules * DRAWS {
            if rules.len() == end {
                break;
            }
            let rule = draw(&seed, site, &mut random);
            if known.insert(rule) {
                insert(&mut rules, rule);
            }
        }
        if rules.len() == count {
            break;
        }
    }
    rules
}

fn draw(seed: &Seed, site: u64, random: &mut Random) -> Pattern {
    let protocol = seed.protocols.pick(random);
    let kinds = seed.port_kinds(protocol).pick(random);
    let lengths = seed.lengths(kinds, random);
    let (source, destination) = seed.addresses(site, lengths, random);
    let prefix = |address: u32, length| match length {
        0 => (0, 0),
        _ => (unicast(address) & high_bits(length), high_bits(length)),
    };
    Pattern {
        source: prefix(source, lengths.0),
        destination: prefix(destination, lengths.1),
        source_ports: seed.ports("source", kinds, random),
        destination_ports: seed.ports("destination", kinds, random),
        protocol,
        flags: seed.flags(protocol).pick(random),
    }
}

/// The same address in a network that hosts may have, and not the one that other cases' packets are of.
fn unicast(address: u32) -> u32 {
    let network = match address >> 24 {
        0 | 10 | 20 | 127 => (address >> 24) + 1,
        224.. => (address >> 24) - 96,
        other => other,
    };
    network << 24 | address & 0x00ff_ffff
}

/// Puts a rule behind the others, or before the first one that would hide it.
fn insert(rules: &mut Vec<Pattern>, rule: Pattern) {
    let place = rules.iter().position(|other| other.covers(&rule)).unwrap_or(rules.len());
    rules.insert(place, rule);
}

impl Pattern {
    /// Whether the rule matches whatever another one does.
    fn covers(&self, other: &Self) -> bool {
        let prefix = |(network, mask): (u32, u32), inner: (u32, u32)| {
            mask & !inner.1 == 0 && inner.0 & mask == network
        };
        let ports = |outer: (u16, u16), inner: (u16, u16)| outer.0 <= inner.0 && inner.1 <= outer.1;
        prefix(self.source, other.source)
            && prefix(self.destination, other.destination)
            && ports(self.source_ports, other.source_ports)
            && ports(self.destination_ports, other.destination_ports)
            && (self.protocol == 0 || self.protocol == other.protocol)
            && self.flags.1 & !other.flags.1 == 0
            && other.flags.0 & self.flags.1 == self.flags.0
    }

    /// Whether no packet between these two networks, each an address and a mask, matches.
    pub fn misses(&self, source: (u32, u32), destination: (u32, u32)) -> bool {
        let apart = |one: (u32, u32), other: (u32, u32)| (one.0 ^ other.0) & one.1 & other.1 != 0;
        apart(self.source, source) || apart(self.destination, destination)
    }

    /// As a rule of the plugin, with this action.
    pub fn text(&self, action: &str) -> String {
        let mut text = match self.protocol {
            TCP => format!("{action} ip4 tcp"),
            UDP => format!("{action} ip4 udp"),
            ICMP => format!("{action} icmp"),
            0 => format!("{action} ip4"),
            other => format!("{action} ip4 proto {other}"),
        };
        let sides =
            [("from", self.source, self.source_ports), ("to", self.destination, self.destination_ports)];
        for (word, (network, mask), (first, last)) in sides {
            let is_open = (first, last) == (0, u16::MAX);
            if mask == 0 && is_open {
                continue;
            }
            // Writing to a string does not fail.
            let _ = match mask {
                0 => write!(text, " {word} any"),
                _ => write!(text, " {word} {}/{}", Ipv4Addr::from_bits(network), mask.count_ones()),
            };
            if !is_open {
                let _ = write!(text, " port {first}-{last}");
            }
        }
        let (value, mask) = self.flags;
        let _ = match self.protocol {
            _ if mask == 0 => Ok(()),
            ICMP => write!(text, " type {value}"),
            _ => write!(text, " flags {}/{}", flag_names(value), flag_names(mask)),
        };
        text
    }

    /// A packet that the rule matches, though an earlier one may match it first.
    pub fn flow(&self, random: &mut Random) -> Flow {
        let mut address = |(network, mask): (u32, u32)| match mask {
            // Unicast, and not the router's own network.
            0 => 0x1600_0000 | random.next() as u32 & 0x00ff_ffff,
            _ => network | random.next() as u32 & !mask,
        };
        let (source, destination) = (address(self.source), address(self.destination));
        let mut port = |(first, last): (u16, u16)| first + random.below(u64::from(last - first) + 1) as u16;
        let protocol = if self.protocol == 0 { UDP } else { self.protocol };
        let usual = match protocol {
            TCP => SYN,
            ICMP => ECHO_REQUEST,
            _ => 0,
        };
        Flow {
            source,
            destination,
            source_port: port(self.source_ports),
            destination_port: port(self.destination_ports),
            protocol,
            flags: usual & !self.flags.1 | self.flags.0,
        }
    }
}

/// TCP flags as rules name them.
fn flag_names(bits: u8) -> String {
    const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
    let set: Vec<_> = (0..8).filter(|bit| bits & 1 << bit != 0).map(|bit| NAMES[bit]).collect();
    if set.is_empty() { "none".to_owned() } else { set.join("+") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_as_their_seeds_and_the_same_on_every_run() {
        let share = |rules: &[Pattern], is: fn(&Pattern) -> bool| {
            rules.iter().filter(|rule| is(rule)).count() * 100 / rules.len()
        };
        let [acl, fw, ipc] = [Kind::Acl, Kind::Fw, Kind::Ipc].map(|kind| rule_set(kind, 700));
        for (rules, kind) in [(&acl, Kind::Acl), (&fw, Kind::Fw), (&ipc, Kind::Ipc)] {
            assert_eq!(*rules, rule_set(kind, 700), "{kind:?}");
            assert_eq!(rules.iter().collect::<HashSet<_>>().len(), 700);
        }
        assert!(share(&acl, |rule| rule.protocol == TCP) > 75);
        assert!(share(&acl, |rule| rule.source_ports == (0, u16::MAX)) == 100);
        assert!(share(&fw, |rule| rule.source.1 == 0 || rule.destination.1 == 0) > 50);
        assert!(share(&ipc, |rule| rule.source.1 != 0 && rule.destination.1 != 0) > 50);
        assert!(share(&fw, |rule| rule.protocol == TCP && rule.flags == (0x02, 0x12)) > 40);
    }

    #[test]
    fn no_rule_hides_one_behind_it() {
        for kind in [Kind::Acl, Kind::Fw, Kind::Ipc] {
            let rules = rule_set(kind, 400);
            for (at, rule) in rules.iter().enumerate() {
                assert!(!rules[..at].iter().any(|before| before.covers(rule)), "{kind:?} {at}");
            }
        }
    }

    #[test]
    fn flows_meet_their_rule_and_texts_say_all_of_it() {
        let rule = Pattern {
            source: (0xc000_0200, 0xffff_ff00),
            destination: (0, 0),
            source_ports: (0, u16::MAX),
            destination_ports: (80, 80),
            protocol: TCP,
            flags: (0x02, 0x12),
        };
        assert_eq!(rule.text("deny"), "deny ip4 tcp from 192.0.2.0/24 to any port 80-80 flags syn/syn+ack");
        let flow = rule.flow(&mut Random(1));
        assert_eq!((flow.source >> 8, flow.destination_port, flow.flags), (0x00c0_0002, 80, 0x02));
        assert!(
            rule.misses((0x1400_0000, 0xfff0_0000), (0, 0)) && !rule.misses((0, 0), (0x1400_0000, u32::MAX))
        );
        assert_eq!(
            [0x0a01_0203, 0xe000_0001, 0x0800_0000].map(unicast),
            [0x0b01_0203, 0x8000_0001, 0x0800_0000]
        );
    }
}
