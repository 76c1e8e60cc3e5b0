//! Commands that change lists, sets, and where they are applied. All workers see a change as a whole, and none stops for it.

use raddle_plugin_api::prelude::*;
use serde::{Deserialize, Serialize};

use crate::acl::acl;
use crate::config::InterfaceRules;
use crate::link_rule::MacRule;
use crate::rule::Rule;
use crate::rule_text::prefix;

command! {
    "acl add <list> [at <place:u32:1..60000>] rule <rule:string>",
    "adds a rule to a list, at its end or in front of the rule that has that number; makes the list if it is not there",
    add
}
command! {
    "acl replace <list> rules <rules:string>",
    "replaces all rules of a list, or makes it: rules stand in their order, with `;` between them", replace
}
command! {
    "acl delete list <list>", "removes a list that is applied nowhere", delete
}
command! {
    "acl delete rule <list> <place:u32:1..60000>", "removes a rule, by its number, from a list", delete_rule
}
command! {
    "acl replace-set <set> addresses <addresses:string>",
    "makes a set, or replaces it: addresses and prefixes with commas or blanks between them", replace_set
}
command! { "acl delete set <set>", "removes a set that no rule names", delete_set }
command! {
    "acl replace-mac-list <list> rules <rules:string>",
    "makes a list of MAC-IP rules (`permit 02:00:00:00:00:01 10.0.0.0/24`), or replaces it, with `;` between them",
    replace_mac_list
}
command! { "acl delete mac-list <list>", "removes a list of MAC-IP rules that is applied nowhere", delete_mac_list }
command! {
    "acl apply <interface> in|out <lists:string>",
    "applies lists, in this order, to what comes in by an interface or leaves by it, in place of those that were", apply
}
command! {
    "acl apply <interface> mac-list <list>", "applies a list of MAC-IP rules to what comes in by an interface", apply_mac_list
}
command! {
    "acl apply <interface> ethertypes <ethertypes:string>",
    "lets only frames of these ethertypes in by an interface (`ip4`, `ip6`, `arp`, `0x88cc`, …)", apply_ethertypes
}
command! {
    "acl apply <interface> max-sessions <sessions:u32>", "sets how many sessions an interface may have", apply_max_sessions
}
command! {
    "acl remove <interface> [in] [out] [mac-list] [ethertypes] [max-sessions]",
    "takes from an interface what is named, or all that is applied to it", remove
}
command! {
    "acl recheck [<interface>]",
    "has the sessions of an interface, or of all, judged by the lists as they are now, each with its next packet", recheck
}

#[derive(Deserialize)]
struct Add {
    list: String,
    place: Option<usize>,
    rule: String,
}

fn add(control: &mut Control<'_>, arguments: Add) -> Result<(), Failure> {
    let Add { list, place, rule } = arguments;
    let rule: Rule = rule.parse()?;
    acl(control)?.change(control, |store| {
        let mut rules = store.lists().get(&list).map_or_else(Vec::new, |list| list.rules.clone());
        let at = place.map_or(rules.len(), |place| place - 1);
        if at > rules.len() {
            bail!("the list `{list}` has {} rules", rules.len());
        }
        rules.insert(at, rule);
        store.put_list(&list, rules)
    })
}

#[derive(Deserialize)]
struct Replace {
    list: String,
    rules: String,
}

/// The texts between semicolons.
fn texts(rules: &str) -> impl Iterator<Item = &str> {
    rules.split(';').map(str::trim).filter(|text| !text.is_empty())
}

/// Reads rules; what is wrong is told with the rule's number.
pub(super) fn rules(text: &str) -> Result<Vec<Rule>, Failure> {
    let numbered = |(number, text): (usize, &str)| {
        text.parse::<Rule>().map_err(|wrong| failure!("rule {}: {wrong}", number + 1))
    };
    texts(text).enumerate().map(numbered).collect()
}

fn replace(control: &mut Control<'_>, arguments: Replace) -> Result<(), Failure> {
    let rules = rules(&arguments.rules)?;
    acl(control)?.change(control, |store| store.put_list(&arguments.list, rules))
}

#[derive(Deserialize)]
struct Named {
    list: String,
}

fn delete(control: &mut Control<'_>, Named { list }: Named) -> Result<(), Failure> {
    acl(control)?.change(control, |store| store.remove_list(&list))
}

#[derive(Deserialize)]
struct DeleteRule {
    list: String,
    place: usize,
}

fn delete_rule(control: &mut Control<'_>, DeleteRule { list, place }: DeleteRule) -> Result<(), Failure> {
    acl(control)?.change(control, |store| {
        let mut rules = store.list(&list)?.rules.clone();
        if place > rules.len() {
            bail!("the list `{list}` has {} rules", rules.len());
        }
        rules.remove(place - 1);
        store.put_list(&list, rules)
    })
}

#[derive(Deserialize)]
struct ReplaceSet {
    set: String,
    addresses: String,
}

fn replace_set(control: &mut Control<'_>, arguments: ReplaceSet) -> Result<(), Failure> {
    let words = arguments.addresses.split([',', ' ', '\t']).filter(|word| !word.is_empty());
    let prefixes = words.map(prefix).collect::<Result<_, _>>()?;
    acl(control)?.change(control, |store| store.put_set(&arguments.set, prefixes))
}

#[derive(Deserialize)]
struct NamedSet {
    set: String,
}

fn delete_set(control: &mut Control<'_>, NamedSet { set }: NamedSet) -> Result<(), Failure> {
    acl(control)?.change(control, |store| store.remove_set(&set))
}

fn replace_mac_list(control: &mut Control<'_>, arguments: Replace) -> Result<(), Failure> {
    let rules = texts(&arguments.rules).enumerate().map(|(number, text)| {
        text.parse::<MacRule>().map_err(|wrong| failure!("rule {}: {wrong}", number + 1))
    });
    let rules = rules.collect::<Result<_, _>>()?;
    acl(control)?.change(control, |store| store.put_mac_list(&arguments.list, rules))
}

fn delete_mac_list(control: &mut Control<'_>, Named { list }: Named) -> Result<(), Failure> {
    acl(control)?.change(control, |store| store.remove_mac_list(&list))
}

/// Changes what is applied to an interface, which has to be there.
fn change_interface(
    control: &mut Control<'_>,
    interface: &str,
    change: impl FnOnce(&mut InterfaceRules),
) -> Result<(), Failure> {
    control.interface(interface)?;
    acl(control)?.change(control, |store| store.apply(interface, change))
}

#[derive(Deserialize)]
struct Apply {
    interface: String,
    #[serde(default, rename = "in")]
    input: bool,
    lists: String,
}

fn words(text: &str) -> Vec<String> {
    text.split([',', ' ', '\t']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn apply(control: &mut Control<'_>, arguments: Apply) -> Result<(), Failure> {
    let lists = words(&arguments.lists);
    if lists.is_empty() {
        bail!("no list is named");
    }
    change_interface(control, &arguments.interface, |rules| {
        if arguments.input {
            rules.input = lists;
        } else {
            rules.output = lists;
        }
    })
}

#[derive(Deserialize)]
struct ApplyMacList {
    interface: String,
    list: String,
}

fn apply_mac_list(control: &mut Control<'_>, arguments: ApplyMacList) -> Result<(), Failure> {
    change_interface(control, &arguments.interface, |rules| rules.mac_list = Some(arguments.list))
}

#[derive(Deserialize)]
struct ApplyEthertypes {
    interface: String,
    ethertypes: String,
}

fn apply_ethertypes(control: &mut Control<'_>, arguments: ApplyEthertypes) -> Result<(), Failure> {
    let ethertypes = words(&arguments.ethertypes);
    change_interface(control, &arguments.interface, |rules| rules.ethertypes = Some(ethertypes))
}

#[derive(Deserialize)]
struct ApplyMaxSessions {
    interface: String,
    sessions: u32,
}

fn apply_max_sessions(control: &mut Control<'_>, arguments: ApplyMaxSessions) -> Result<(), Failure> {
    change_interface(control, &arguments.interface, |rules| rules.max_sessions = Some(arguments.sessions))
}

#[derive(Deserialize)]
#[serde(default, rename_all = "kebab-case")]
#[derive(Default)]
struct Remove {
    interface: String,
    #[serde(rename = "in")]
    input: bool,
    out: bool,
    mac_list: bool,
    ethertypes: bool,
    max_sessions: bool,
}

fn remove(control: &mut Control<'_>, arguments: Remove) -> Result<(), Failure> {
    let Remove { interface, input, out, mac_list, ethertypes, max_sessions } = arguments;
    let all = !(input || out || mac_list || ethertypes || max_sessions);
    let acl = acl(control)?;
    if !acl.store().interfaces().contains_key(&interface) {
        bail!("nothing is applied to `{interface}`");
    }
    acl.change(control, |store| {
        store.apply(&interface, |rules| {
            if input || all {
                rules.input.clear();
            }
            if out || all {
                rules.output.clear();
            }
            if mac_list || all {
                rules.mac_list = None;
            }
            if ethertypes || all {
                rules.ethertypes = None;
            }
            if max_sessions || all {
                rules.max_sessions = None;
            }
        })
    })
}

#[derive(Deserialize)]
struct Recheck {
    interface: Option<String>,
}

/// How many sessions are to be judged again.
#[derive(Debug, Serialize)]
struct Rechecked {
    sessions: u64,
}

impl CommandOutput for Rechecked {
    fn text(&self) -> Option<String> {
        Some(format!("{} sessions are judged again, each with its next packet", self.sessions))
    }
}

fn recheck(control: &mut Control<'_>, arguments: Recheck) -> Result<Rechecked, Failure> {
    let interface = arguments.interface.map(|name| control.interface(&name)).transpose()?;
    let only = interface.map(|interface| interface.index);
    let acl = acl(control)?;
    let marked = acl.change(control, |store| Ok(store.recheck(only)))?;
    Ok(Rechecked { sessions: marked.into_iter().map(|interface| u64::from(acl.counts.of(interface))).sum() })
}
