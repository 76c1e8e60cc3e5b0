//! `acl check` and `acl test`: what lists would do, without anything being changed.

use std::net::IpAddr;
use std::str::FromStr;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::IpProtocol;
use serde::{Deserialize, Serialize};

use super::change::rules;
use super::reachable::is_covered;
use crate::acl::acl;
use crate::compile::{
    Entry, Expanded, FIRST_FRAGMENT, Key4, Key6, LATER_FRAGMENT, META4, META6, TRANSPORT, WORDS4, WORDS6,
    expand, meta,
};
use crate::direction::Direction;
use crate::policy::{List, Policy};
use crate::rule::{Action, PROTOCOLS, Rule};

command! {
    "acl check [<list>] [rules <rules:string>]",
    "says which rules can never match, of a list or of all; or of the rules given, as if they took the list's place", check
}
command! {
    "acl test in|out <interface> <packet:string>",
    "says which rule a packet would meet: `acl test in wan 192.0.2.1 -> 198.51.100.1 tcp 443`", test
}

#[derive(Deserialize)]
struct CheckArguments {
    list: Option<String>,
    rules: Option<String>,
}

/// A rule that can never match.
#[derive(Debug, Serialize)]
struct Hidden {
    list: String,
    rule: usize,
    text: String,
    why: &'static str,
}

/// What a check has found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct CheckReport {
    rules: usize,
    /// What the rules become, each a pair of prefixes and of port ranges.
    entries: usize,
    table_bytes: usize,
    never_match: Vec<Hidden>,
}

impl CommandOutput for CheckReport {
    fn text(&self) -> Option<String> {
        let Self { rules, entries, table_bytes, never_match } = self;
        let mut text =
            format!("{rules} rules, which become {entries} entries in {} KiB", table_bytes.div_ceil(1024));
        for Hidden { list, rule, text: of, why } in never_match {
            text += &format!("\nlist {list} rule {rule} never matches, {why}: {of}");
        }
        Some(text)
    }
}

fn check(control: &mut Control<'_>, arguments: CheckArguments) -> Result<CheckReport, Failure> {
    let acl = acl(control)?;
    let mut draft = acl.store().clone();
    let names: Vec<String> = match (&arguments.list, &arguments.rules) {
        (Some(name), Some(text)) => {
            draft.put_list(name, rules(text)?)?;
            vec![name.clone()]
        }
        (Some(name), None) => vec![draft.list(name)?.name.clone()],
        (None, Some(_)) => bail!("rules are checked in the place of a list: name it"),
        (None, None) => draft.lists().keys().cloned().collect(),
    };
    let mut report = CheckReport { rules: 0, entries: 0, table_bytes: 0, never_match: Vec::new() };
    for name in &names {
        let list = draft.list(name)?;
        let policy = draft.compile(std::slice::from_ref(name))?;
        report.rules += list.rules.len();
        report.entries += policy.ip4.entries() + policy.ip6.entries();
        report.table_bytes += policy.ip4.bytes() + policy.ip6.bytes();
        let mut expanded = Expanded::default();
        for (place, rule) in list.rules.iter().enumerate() {
            let set = |name: &str| draft.sets().get(name).map_or(&[][..], |set| set.as_slice());
            expand(&mut expanded, rule, place as u32, set)?;
        }
        report.never_match.extend(hidden(list, &expanded));
    }
    Ok(report)
}

/// The rules of a list that can never match.
fn hidden(list: &List, expanded: &Expanded) -> Vec<Hidden> {
    let mut reached = vec![false; list.rules.len()];
    let mut has_entries = vec![false; list.rules.len()];
    reach(&expanded.ip4, &mut reached, &mut has_entries);
    reach(&expanded.ip6, &mut reached, &mut has_entries);
    let hidden = (0..list.rules.len()).filter(|&rule| !reached[rule]);
    hidden
        .map(|rule| Hidden {
            list: list.name.clone(),
            rule: rule + 1,
            text: list.rules[rule].to_string(),
            why: if has_entries[rule] {
                "rules before it match all of it"
            } else {
                "a set that it names is empty"
            },
        })
        .collect()
}

fn reach<const W: usize>(entries: &[Entry<W>], reached: &mut [bool], has_entries: &mut [bool]) {
    for (at, entry) in entries.iter().enumerate() {
        let rule = entry.rule as usize;
        has_entries[rule] = true;
        // Entries of the rule itself do not hide it.
        let before = entries[..at].partition_point(|other| other.rule < entry.rule);
        if !reached[rule] && is_covered(entry, &entries[..before]) != Some(true) {
            reached[rule] = true;
        }
    }
}

#[derive(Deserialize)]
struct TestArguments {
    #[serde(default, rename = "in")]
    input: bool,
    interface: String,
    packet: String,
}

/// What a packet would meet.
#[derive(Debug, Serialize)]
struct TestReport {
    verdict: &'static str,
    list: Option<String>,
    rule: Option<u32>,
    text: Option<String>,
}

impl CommandOutput for TestReport {
    fn text(&self) -> Option<String> {
        Some(match (&self.list, &self.rule, &self.text) {
            (Some(list), Some(rule), Some(text)) => {
                format!("{}: list {list} rule {rule}: {text}", self.verdict)
            }
            _ => self.verdict.to_owned(),
        })
    }
}

fn test(control: &mut Control<'_>, arguments: TestArguments) -> Result<TestReport, Failure> {
    let packet: TestPacket = arguments.packet.parse()?;
    let interface = control.interface(&arguments.interface)?;
    let direction = if arguments.input { Direction::In } else { Direction::Out };
    let acl = acl(control)?;
    let attachments = acl.attachments.get(control);
    let policy = attachments.of(interface.index).and_then(|attachment| attachment.policy(direction));
    let Some(policy) = policy else {
        let verdict = "permit: no lists are applied";
        return Ok(TestReport { verdict, list: None, rule: None, text: None });
    };
    let place = packet.find(policy);
    let found = policy.rule(place).and_then(|of| {
        let list = policy.lists.get(usize::from(of.list))?;
        Some((of, list, list.rules.get(of.rule as usize)?))
    });
    Ok(match found {
        Some((of, list, rule)) => TestReport {
            verdict: match of.action {
                Action::Reflect => "permit, a session begins",
                action => action.word(),
            },
            list: Some(list.name.clone()),
            rule: Some(of.rule + 1),
            text: Some(Rule::to_string(rule)),
        },
        None => TestReport { verdict: "deny: no rule matches", list: None, rule: None, text: None },
    })
}

/// A packet as it is typed: `192.0.2.1 -> 198.51.100.1 tcp 1024:443 flags syn`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TestPacket {
    addresses: [IpAddr; 2],
    meta: u32,
    ports: u32,
}

/// The source port of a packet of which only the other one is typed.
const SOURCE_PORT: u32 = 49152;

impl FromStr for TestPacket {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let mut words = text.split_whitespace().filter(|word| !matches!(*word, "->" | "→" | ">" | "to"));
        let mut address = |which: &str| -> Result<IpAddr, Failure> {
            let word = words.next().ok_or_else(|| failure!("the packet lacks its {which} address"))?;
            word.parse().map_err(|_| failure!("`{word}` is not an address"))
        };
        let addresses = [address("source")?, address("destination")?];
        if addresses[0].is_ipv4() != addresses[1].is_ipv4() {
            bail!("the packet's addresses are of two versions of IP");
        }
        let protocol = match words.next() {
            None => return Ok(Self { addresses, meta: meta(253, 0, 0, 0), ports: 0 }),
            Some("icmp") => IpProtocol::ICMP4,
            Some("icmp6") => IpProtocol::ICMP6,
            Some(word) => match PROTOCOLS.iter().find(|(name, _)| *name == word) {
                Some(&(_, protocol)) => protocol,
                None => IpProtocol(word.parse().map_err(|_| failure!("`{word}` is not a protocol"))?),
            },
        };
        let number = |word: &str, most: u32| -> Result<u32, Failure> {
            let number = word.parse().ok().filter(|number| *number <= most);
            number.ok_or_else(|| failure!("`{word}` is not a number from 0 to {most}"))
        };
        let is_icmp = matches!(protocol, IpProtocol::ICMP4 | IpProtocol::ICMP6);
        let has_ports =
            matches!(protocol, IpProtocol::TCP | IpProtocol::UDP | IpProtocol::UDP_LITE | IpProtocol::SCTP);
        let (mut ports, mut bits) = (0, 0);
        let (mut flags, mut dscp) = (if protocol == IpProtocol::TCP { 2 } else { 0 }, 0);
        if is_icmp || has_ports {
            let most = if is_icmp { 255 } else { 65_535 };
            let example = if is_icmp { "TYPE:CODE" } else { "a port" };
            let word = words.next().ok_or_else(|| failure!("the packet lacks {example}"))?;
            ports = match (word.split_once(':'), is_icmp) {
                (Some((first, second)), _) => number(first, most)? << 16 | number(second, most)?,
                (None, true) => number(word, most)? << 16,
                (None, false) => SOURCE_PORT << 16 | number(word, most)?,
            };
            bits = TRANSPORT;
        }
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| failure!("`{word}` lacks its value"))?;
            match word {
                "flags" => {
                    let rule: Rule = format!("permit tcp flags {value}").parse()?;
                    flags = rule.flags.map_or(0, |flags| flags.value);
                }
                "dscp" => {
                    let rule: Rule = format!("permit ip dscp {value}").parse()?;
                    dscp = rule.dscp.unwrap_or(0);
                }
                "fragment" => match value {
                    "first" => bits |= FIRST_FRAGMENT,
                    "later" => bits |= LATER_FRAGMENT,
                    _ => bail!("a fragment is `first` or `later`"),
                },
                _ => bail!("unknown word `{word}`; expected `flags`, `dscp` or `fragment`"),
            }
        }
        Ok(Self { addresses, meta: meta(protocol.0, flags, dscp, bits), ports })
    }
}

impl TestPacket {
    fn find(&self, policy: &Policy) -> u32 {
        match self.addresses {
            [IpAddr::V4(source), IpAddr::V4(destination)] => {
                let mut key = Key4 { words: [source.to_bits(), destination.to_bits(), 0, self.ports] };
                key.words[META4] = self.meta;
                policy.ip4.find(&key)
            }
            [source, destination] => {
                let bits = |address: IpAddr| match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
                    IpAddr::V6(address) => address.to_bits(),
                };
                let mut key = Key6 { words: [0; WORDS6] };
                for (side, bits) in [bits(source), bits(destination)].into_iter().enumerate() {
                    for word in 0..4 {
                        key.words[side * 4 + word] = (bits >> (96 - 32 * word)) as u32;
                    }
                }
                (key.words[META6], key.words[WORDS6 - 1]) = (self.meta, self.ports);
                policy.ip6.find(&key)
            }
        }
    }
}

const _: () = assert!(WORDS4 == 4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_as_they_are_typed() {
        let packet: TestPacket = "10.0.0.1 -> 192.0.2.1 tcp 443".parse().unwrap();
        assert_eq!(packet.meta, meta(6, 2, 0, TRANSPORT));
        assert_eq!(packet.ports, SOURCE_PORT << 16 | 443);
        let packet: TestPacket = "::1 ::2 icmp6 128:0 dscp ef fragment first".parse().unwrap();
        assert_eq!(packet.meta, meta(58, 0, 46, TRANSPORT | FIRST_FRAGMENT));
        assert_eq!(packet.ports, 128 << 16);
        for (text, said) in [
            ("", "the packet lacks its source address"),
            ("10.0.0.1 ::1", "the packet's addresses are of two versions of IP"),
            ("10.0.0.1 10.0.0.2 tcp", "the packet lacks a port"),
            ("10.0.0.1 10.0.0.2 tcp 99999", "`99999` is not a number from 0 to 65535"),
            ("10.0.0.1 10.0.0.2 tcp 1 flags", "`flags` lacks its value"),
        ] {
            assert_eq!(text.parse::<TestPacket>().unwrap_err().to_string(), said);
        }
    }
}
