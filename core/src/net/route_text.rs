//! Routes as lines of text, many of them: what `route load` and `route batch` read.
//!
//! A line is a prefix and what `route add` says behind it: `10.0.0.0/8 via 192.0.2.1`, with further next hops
//! (`via 192.0.2.1 weight 2 via 192.0.2.2`), `interface eth0`, `via table blue`, or `blackhole`, `unreachable`, `prohibit`. Empty
//! lines and what follows `#` mean nothing.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::IpPrefix;
use raddle_plugin_api::{Failure, bail, failure};

use super::static_route::{MAX_WEIGHT, Rejection, RouteHop, RouteTarget};

/// Routes of one text at most.
pub const MAX_ROUTES: usize = 1 << 24;
/// Different next hops or sets of them in one text at most.
const MAX_TARGETS: usize = 1 << 18;

/// What one route does: one or more next hops, or a single other target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTargets(pub Vec<RouteTarget>);

/// A text that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteText {
    /// What routes do, each once.
    pub targets: Vec<RouteTargets>,
    /// The routes, with the place of their target, in the order of the text.
    pub routes: Vec<(IpPrefix, u32)>,
}

impl RouteText {
    /// Reads lines.
    ///
    /// # Errors
    /// The first line that is wrong, by its number, or there are too many.
    pub fn parse<'t>(lines: impl IntoIterator<Item = &'t str>) -> Result<Self, Failure> {
        let mut text = Self::default();
        let mut known: HashMap<&str, u32> = HashMap::new();
        for (number, line) in lines.into_iter().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let at = |failure: Failure| failure.context(format_args!("line {}", number + 1));
            let (prefix, target) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let prefix: IpPrefix = prefix.parse().map_err(|error| at(failure!("{error}")))?;
            let target = target.trim_start();
            let is_ip4 = prefix.network().is_ipv4();
            let place = match known.get(target) {
                // The same words may not do for a prefix of the other family.
                Some(&place) if text.fits(place, is_ip4) => place,
                _ => {
                    if text.targets.len() >= MAX_TARGETS {
                        bail!("line {}: more than {MAX_TARGETS} different next hops", number + 1);
                    }
                    let targets = parse_targets(target, is_ip4).map_err(at)?;
                    text.targets.push(targets);
                    let place = text.targets.len() as u32 - 1;
                    known.insert(target, place);
                    place
                }
            };
            if text.routes.len() >= MAX_ROUTES {
                bail!("line {}: more than {MAX_ROUTES} routes", number + 1);
            }
            text.routes.push((prefix, place));
        }
        Ok(text)
    }

    fn fits(&self, place: u32, is_ip4: bool) -> bool {
        self.targets[place as usize].0.iter().all(|target| match target {
            RouteTarget::Hop(hop) => hop.via.is_none_or(|via| via.is_ipv4() == is_ip4),
            RouteTarget::Table(_) | RouteTarget::Reject(_) => true,
        })
    }
}

/// Reads what follows the prefix.
fn parse_targets(text: &str, is_ip4: bool) -> Result<RouteTargets, Failure> {
    let mut words = text.split_whitespace().peekable();
    let mut targets = Vec::new();
    while let Some(word) = words.next() {
        let single = match word {
            "blackhole" => Some(RouteTarget::Reject(Rejection::Blackhole)),
            "unreachable" => Some(RouteTarget::Reject(Rejection::Unreachable)),
            "prohibit" => Some(RouteTarget::Reject(Rejection::Prohibit)),
            "via" if words.peek() == Some(&"table") => {
                words.next();
                // Any word names a table, whether there is one or not.
                let table: Option<TableKey> = words.next().and_then(|word| word.parse().ok());
                Some(RouteTarget::Table(
                    table.ok_or_else(|| failure!("a table's name is missing behind `table`"))?,
                ))
            }
            _ => None,
        };
        if let Some(single) = single {
            if !targets.is_empty() || words.peek().is_some() {
                bail!("`{single}` stands alone");
            }
            return Ok(RouteTargets(vec![single]));
        }
        let mut hop = RouteHop { via: None, interface: None, weight: 1 };
        match word {
            "via" => hop.via = Some(address(words.next(), is_ip4)?),
            "interface" => hop.interface = Some(name(words.next())?),
            word => bail!(
                "`{word}` is not understood; expected `via`, `interface`, `blackhole`, `unreachable` or `prohibit`"
            ),
        }
        if hop.interface.is_none() && words.next_if_eq(&"interface").is_some() {
            hop.interface = Some(name(words.next())?);
        }
        if words.next_if_eq(&"weight").is_some() {
            let weight = words.next().and_then(|word| word.parse().ok());
            hop.weight = weight
                .filter(|weight| (1..=MAX_WEIGHT).contains(weight))
                .ok_or_else(|| failure!("a weight is a number from 1 to {MAX_WEIGHT}"))?;
        }
        if let (Some(std::net::IpAddr::V6(via)), None) = (hop.via, &hop.interface)
            && via.is_unicast_link_local()
        {
            bail!("next hop {via} is link-local, so it needs an interface");
        }
        targets.push(RouteTarget::Hop(hop));
    }
    if targets.is_empty() {
        bail!("a route needs a next hop, an interface, a table, or to be blackhole, unreachable or prohibit");
    }
    if targets.len() > 1
        && targets.iter().any(|target| matches!(target, RouteTarget::Hop(RouteHop { via: None, .. })))
    {
        bail!("a route to neighbours on a link cannot have other next hops");
    }
    Ok(RouteTargets(targets))
}

fn name(word: Option<&str>) -> Result<String, Failure> {
    word.map(str::to_owned).ok_or_else(|| failure!("an interface's name is missing behind `interface`"))
}

fn address(word: Option<&str>, is_ip4: bool) -> Result<std::net::IpAddr, Failure> {
    let word = word.ok_or_else(|| failure!("an address is missing behind `via`"))?;
    let via: std::net::IpAddr = word.parse().map_err(|_| failure!("`{word}` is no address"))?;
    if via.is_ipv4() != is_ip4 {
        bail!("next hop {via} is of another family than its route");
    }
    if via.is_unspecified() || via.is_multicast() || via.is_loopback() {
        bail!("next hop {via} is no router's address");
    }
    Ok(via)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_route_add_says() {
        let text = "# by hand\n10.0.0.0/8 via 192.0.2.1\n\n 11.0.0.0/8  via 192.0.2.1 # the same\n\
                    12.0.0.0/8 via 192.0.2.1 interface eth0 weight 3 via 192.0.2.2\n13.0.0.0/8 interface eth0\n\
                    14.0.0.0/8 blackhole\n2001:db8::/32 blackhole\n2001:db8:1::/48 via table blue\n";
        let text = RouteText::parse(text.lines()).unwrap();
        assert_eq!(text.routes.len(), 7);
        assert_eq!(text.routes[0].1, text.routes[1].1, "one target for both");
        assert_eq!(text.routes[4].1, text.routes[5].1);
        let shown: Vec<Vec<String>> =
            text.targets.iter().map(|targets| targets.0.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(
            shown,
            [
                vec!["via 192.0.2.1"],
                vec!["via 192.0.2.1 interface eth0", "via 192.0.2.2"],
                vec!["interface eth0"],
                vec!["blackhole"],
                vec!["via table blue"],
            ]
        );
    }

    #[test]
    fn the_first_wrong_line_is_told() {
        for (line, message) in [
            (
                "10.0.0.0/8",
                "a route needs a next hop, an interface, a table, or to be blackhole, unreachable or prohibit",
            ),
            ("10.0.0.0/8 via", "an address is missing behind `via`"),
            ("10.0.0.0/8 via 10.0.0.300", "`10.0.0.300` is no address"),
            ("10.0.0.0/8 via 2001:db8::1", "next hop 2001:db8::1 is of another family than its route"),
            ("10.0.0.0/8 via 224.0.0.1", "next hop 224.0.0.1 is no router's address"),
            ("2001:db8::/32 via fe80::1", "next hop fe80::1 is link-local, so it needs an interface"),
            ("10.0.0.0/8 via 192.0.2.1 weight 0", "a weight is a number from 1 to 256"),
            ("10.0.0.0/8 via 192.0.2.1 blackhole", "`blackhole` stands alone"),
            ("10.0.0.0/8 interface", "an interface's name is missing behind `interface`"),
            (
                "10.0.0.0/8 interface a via 192.0.2.1",
                "a route to neighbours on a link cannot have other next hops",
            ),
            (
                "10.0.0.0/8 by 192.0.2.1",
                "`by` is not understood; expected `via`, `interface`, `blackhole`, `unreachable` or `prohibit`",
            ),
        ] {
            let text = format!("1.0.0.0/8 blackhole\n{line}\n");
            let error = RouteText::parse(text.lines()).unwrap_err();
            assert_eq!(error.to_string(), format!("line 2: {message}"));
        }
        assert!(RouteText::parse(["10.0.0.1/8 blackhole"]).unwrap_err().to_string().starts_with("line 1: "));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
            let _ = RouteText::parse(text.lines());
        }
    }
}
