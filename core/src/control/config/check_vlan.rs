//! What sub-interfaces say of their parents.

use std::collections::HashMap;

use raddle_plugin_api::config::{Problem, Step, Tree, nearest};
use raddle_plugin_api::driver::Driver as _;

use super::model::{Config, InterfaceSection};
use crate::net::vlan::{Selection, Vlan, VlanOptions};

/// Finds what is wrong between sub-interfaces and the interfaces that they are of.
pub(super) fn check(tree: &Tree<'_>, config: &Config, problems: &mut Vec<Problem>) {
    let names = tree.keys(&[Step::Key("interface")]);
    let mut taken: HashMap<(String, Selection), &str> = HashMap::new();
    for section in config.interfaces.iter().filter(|section| is_sub_interface(section)) {
        // Keys that are wrong by themselves have been told.
        let Ok(options) = section.options.clone().try_into::<VlanOptions>() else { continue };
        let name = section.name.as_str();
        let at = |key| [Step::Key("interface"), Step::Key(name), Step::Key(key)];
        let selection = match options.selection() {
            Ok(selection) => selection,
            Err(failure) => {
                let key = if options.priority > 7 { "priority" } else { "vlan" };
                problems.push(tree.problem(&at(key), failure.to_string()));
                continue;
            }
        };
        let parent = options.parent.as_str();
        if parent == name {
            problems.push(tree.problem(&at("parent"), "a sub-interface cannot be its own parent"));
            continue;
        }
        if !names.contains(&parent) {
            let problem = tree.problem(&at("parent"), format!("interface `{parent}` is not defined"));
            problems.push(problem.suggest(nearest(parent, names.iter().copied())));
            continue;
        }
        if let Some(other) = taken.insert((parent.to_owned(), selection), name) {
            let message = format!("{selection} of `{parent}` belongs to sub-interface `{other}` already");
            problems.push(tree.problem(&at("vlan"), message));
        }
        let Some(parent) = config.interfaces.iter().find(|other| other.name == parent) else { continue };
        if is_sub_interface(parent) {
            let message =
                format!("`{}` is a sub-interface itself; `inner-vlan` is for a second tag", parent.name);
            problems.push(tree.problem(&at("parent"), message));
        }
        if let (Some(mtu), Some(most)) = (section.common.mtu, parent.common.mtu)
            && mtu > most
        {
            let message = format!("an mtu of {mtu} is more than the {most} bytes of `{}`", parent.name);
            problems.push(tree.problem(&at("mtu"), message));
        }
    }
}

fn is_sub_interface(section: &InterfaceSection) -> bool {
    section.common.driver == Vlan::NAME
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Document, Owners};

    fn problems(lines: &str) -> String {
        let text = format!("[interface.wan]\ndriver = 'loopback'\nmtu = 1500\n{lines}");
        let mut owners = Owners::new();
        owners.accept_unknown();
        let document = Document::parse("f", text).unwrap();
        Config::load(&document, &owners).map_or_else(|error| error.to_string(), |_| String::new())
    }

    fn sub(name: &str, keys: &str) -> String {
        format!("[interface.'{name}']\ndriver = 'vlan'\n{keys}\n")
    }

    #[test]
    fn sub_interfaces_fit_their_parents() {
        let good = sub("wan.1", "parent = 'wan'\nvlan = 1\nmtu = 1500")
            + &sub("wan.1.2", "parent = 'wan'\nvlan = 1\ninner-vlan = 2")
            + &sub("wan.u", "parent = 'wan'\nvlan = 'untagged'");
        assert_eq!(problems(&good), "");
        for (keys, expected) in [
            ("parent = 'wna'\nvlan = 1", "f:6:10: interface `wna` is not defined; did you mean `wan`?"),
            ("parent = 'x'\nvlan = 1", "f:6:10: a sub-interface cannot be its own parent"),
            (
                "parent = 'wan'\nvlan = 1\nmtu = 9000",
                "f:8:7: an mtu of 9000 is more than the 1500 bytes of `wan`",
            ),
            ("parent = 'wan'\nvlan = 'default'\ninner-vlan = 1", "f:7:8: `inner-vlan` needs a `vlan`"),
            ("parent = 'wan'\nvlan = 1\npriority = 9", "f:8:12: a priority of 9 is too high"),
        ] {
            let found = problems(&sub("x", keys));
            assert!(found.starts_with(expected), "{keys}: {found}");
        }
        let twice = problems(&(sub("a", "parent = 'wan'\nvlan = 1") + &sub("b", "parent = 'wan'\nvlan = 1")));
        assert!(twice.contains("VLAN 802.1q:1 of `wan` belongs to sub-interface `a` already"), "{twice}");
        let nested = problems(&(sub("a", "parent = 'wan'\nvlan = 1") + &sub("b", "parent = 'a'\nvlan = 2")));
        assert!(nested.contains("`a` is a sub-interface itself"), "{nested}");
    }
}
