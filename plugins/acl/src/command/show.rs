//! `show acl …` and `clear acl counters`.

use std::fmt::Write as _;

use raddle_plugin_api::prelude::*;
use serde::{Deserialize, Serialize};

use crate::acl::acl;

command! { "show acl [<list>]", "shows the rules of a list, or of all, with what they have matched", show }
command! { "show acl sets", "shows the sets of addresses", show_sets }
command! { "show acl interfaces", "shows what is applied to interfaces, and how many sessions they have", show_interfaces }
command! { "clear acl counters [<list>]", "has the counts of a list's rules, or of all, begin at zero", clear }

#[derive(Deserialize)]
struct Which {
    list: Option<String>,
}

#[derive(Debug, Serialize)]
struct RuleReport {
    rule: usize,
    text: String,
    packets: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct ListReport {
    list: String,
    rules: Vec<RuleReport>,
}

/// Lists with their rules.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Lists(Vec<ListReport>);

impl CommandOutput for Lists {
    fn text(&self) -> Option<String> {
        let mut text = String::new();
        for ListReport { list, rules } in &self.0 {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{list}");
            for RuleReport { rule, text: of, packets, bytes } in rules {
                let _ = writeln!(text, "{rule:>6}  {packets:>12} {bytes:>16}  {of}");
            }
        }
        Some(if text.is_empty() { "no lists".to_owned() } else { text.trim_end().to_owned() })
    }
}

fn show(control: &mut Control<'_>, arguments: Which) -> Result<Lists, Failure> {
    let acl = acl(control)?;
    let store = acl.store();
    let lists: Vec<_> = match &arguments.list {
        Some(name) => vec![store.list(name)?],
        None => store.lists().values().collect(),
    };
    let report = |list: &&std::sync::Arc<crate::policy::List>| ListReport {
        list: list.name.clone(),
        rules: list
            .rules
            .iter()
            .enumerate()
            .map(|(number, rule)| {
                let hits = list.hits.of(number);
                RuleReport {
                    rule: number + 1,
                    text: rule.to_string(),
                    packets: hits.packets,
                    bytes: hits.bytes,
                }
            })
            .collect(),
    };
    Ok(Lists(lists.iter().map(report).collect()))
}

#[derive(Debug, Serialize)]
struct SetReport {
    set: String,
    addresses: Vec<String>,
}

fn show_sets(control: &mut Control<'_>, _: NoArguments) -> Result<Vec<SetReport>, Failure> {
    let acl = acl(control)?;
    let store = acl.store();
    let report = |(name, set): (&String, &std::sync::Arc<Vec<_>>)| SetReport {
        set: name.clone(),
        addresses: set.iter().map(raddle_plugin_api::wire::IpPrefix::to_string).collect(),
    };
    Ok(store.sets().iter().map(report).collect())
}

/// What is applied to an interface.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct InterfaceReport {
    interface: String,
    r#in: Vec<String>,
    out: Vec<String>,
    mac_list: Option<String>,
    ethertypes: Option<Vec<String>>,
    sessions: Option<u32>,
    max_sessions: Option<u32>,
}

fn show_interfaces(control: &mut Control<'_>, _: NoArguments) -> Result<Vec<InterfaceReport>, Failure> {
    let acl = acl(control)?;
    let (store, interfaces) = (acl.store(), control.interfaces()?);
    let attachments = acl.attachments.get(control);
    let report = |(name, rules): (&String, &crate::config::InterfaceRules)| {
        let there = interfaces.iter().find(|interface| interface.name == *name);
        let attachment = there.and_then(|interface| attachments.of(interface.index));
        InterfaceReport {
            interface: name.clone(),
            r#in: rules.input.clone(),
            out: rules.output.clone(),
            mac_list: rules.mac_list.clone(),
            ethertypes: rules.ethertypes.clone(),
            // An interface that is not there has none, and no number of them either.
            sessions: there.map(|interface| acl.counts.of(interface.index)),
            max_sessions: attachment.map(|attachment| attachment.most_sessions),
        }
    };
    Ok(store.interfaces().iter().map(report).collect())
}

fn clear(control: &mut Control<'_>, arguments: Which) -> Result<(), Failure> {
    let acl = acl(control)?;
    let store = acl.store();
    match &arguments.list {
        Some(name) => store.list(name)?.hits.clear(),
        None => store.lists().values().for_each(|list| list.hits.clear()),
    }
    Ok(())
}
