//! What bridges say of interfaces.

use std::collections::HashMap;

use raddle_plugin_api::config::{Problem, Step, Tree, nearest};
use raddle_plugin_api::driver::Driver as _;

use super::model::{Config, InterfaceSection};
use crate::net::l2::{BridgeConfig, Bvi};

/// Finds what is wrong between bridges and the interfaces that are their ports.
pub(super) fn check(tree: &Tree<'_>, config: &Config, problems: &mut Vec<Problem>) {
    let names = tree.keys(&[Step::Key("interface")]);
    let sections: HashMap<&str, &InterfaceSection> =
        config.interfaces.iter().map(|section| (section.name.as_str(), section)).collect();
    let mut taken: HashMap<&str, &str> = HashMap::new();
    for (name, bridge) in &config.bridges {
        let at = |key| [Step::Key("bridge"), Step::Key(name.as_str()), Step::Key(key)];
        let mut report = |path: &[Step<'_>], message: String, near: Option<&str>| {
            problems.push(tree.problem(path, message).suggest(near));
        };
        if bridge.mac_limit > BridgeConfig::MOST_ADDRESSES {
            let message = format!("expected a number from 0 to {}", BridgeConfig::MOST_ADDRESSES);
            report(&at("mac-limit"), message, None);
        }
        let [section, own, key] = at("members");
        for (index, member) in bridge.members.iter().enumerate() {
            let path = [section, own, key, Step::Index(index)];
            let interface = member.interface.as_str();
            if !names.contains(&interface) {
                let near = nearest(interface, names.iter().copied());
                report(&path, format!("interface `{interface}` is not defined"), near);
                continue;
            }
            if let Some(other) = taken.insert(interface, name) {
                report(&path, format!("`{interface}` is a port of the bridge `{other}` already"), None);
            }
            let Some(section) = sections.get(interface) else { continue };
            if section.common.driver == Bvi::NAME {
                report(&path, format!("`{interface}` is a BVI and cannot be a port; `bvi` names it"), None);
            }
            if let Some(peer) = &section.common.l2_xconnect {
                report(
                    &path,
                    format!("`{interface}` is cross-connected to `{peer}` and cannot be a port"),
                    None,
                );
            }
        }
        if let Some(bvi) = &bridge.bvi {
            match sections.get(bvi.as_str()) {
                Some(section) if section.common.driver != Bvi::NAME => {
                    let message = format!("`{bvi}` cannot be a BVI: its driver is not `{}`", Bvi::NAME);
                    report(&at("bvi"), message, None);
                }
                None if !names.contains(&bvi.as_str()) => {
                    let near = nearest(bvi, names.iter().copied());
                    report(&at("bvi"), format!("interface `{bvi}` is not defined"), near);
                }
                _ => {}
            }
            if let Some(other) = taken.insert(bvi, name) {
                report(&at("bvi"), format!("`{bvi}` belongs to the bridge `{other}` already"), None);
            }
        }
        let [section, own, key] = at("macs");
        for (index, fixed) in bridge.macs.iter().enumerate() {
            let path = [section, own, key, Step::Index(index)];
            if !fixed.mac.is_unicast() {
                report(&path, format!("`{}` is not the address of a station", fixed.mac), None);
            }
            if bridge.macs[..index].iter().any(|earlier| earlier.mac == fixed.mac) {
                report(&path, format!("{} is listed twice", fixed.mac), None);
            }
            if !bridge.members.iter().any(|member| member.interface == fixed.interface) {
                report(&path, format!("`{}` is no port of the bridge `{name}`", fixed.interface), None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Document, Owners};

    fn problems(lines: &str) -> String {
        let text = format!(
            "[interface.a]\ndriver = 'tap'\n[interface.b]\ndriver = 'tap'\nl2-xconnect = 'a'\n\
             [interface.v]\ndriver = 'bvi'\n[bridge.x]\n{lines}\n"
        );
        let mut owners = Owners::new();
        owners.accept_unknown();
        let document = Document::parse("f", text).unwrap();
        Config::load(&document, &owners).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn bridges_fit_their_interfaces() {
        assert_eq!(
            problems("members = ['a']\nbvi = 'v'\nmacs = [{ mac = '02:00:00:00:00:01', interface = 'a' }]"),
            ""
        );
        for (lines, expected) in [
            ("members = ['aa']", "f:9:12: interface `aa` is not defined; did you mean `a`?"),
            ("members = ['a', 'a']", "f:9:17: `a` is a port of the bridge `x` already"),
            ("members = [{ interface = 'b', split-horizon = 1 }]", "f:9:12: `b` is cross-connected to `a`"),
            ("members = ['v']", "f:9:12: `v` is a BVI and cannot be a port; `bvi` names it"),
            ("bvi = 'a'", "f:9:7: `a` cannot be a BVI: its driver is not `bvi`"),
            ("bvi = 'w'", "f:9:7: interface `w` is not defined"),
            ("mac-limit = 65537", "f:9:13: expected a number from 0 to 65536"),
            (
                "macs = [{ mac = '02:00:00:00:00:01', interface = 'a' }]",
                "f:9:9: `a` is no port of the bridge `x`",
            ),
            ("members = [1]", "f:9:12: "),
            ("agein = 3", "f:9:1: unknown key `agein`; did you mean `ageing`?"),
        ] {
            let found = problems(lines);
            assert!(found.starts_with(expected), "{lines}: {found}");
        }
        let twice = problems("members = ['a']\n[bridge.y]\nmembers = ['a']");
        assert!(twice.starts_with("f:11:12: `a` is a port of the bridge `x` already"), "{twice}");
    }
}
