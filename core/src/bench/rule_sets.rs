//! Rule sets after the three kinds of ClassBench (Taylor and Turner, 2007): access lists, firewalls, IP chains.
//!
//! What makes a kind is here as a few rounded shares, chosen to be like those of its seeds, not taken from them: how often an
//! address is left open and how long prefixes are, how often ports are open, exact or a range, and the protocols. Prefixes come
//! in clusters, as those of one site do.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::workload::Random;

/// A kind of rule set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Access lists: destinations are named well, source ports never.
    Acl,
    /// Firewalls: one side is often open, ports are ranges.
    Fw,
    /// IP chains: both sides are named, much else is open.
    Ipc,
}

/// Shares in percent.
struct Shares {
    /// Source addresses: open, hosts, the rest prefixes.
    source: [u64; 2],
    destination: [u64; 2],
    /// Source ports: open, exact, the rest ranges.
    source_ports: [u64; 2],
    destination_ports: [u64; 2],
    /// TCP, UDP, ICMP, the rest any.
    protocols: [u64; 3],
}

impl Kind {
    const fn shares(self) -> Shares {
        match self {
            Self::Acl => Shares {
                source: [18, 40],
                destination: [2, 60],
                source_ports: [99, 1],
                destination_ports: [25, 56],
                protocols: [80, 12, 3],
            },
            Self::Fw => Shares {
                source: [45, 30],
                destination: [35, 35],
                source_ports: [70, 10],
                destination_ports: [35, 35],
                protocols: [55, 30, 5],
            },
            Self::Ipc => Shares {
                source: [15, 45],
                destination: [12, 50],
                source_ports: [80, 12],
                destination_ports: [60, 28],
                protocols: [45, 30, 5],
            },
        }
    }
}

/// A rule of a set.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    source: (u32, u32),
    destination: (u32, u32),
    source_ports: (u16, u16),
    destination_ports: (u16, u16),
    /// 0: any.
    protocol: u8,
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
}

/// `count` rules of a kind, the same on every run. Their addresses are outside of 20.0.0.0/8.
pub fn rule_set(kind: Kind, count: usize) -> Vec<Pattern> {
    let mut random = Random(0xac1 + kind as u64);
    let shares = kind.shares();
    let sites: Vec<u32> = (0..(count / 20).max(4)).map(|_| site(&mut random)).collect();
    (0..count)
        .map(|_| {
            let protocol = match random.below(100) {
                share if share < shares.protocols[0] => 6,
                share if share < shares.protocols[0] + shares.protocols[1] => 17,
                share if share < shares.protocols.iter().sum() => 1,
                _ => 0,
            };
            let has_ports = matches!(protocol, 6 | 17);
            let mut ports = |shares: [u64; 2]| match random.below(100) {
                _ if !has_ports => (0, u16::MAX),
                share if share < shares[0] => (0, u16::MAX),
                share if share < shares[0] + shares[1] => {
                    let port = [80, 443, 53, 22, 25, 110, 1521, 3306][random.below(8) as usize];
                    let port = if random.below(2) == 0 { port } else { 1024 + random.below(8000) as u16 };
                    (port, port)
                }
                _ if random.below(3) == 0 => (1024, u16::MAX),
                _ => {
                    let first = random.below(60_000) as u16;
                    (first, first + random.below(500) as u16)
                }
            };
            let (source_ports, destination_ports) =
                (ports(shares.source_ports), ports(shares.destination_ports));
            let source = prefix(shares.source, &sites, &mut random);
            let destination = prefix(shares.destination, &sites, &mut random);
            Pattern { source, destination, source_ports, destination_ports, protocol }
        })
        .collect()
}

fn site(random: &mut Random) -> u32 {
    loop {
        let network = random.next() as u32;
        if !matches!(network >> 24, 0 | 10 | 20 | 127 | 224..) {
            return network & 0xffff_ff00;
        }
    }
}

/// Network and mask.
fn prefix([open, host]: [u64; 2], sites: &[u32], random: &mut Random) -> (u32, u32) {
    let share = random.below(100);
    if share < open {
        return (0, 0);
    }
    let length = if share < open + host { 32 } else { 16 + random.below(15) as u32 };
    let mask = u32::MAX << (32 - length);
    let address = sites[random.below(sites.len() as u64) as usize] | random.below(256) as u32;
    (address & mask, mask)
}

impl Pattern {
    /// Whether it names no address.
    pub fn is_open(&self) -> bool {
        self.source.1 | self.destination.1 == 0
    }

    /// As a rule of the plugin, with this action.
    pub fn text(&self, action: &str) -> String {
        let mut text = action.to_owned();
        text += match self.protocol {
            6 => " tcp",
            17 => " udp",
            1 => " icmp",
            _ => " ip4",
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
        Flow {
            source,
            destination,
            source_port: port(self.source_ports),
            destination_port: port(self.destination_ports),
            protocol: if self.protocol == 0 { 17 } else { self.protocol },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_differ_and_runs_do_not() {
        let texts = |kind| rule_set(kind, 500).iter().map(|rule| rule.text("permit")).collect::<Vec<_>>();
        for kind in [Kind::Acl, Kind::Fw, Kind::Ipc] {
            assert_eq!(texts(kind), texts(kind));
        }
        let open = |kind| rule_set(kind, 2000).iter().filter(|rule| rule.source.1 == 0).count();
        assert!(open(Kind::Fw) > 2 * open(Kind::Acl) && open(Kind::Acl) > open(Kind::Ipc));
    }
}
