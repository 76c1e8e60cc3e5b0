//! Rules of the link layer: which MAC address may send from which IP address, and which ethertypes may pass.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use raddle_plugin_api::wire::{EtherType, IpPrefix, MacAddress};

use crate::rule::Action;
use crate::rule_text::{RuleError, prefix};

/// A MAC-IP rule: `permit 02:00:00:00:00:01 10.0.0.0/24`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacRule {
    /// Whether frames pass.
    pub permit: bool,
    /// Source MAC addresses, under a mask.
    pub mac: Option<(MacAddress, MacAddress)>,
    /// Source IP addresses.
    pub addresses: Option<IpPrefix>,
}

impl FromStr for MacRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let wrong = |text: String| RuleError::new(text);
        let mut words = text.split_whitespace();
        let permit = match words.next() {
            Some("permit") => true,
            Some("deny") => false,
            _ => return Err(wrong("a MAC-IP rule begins with `permit` or `deny`".into())),
        };
        let read_mac = |text: &str| {
            text.parse::<MacAddress>().map_err(|_| wrong(format!("`{text}` is not a MAC address")))
        };
        let mac = match words.next() {
            None => return Err(wrong("a MAC-IP rule names a MAC address, or `any`".into())),
            Some("any") => None,
            Some(word) => {
                let (mac, mask) = word.split_once('/').unwrap_or((word, "ff:ff:ff:ff:ff:ff"));
                let (mac, mask) = (read_mac(mac)?, read_mac(mask)?);
                if mac.0.iter().zip(mask.0).any(|(byte, mask)| byte & !mask != 0) {
                    return Err(wrong(format!("`{word}` has bits set that its mask leaves out")));
                }
                Some((mac, mask))
            }
        };
        let addresses = match words.next() {
            None | Some("any") => None,
            Some(word) => Some(prefix(word)?),
        };
        match words.next() {
            None => Ok(Self { permit, mac, addresses }),
            Some(more) => Err(wrong(format!("`{more}` is more than a MAC-IP rule has"))),
        }
    }
}

impl fmt::Display for MacRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.permit { Action::Permit.word() } else { Action::Deny.word() })?;
        match &self.mac {
            None => f.write_str(" any")?,
            Some((mac, MacAddress([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))) => write!(f, " {mac}")?,
            Some((mac, mask)) => write!(f, " {mac}/{mask}")?,
        }
        self.addresses.map_or(Ok(()), |prefix| write!(f, " {prefix}"))
    }
}

impl MacRule {
    fn matches(&self, mac: MacAddress, address: Option<IpAddr>) -> bool {
        let same = |(of, mask): (MacAddress, MacAddress)| {
            (0..6).all(|byte| mac.0[byte] & mask.0[byte] == of.0[byte])
        };
        self.mac.is_none_or(same)
            && self.addresses.is_none_or(|prefix| address.is_some_and(|address| prefix.contains(address)))
    }
}

/// Ethertypes by name or number.
const ETHERTYPES: [(&str, u16); 9] = [
    ("ip4", 0x0800),
    ("arp", 0x0806),
    ("ip6", 0x86dd),
    ("mpls", 0x8847),
    ("pppoe-discovery", 0x8863),
    ("pppoe", 0x8864),
    ("eapol", 0x888e),
    ("macsec", 0x88e5),
    ("lldp", 0x88cc),
];

/// Reads an ethertype.
///
/// # Errors
/// It is none.
pub fn ethertype(text: &str) -> Result<u16, RuleError> {
    if let Some(&(_, number)) = ETHERTYPES.iter().find(|(name, _)| *name == text) {
        return Ok(number);
    }
    let number = text.strip_prefix("0x").and_then(|hex| u16::from_str_radix(hex, 16).ok());
    number.filter(|number| *number >= 0x600).ok_or_else(|| {
        let names: Vec<_> = ETHERTYPES.iter().map(|(name, _)| *name).collect();
        RuleError::new(format!(
            "`{text}` is not an ethertype: 0x0600 to 0xffff, or one of {}",
            names.join(", ")
        ))
    })
}

/// As it is written.
pub fn ethertype_text(number: u16) -> String {
    match ETHERTYPES.iter().find(|(_, of)| *of == number) {
        Some((name, _)) => (*name).to_owned(),
        None => format!("{number:#06x}"),
    }
}

/// What is asked of the frames of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkPolicy {
    /// MAC-IP rules: the first match counts, and none is a no.
    pub macs: Option<Vec<MacRule>>,
    /// The ethertypes that pass.
    pub ethertypes: Option<Vec<u16>>,
}

/// Why a frame does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkRefusal {
    /// By the white list of ethertypes.
    EtherType,
    /// By the MAC-IP rules.
    Mac,
}

impl LinkPolicy {
    /// Judges a frame by the ethertype behind its tags, its source, and the IP address that it says it comes from.
    ///
    /// # Errors
    /// It does not pass.
    pub fn judge(
        &self,
        ethertype: EtherType,
        mac: MacAddress,
        address: Option<IpAddr>,
    ) -> Result<(), LinkRefusal> {
        if self.ethertypes.as_ref().is_some_and(|list| !list.contains(&ethertype.0)) {
            return Err(LinkRefusal::EtherType);
        }
        let Some(rules) = &self.macs else { return Ok(()) };
        match rules.iter().find(|rule| rule.matches(mac, address)) {
            Some(rule) if rule.permit => Ok(()),
            _ => Err(LinkRefusal::Mac),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_written_as_they_are_read() {
        for text in [
            "permit 02:00:00:00:00:01 10.0.0.5/32",
            "deny any 10.0.0.0/8",
            "permit 02:fe:00:00:00:00/ff:ff:00:00:00:00",
            "permit any",
        ] {
            assert_eq!(text.parse::<MacRule>().unwrap().to_string(), text);
        }
        for (text, said) in [
            ("allow any", "a MAC-IP rule begins with `permit` or `deny`"),
            ("permit", "a MAC-IP rule names a MAC address, or `any`"),
            ("permit 02:00", "`02:00` is not a MAC address"),
            ("permit any any x", "`x` is more than a MAC-IP rule has"),
        ] {
            assert_eq!(text.parse::<MacRule>().unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn first_match_counts_and_none_is_a_no() {
        let policy = LinkPolicy {
            macs: Some(vec![
                "permit 02:00:00:00:00:01 10.0.0.1".parse().unwrap(),
                "deny any 10.0.0.0/24".parse().unwrap(),
                "permit 02:00:00:00:00:02".parse().unwrap(),
            ]),
            ethertypes: Some(vec![0x0800, 0x0806]),
        };
        let judge = |last: u8, address: &str, of: u16| {
            let mac = MacAddress([2, 0, 0, 0, 0, last]);
            policy.judge(EtherType(of), mac, Some(address.parse().unwrap()))
        };
        assert_eq!(judge(1, "10.0.0.1", 0x0800), Ok(()));
        assert_eq!(judge(2, "10.0.0.1", 0x0800), Err(LinkRefusal::Mac));
        assert_eq!(judge(2, "10.0.1.1", 0x0806), Ok(()));
        assert_eq!(judge(3, "10.0.1.1", 0x0800), Err(LinkRefusal::Mac));
        assert_eq!(judge(1, "10.0.0.1", 0x86dd), Err(LinkRefusal::EtherType));
    }

    #[test]
    fn ethertypes_have_names_and_numbers() {
        assert_eq!((ethertype("lldp").unwrap(), ethertype("0x88F7").unwrap()), (0x88cc, 0x88f7));
        assert!(ethertype("0x05ff").is_err() && ethertype("ipx").is_err());
        assert_eq!((ethertype_text(0x0800), ethertype_text(0x88f7)), ("ip4".into(), "0x88f7".into()));
    }
}
