//! Reads the text of a rule.

use std::str::{FromStr, SplitWhitespace};

use raddle_plugin_api::config::nearest;
use raddle_plugin_api::wire::{IpPrefix, IpProtocol};

use crate::name::check_name;
use crate::rule::{Action, Addresses, Fragments, PROTOCOLS, Rule, Side, TCP_FLAGS, TcpFlagMatch, Version};

/// Bytes that the text of a rule may have.
const LONGEST: usize = 1000;
/// Ranges of ports that one side of a rule may name.
const MOST_RANGES: usize = 64;

/// What is wrong with the text of a rule: one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RuleError(String);

impl RuleError {
    /// With this sentence.
    pub fn new(sentence: String) -> Self {
        Self(sentence)
    }
}

macro_rules! refuse {
    ($($text:tt)*) => { return Err(RuleError(format!($($text)*))) };
}

/// Words that begin a part of a rule.
const PARTS: [&str; 8] = ["from", "to", "type", "code", "flags", "dscp", "fragment", "log"];

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        if text.len() > LONGEST {
            refuse!("a rule has {LONGEST} bytes at most, and this has {}", text.len());
        }
        let mut words = Words { left: text.split_whitespace(), peeked: None };
        let mut rule = head(&mut words)?;
        let mut seen: Vec<String> = Vec::new();
        while let Some(part) = words.next() {
            if seen.iter().any(|earlier| earlier == part) {
                refuse!("`{part}` stands in the rule twice");
            }
            seen.push(part.to_owned());
            match part {
                "from" => rule.from = words.side("from")?,
                "to" => rule.to = words.side("to")?,
                "type" => rule.icmp_type = Some(byte_range(words.value("type")?, "type")?),
                "code" => rule.icmp_code = Some(byte_range(words.value("code")?, "code")?),
                "flags" => rule.flags = Some(flags(words.value("flags")?)?),
                "dscp" => rule.dscp = Some(dscp(words.value("dscp")?)?),
                "fragment" => {
                    rule.fragments = Some(match words.value("fragment")? {
                        "any" => Fragments::Any,
                        "first" => Fragments::First,
                        "later" => Fragments::Later,
                        "none" => Fragments::None,
                        other => refuse!("`{other}`: fragments are `any`, `first`, `later` or `none`"),
                    });
                }
                "log" => rule.log = true,
                "port" => refuse!("`port` stands behind the addresses of `from` or `to`"),
                other => match nearest(other, PARTS) {
                    Some(near) => refuse!("unknown word `{other}`; did you mean `{near}`?"),
                    None => refuse!("unknown word `{other}`; expected one of {}", PARTS.join(", ")),
                },
            }
        }
        check(rule)
    }
}

/// The action and the protocol.
fn head(words: &mut Words<'_>) -> Result<Rule, RuleError> {
    let action = match words.next() {
        Some("permit") => Action::Permit,
        Some("deny") => Action::Deny,
        Some("reflect") => Action::Reflect,
        Some(other) => refuse!("a rule begins with `permit`, `deny` or `reflect`, not with `{other}`"),
        None => refuse!("a rule begins with `permit`, `deny` or `reflect`"),
    };
    let mut version = None;
    if let Some(word @ ("ip" | "any" | "ip4" | "ip6")) = words.peek() {
        version = match word {
            "ip4" => Some(Version::Ip4),
            "ip6" => Some(Version::Ip6),
            _ => None,
        };
        words.next();
    }
    let mut protocol = None;
    if let Some(word) = words.peek().filter(|word| !PARTS.contains(word) && *word != "port") {
        words.next();
        let (of, only) = match word {
            "icmp" => (IpProtocol::ICMP4, Some(Version::Ip4)),
            "icmp6" => (IpProtocol::ICMP6, Some(Version::Ip6)),
            "proto" => {
                let number = words.value("proto")?;
                match number.parse() {
                    Ok(number) => protocol_of(number),
                    Err(_) => refuse!("`{number}` is not the number of a protocol, 0 to 255"),
                }
            }
            word => match PROTOCOLS.iter().find(|(name, _)| *name == word) {
                Some(&(_, protocol)) => (protocol, None),
                None => {
                    let known = PROTOCOLS.iter().map(|(name, _)| *name).chain(["icmp", "icmp6"]).chain(PARTS);
                    match nearest(word, known) {
                        Some(near) => refuse!("unknown word `{word}`; did you mean `{near}`?"),
                        None => {
                            refuse!("unknown protocol `{word}`; others than the usual are `proto NUMBER`")
                        }
                    }
                }
            },
        };
        if only.is_some() && version.is_some() && version != only {
            refuse!("`{word}` is of the other version of IP");
        }
        version = version.or(only);
        protocol = Some(of);
    }
    Ok(Rule {
        action,
        version,
        protocol,
        from: Side::default(),
        to: Side::default(),
        icmp_type: None,
        icmp_code: None,
        flags: None,
        dscp: None,
        fragments: None,
        log: false,
    })
}

fn protocol_of(number: u8) -> (IpProtocol, Option<Version>) {
    let only = match IpProtocol(number) {
        IpProtocol::ICMP4 => Some(Version::Ip4),
        IpProtocol::ICMP6 => Some(Version::Ip6),
        _ => None,
    };
    (IpProtocol(number), only)
}

/// What only the whole rule shows.
fn check(mut rule: Rule) -> Result<Rule, RuleError> {
    let has_ports = !rule.from.ports.is_empty() || !rule.to.ports.is_empty();
    let ported = [IpProtocol::TCP, IpProtocol::UDP, IpProtocol::SCTP, IpProtocol::UDP_LITE];
    if has_ports && !rule.protocol.is_some_and(|protocol| ported.contains(&protocol)) {
        refuse!("ports are of tcp, udp, sctp or udp-lite");
    }
    let is_icmp = matches!(rule.protocol, Some(IpProtocol::ICMP4 | IpProtocol::ICMP6));
    if (rule.icmp_type.is_some() || rule.icmp_code.is_some()) && !is_icmp {
        refuse!("types and codes are of icmp or icmp6");
    }
    if rule.flags.is_some() && rule.protocol != Some(IpProtocol::TCP) {
        refuse!("flags are of tcp");
    }
    for (side, name) in [(&rule.from, "from"), (&rule.to, "to")] {
        let Addresses::Prefix(prefix) = side.addresses else { continue };
        let version = if prefix.network().is_ipv4() { Version::Ip4 } else { Version::Ip6 };
        if rule.version.is_some_and(|of| of != version) {
            refuse!("`{name} {prefix}` is of another version of IP than the rest of the rule");
        }
        rule.version = Some(version);
    }
    Ok(rule)
}

struct Words<'t> {
    left: SplitWhitespace<'t>,
    peeked: Option<&'t str>,
}

impl<'t> Words<'t> {
    fn next(&mut self) -> Option<&'t str> {
        self.peeked.take().or_else(|| self.left.next())
    }

    fn peek(&mut self) -> Option<&'t str> {
        if self.peeked.is_none() {
            self.peeked = self.left.next();
        }
        self.peeked
    }

    fn value(&mut self, of: &str) -> Result<&'t str, RuleError> {
        self.next().ok_or_else(|| RuleError(format!("`{of}` lacks its value")))
    }

    fn side(&mut self, of: &str) -> Result<Side, RuleError> {
        let addresses = match self.value(of)? {
            "any" => Addresses::Any,
            word => match word.strip_prefix('@') {
                Some(name) => {
                    check_name(name).map_err(|wrong| RuleError(wrong.to_string()))?;
                    Addresses::Set(name.to_owned())
                }
                None => Addresses::Prefix(prefix(word)?),
            },
        };
        let mut ports = Vec::new();
        if self.peek() == Some("port") {
            self.next();
            for range in self.value("port")?.split(',') {
                ports.push(port_range(range)?);
            }
            if ports.len() > MOST_RANGES {
                refuse!("{} ranges of ports; one side has {MOST_RANGES} at most", ports.len());
            }
        }
        Ok(Side { addresses, ports })
    }
}

/// Reads a prefix, or an address that stands for itself.
///
/// # Errors
/// It is neither; or bits behind the prefix are set.
pub fn prefix(text: &str) -> Result<IpPrefix, RuleError> {
    let read = if text.contains('/') {
        text.parse::<IpPrefix>().map_err(|error| error.to_string())
    } else {
        text.parse()
            .map(IpPrefix::host)
            .map_err(|_| format!("`{text}` is not an address, a prefix or `@SET`"))
    };
    read.map_err(RuleError)
}

fn port_range(text: &str) -> Result<(u16, u16), RuleError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        (Ok::<u16, _>(first), Ok::<u16, _>(last)) => {
            refuse!("the range of ports {first}-{last} is the wrong way round")
        }
        _ => refuse!("`{text}` is not a port or a range of ports, 0 to 65535"),
    }
}

fn byte_range(text: &str, of: &str) -> Result<(u8, u8), RuleError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        (Ok::<u8, _>(first), Ok::<u8, _>(last)) => {
            refuse!("the {of} range {first}-{last} is the wrong way round")
        }
        _ => refuse!("`{text}` is not a {of} or a range of them, 0 to 255"),
    }
}

fn flags(text: &str) -> Result<TcpFlagMatch, RuleError> {
    let (value, mask) = text.split_once('/').unwrap_or((text, text));
    let (value, mask) = (flag_set(value)?, flag_set(mask)?);
    if value & !mask != 0 {
        refuse!("flags `{text}`: a flag that must be set is not among those that are looked at");
    }
    Ok(TcpFlagMatch { value, mask })
}

fn flag_set(text: &str) -> Result<u8, RuleError> {
    if text == "none" {
        return Ok(0);
    }
    if let Some(number) = text.strip_prefix("0x").and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
        return Ok(number);
    }
    let mut bits = 0;
    for name in text.split('+') {
        match TCP_FLAGS.iter().position(|flag| *flag == name) {
            Some(bit) => bits |= 1 << bit,
            None => refuse!("`{name}` is not a TCP flag; there are {}", TCP_FLAGS.join(", ")),
        }
    }
    Ok(bits)
}

/// Names of code points (RFC 2474, RFC 2597, RFC 3246, RFC 8622), or a number.
fn dscp(text: &str) -> Result<u8, RuleError> {
    let class = |text: &str, prefix: &str| text.strip_prefix(prefix)?.parse::<u8>().ok();
    let point = match text {
        "ef" => Some(46),
        "le" => Some(1),
        _ => match (class(text, "cs"), class(text, "af")) {
            (Some(class @ 0..=7), _) => Some(class * 8),
            (_, Some(class @ 11..=43)) if matches!((class / 10, class % 10), (1..=4, 1..=3)) => {
                Some(class / 10 * 8 + class % 10 * 2)
            }
            _ => text.parse().ok().filter(|point| *point < 64),
        },
    };
    point.ok_or_else(|| {
        RuleError(format!("`{text}` is not a DSCP: 0 to 63, or a name such as `ef`, `cs6`, `af41`"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Rule>().unwrap_err().to_string()
    }

    #[test]
    fn rules_are_written_as_they_are_read() {
        for text in [
            "permit ip",
            "deny ip log",
            "permit ip4",
            "reflect tcp from 10.0.0.0/8 port 1024-65535 to @servers port 80,443",
            "permit ip4 tcp from 10.0.0.0/8",
            "deny icmp type 8 code 0-3",
            "permit icmp6 from fe80::/10 type 133-137",
            "permit tcp flags syn/syn+ack",
            "deny tcp flags none/fin+syn+rst+psh+ack+urg+ece+cwr",
            "permit ip6 udp dscp 46",
            "deny ip fragment later",
            "permit proto 200",
            "permit esp to 192.0.2.1/32",
            "permit udp from any port 53",
        ] {
            let rule: Rule = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            let again = rule.to_string();
            assert_eq!(again.parse::<Rule>().unwrap(), rule, "{text} as {again}");
        }
        let rule: Rule = "permit tcp to 192.0.2.1 dscp af41 flags syn".parse().unwrap();
        assert_eq!(rule.to_string(), "permit ip4 tcp to 192.0.2.1/32 flags syn/syn dscp 34");
    }

    #[test]
    fn what_is_wrong_is_said_in_one_sentence() {
        for (text, sentence) in [
            ("", "a rule begins with `permit`, `deny` or `reflect`"),
            ("allow tcp", "a rule begins with `permit`, `deny` or `reflect`, not with `allow`"),
            ("permit tpc", "unknown word `tpc`; did you mean `tcp`?"),
            ("permit tcp fron any", "unknown word `fron`; did you mean `from`?"),
            ("permit tcp from 10.0.0.0/33", "prefix length 33 is more than 32"),
            ("permit tcp from 10.0.0.300", "`10.0.0.300` is not an address, a prefix or `@SET`"),
            ("permit tcp to any port 90-80", "the range of ports 90-80 is the wrong way round"),
            ("permit tcp to any port 70000", "`70000` is not a port or a range of ports, 0 to 65535"),
            ("permit ip to any port 80", "ports are of tcp, udp, sctp or udp-lite"),
            ("permit tcp type 8", "types and codes are of icmp or icmp6"),
            ("permit udp flags syn", "flags are of tcp"),
            (
                "permit tcp flags syn+foo",
                "`foo` is not a TCP flag; there are fin, syn, rst, psh, ack, urg, ece, cwr",
            ),
            ("permit ip dscp 64", "`64` is not a DSCP: 0 to 63, or a name such as `ef`, `cs6`, `af41`"),
            ("permit ip from any from any", "`from` stands in the rule twice"),
            ("permit tcp from", "`from` lacks its value"),
            (
                "permit ip from 10.0.0.0/8 to 2001:db8::/32",
                "`to 2001:db8::/32` is of another version of IP than the rest of the rule",
            ),
            ("permit ip6 icmp", "`icmp` is of the other version of IP"),
        ] {
            let said = error(text);
            if !sentence.starts_with("prefix length") {
                assert_eq!(said, sentence, "{text}");
            }
            assert!(!said.contains('\n') && !said.is_empty());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            let _ = text.parse::<Rule>();
        }

        #[test]
        fn words_of_rules_in_any_order_are_read_back_if_they_are_read(
            words in prop::collection::vec(prop::sample::select(vec![
                "permit", "deny", "tcp", "udp", "icmp", "ip4", "from", "to", "any", "10.0.0.0/8", "::/0", "@a", "port",
                "80", "1-2,3", "type", "code", "flags", "syn/ack", "dscp", "ef", "fragment", "later", "log", "proto", "7",
            ]), 0..12)
        ) {
            if let Ok(rule) = words.join(" ").parse::<Rule>() {
                prop_assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule);
            }
        }
    }
}
