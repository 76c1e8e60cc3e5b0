//! The main thread's side: sets, lists, and what is applied where. A change is made on a copy, which takes the place of the
//! old one when all of it is well.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use raddle_plugin_api::config::nearest;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::IpPrefix;

use crate::config::{AclConfig, InterfaceRules, LogRate, MaxSessions, TimeoutsConfig};
use crate::handover::{Handover, ListState};
use crate::hits::Hits;
use crate::link_rule::{LinkPolicy, MacRule, ethertype, ethertype_text};
use crate::name::check_name;
use crate::policy::{Attachment, Attachments, List, Policy};
use crate::rule::Rule;
use crate::rule_text::prefix;

/// Rules of a list, at most: sessions note theirs in 16 bits.
const MOST_RULES: usize = 60_000;

/// What is applied to an interface, and what was switched on for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Switched {
    features: BTreeSet<&'static str>,
}

/// Sets, lists, and what is applied where.
#[derive(Clone)]
pub struct Store {
    threads: usize,
    max_sessions: MaxSessions,
    log_rate: LogRate,
    timeouts: TimeoutsConfig,
    sets: BTreeMap<String, Arc<Vec<IpPrefix>>>,
    lists: BTreeMap<String, Arc<List>>,
    mac_lists: BTreeMap<String, Arc<Vec<MacRule>>>,
    interfaces: BTreeMap<String, InterfaceRules>,
    /// Compiled lists, by their names in order.
    policies: HashMap<Vec<String>, Arc<Policy>>,
    /// Numbers of lists that are gone are not used again while others are left.
    next_list: u16,
    /// By interface: when its sessions were last to be judged again.
    epochs: BTreeMap<InterfaceIndex, u32>,
    next_epoch: u32,
    /// Interfaces whose lists begin sessions, or did and there may be some left.
    stateful: BTreeSet<InterfaceIndex>,
    /// Another version has left its sessions, whose number is not known yet.
    is_taken_over: bool,
    /// Features as they are to be, by interface.
    wanted: BTreeMap<InterfaceIndex, Switched>,
    held: BTreeMap<InterfaceIndex, Switched>,
}

impl Store {
    /// What the configuration says, not yet applied.
    ///
    /// # Errors
    /// It contradicts itself.
    pub fn new(config: &AclConfig, threads: usize) -> Result<Self, Failure> {
        let mut store = Self {
            threads,
            max_sessions: config.max_sessions,
            log_rate: config.log_rate,
            timeouts: config.timeouts,
            sets: BTreeMap::new(),
            lists: BTreeMap::new(),
            mac_lists: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            policies: HashMap::new(),
            next_list: 0,
            epochs: BTreeMap::new(),
            next_epoch: 1,
            stateful: BTreeSet::new(),
            is_taken_over: false,
            wanted: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        for (name, addresses) in &config.sets {
            store.put_set(name, addresses.iter().map(|text| prefix(text)).collect::<Result<_, _>>()?)?;
        }
        for (name, texts) in &config.lists {
            store.put_list(name, texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)?;
        }
        for (name, texts) in &config.mac_lists {
            store.put_mac_list(name, texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)?;
        }
        store.interfaces = config.interfaces.clone();
        Ok(store)
    }

    /// Becomes what the configuration says now: what it does not name goes, and what it names as before stays as it is. The
    /// room for sessions stays until the next start.
    ///
    /// # Errors
    /// It contradicts itself.
    pub fn read_again(&mut self, config: &AclConfig) -> Result<(), Failure> {
        (self.log_rate, self.timeouts) = (config.log_rate, config.timeouts);
        self.interfaces = BTreeMap::new();
        for (name, addresses) in &config.sets {
            let prefixes: Vec<IpPrefix> =
                addresses.iter().map(|text| prefix(text)).collect::<Result<_, _>>()?;
            if self.sets.get(name).is_none_or(|set| **set != prefixes) {
                self.put_set(name, prefixes)?;
            }
        }
        for (name, texts) in &config.lists {
            let rules: Vec<Rule> = texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
            if self.lists.get(name).is_none_or(|list| list.rules != rules) {
                self.put_list(name, rules)?;
            }
        }
        for (name, texts) in &config.mac_lists {
            self.put_mac_list(name, texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)?;
        }
        for name in gone(self.lists.keys(), &config.lists) {
            self.remove_list(&name)?;
        }
        for name in gone(self.sets.keys(), &config.sets) {
            self.remove_set(&name)?;
        }
        self.mac_lists.retain(|name, _| config.mac_lists.contains_key(name));
        self.interfaces = config.interfaces.clone();
        Ok(())
    }

    /// The section of the configuration that would make this.
    pub fn config(&self) -> AclConfig {
        let texts = |rules: &[Rule]| rules.iter().map(ToString::to_string).collect();
        AclConfig {
            max_sessions: self.max_sessions,
            log_rate: self.log_rate,
            timeouts: self.timeouts,
            sets: self
                .sets
                .iter()
                .map(|(name, set)| (name.clone(), set.iter().map(ToString::to_string).collect()))
                .collect(),
            lists: self.lists.iter().map(|(name, list)| (name.clone(), texts(&list.rules))).collect(),
            mac_lists: self
                .mac_lists
                .iter()
                .map(|(name, list)| (name.clone(), list.iter().map(ToString::to_string).collect()))
                .collect(),
            interfaces: self.interfaces.clone(),
        }
    }

    /// The lists by name.
    pub fn lists(&self) -> &BTreeMap<String, Arc<List>> {
        &self.lists
    }

    /// The sets by name.
    pub fn sets(&self) -> &BTreeMap<String, Arc<Vec<IpPrefix>>> {
        &self.sets
    }

    /// What is applied, by name of the interface.
    pub fn interfaces(&self) -> &BTreeMap<String, InterfaceRules> {
        &self.interfaces
    }

    /// The list of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn list(&self, name: &str) -> Result<&Arc<List>, Failure> {
        self.lists.get(name).ok_or_else(|| missing("list", name, self.lists.keys()))
    }

    /// The list with this number, if it is there still.
    pub fn list_name(&self, number: u16) -> Option<&str> {
        self.lists.values().find(|list| list.number == number).map(|list| list.name.as_str())
    }

    /// Makes a set, or replaces it.
    ///
    /// # Errors
    /// The name is none.
    pub fn put_set(&mut self, name: &str, prefixes: Vec<IpPrefix>) -> Result<(), Failure> {
        check_name(name)?;
        self.sets.insert(name.to_owned(), Arc::new(prefixes));
        let users: BTreeSet<String> = self.lists_with_set(name).map(str::to_owned).collect();
        self.policies.retain(|lists, _| !lists.iter().any(|list| users.contains(list)));
        Ok(())
    }

    /// Removes a set.
    ///
    /// # Errors
    /// It is not there, or rules name it.
    pub fn remove_set(&mut self, name: &str) -> Result<(), Failure> {
        if !self.sets.contains_key(name) {
            return Err(missing("set", name, self.sets.keys()));
        }
        if let Some(list) = self.lists_with_set(name).next() {
            bail!("the set `{name}` is in use by the list `{list}`");
        }
        self.sets.remove(name);
        Ok(())
    }

    fn lists_with_set<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        let uses = move |list: &&Arc<List>| list.rules.iter().any(|rule| rule.sets().any(|set| set == name));
        self.lists.values().filter(uses).map(|list| list.name.as_str())
    }

    /// Makes a list, or replaces it. Rules that were in it before go on counting.
    ///
    /// # Errors
    /// The name is none, a rule names a set that is not there, or there are too many rules.
    pub fn put_list(&mut self, name: &str, rules: Vec<Rule>) -> Result<(), Failure> {
        check_name(name)?;
        if rules.len() > MOST_RULES {
            bail!("{} rules; a list has {MOST_RULES} at most", rules.len());
        }
        for (number, rule) in rules.iter().enumerate() {
            if let Some(set) = rule.sets().find(|set| !self.sets.contains_key(*set)) {
                return Err(missing("set", set, self.sets.keys())
                    .context(format_args!("rule {} of list `{name}`", number + 1)));
            }
        }
        let hits = Hits::new(self.threads, rules.len());
        let old = self.lists.get(name);
        if let Some(old) = old {
            let mut before: HashMap<&Rule, Vec<usize>> = HashMap::new();
            for (number, rule) in old.rules.iter().enumerate().rev() {
                before.entry(rule).or_default().push(number);
            }
            for (number, rule) in rules.iter().enumerate() {
                if let Some(was) = before.get_mut(rule).and_then(Vec::pop) {
                    hits.begin_with(number, old.hits.of(was));
                }
            }
        }
        let number = match old {
            Some(old) => old.number,
            None => {
                self.next_list = self.next_list.wrapping_add(1);
                self.next_list
            }
        };
        let list = List { name: name.to_owned(), number, rules, hits };
        self.lists.insert(name.to_owned(), Arc::new(list));
        self.policies.retain(|lists, _| !lists.iter().any(|list| list == name));
        Ok(())
    }

    /// Removes a list.
    ///
    /// # Errors
    /// It is not there, or is applied to an interface.
    pub fn remove_list(&mut self, name: &str) -> Result<(), Failure> {
        self.list(name)?;
        let uses = |rules: &InterfaceRules| rules.input.iter().chain(&rules.output).any(|list| list == name);
        if let Some((interface, _)) = self.interfaces.iter().find(|(_, rules)| uses(rules)) {
            bail!("the list `{name}` is applied to the interface `{interface}`");
        }
        self.lists.remove(name);
        self.policies.retain(|lists, _| !lists.iter().any(|list| list == name));
        Ok(())
    }

    /// Makes a list of MAC-IP rules, or replaces it.
    ///
    /// # Errors
    /// The name is none.
    pub fn put_mac_list(&mut self, name: &str, rules: Vec<MacRule>) -> Result<(), Failure> {
        check_name(name)?;
        self.mac_lists.insert(name.to_owned(), Arc::new(rules));
        Ok(())
    }

    /// Removes a list of MAC-IP rules.
    ///
    /// # Errors
    /// It is not there, or is applied to an interface.
    pub fn remove_mac_list(&mut self, name: &str) -> Result<(), Failure> {
        let uses = |rules: &InterfaceRules| rules.mac_list.as_deref() == Some(name);
        if let Some((interface, _)) = self.interfaces.iter().find(|(_, rules)| uses(rules)) {
            bail!("the MAC list `{name}` is applied to the interface `{interface}`");
        }
        match self.mac_lists.remove(name) {
            Some(_) => Ok(()),
            None => Err(missing("MAC list", name, self.mac_lists.keys())),
        }
    }

    /// Changes what is applied to an interface.
    ///
    /// # Errors
    /// It names what is not there.
    pub fn apply(
        &mut self,
        interface: &str,
        change: impl FnOnce(&mut InterfaceRules),
    ) -> Result<(), Failure> {
        let mut rules = self.interfaces.get(interface).cloned().unwrap_or_default();
        change(&mut rules);
        for list in rules.input.iter().chain(&rules.output) {
            self.list(list)?;
        }
        if let Some(list) = rules.mac_list.as_ref().filter(|list| !self.mac_lists.contains_key(*list)) {
            return Err(missing("MAC list", list, self.mac_lists.keys()));
        }
        if let Some(ethertypes) = &mut rules.ethertypes {
            for text in ethertypes {
                *text = ethertype_text(ethertype(text)?);
            }
        }
        if rules.is_empty() {
            self.interfaces.remove(interface);
        } else {
            self.interfaces.insert(interface.to_owned(), rules);
        }
        Ok(())
    }

    /// Has the sessions of an interface, or of all, judged again by the lists as they are, each with its next packet; returns
    /// the interfaces whose sessions those are.
    pub fn recheck(&mut self, interface: Option<InterfaceIndex>) -> Vec<InterfaceIndex> {
        let epoch = self.new_epoch();
        let meant = self.epochs.iter_mut().filter(|(index, _)| interface.is_none_or(|only| only == **index));
        meant
            .map(|(index, of)| {
                *of = epoch;
                *index
            })
            .collect()
    }

    /// What another version of the plugin, which has the same configuration, has to know.
    pub fn hand_over(&self) -> Handover {
        let list = |list: &List| ListState {
            number: list.number,
            rules: list
                .rules
                .iter()
                .enumerate()
                .map(|(number, rule)| (rule.to_string(), list.hits.of(number)))
                .map(|(text, amount)| (text, amount.packets, amount.bytes))
                .collect(),
        };
        Handover {
            section: Some(self.config()),
            epochs: self.epochs.iter().map(|(interface, epoch)| (interface.0, *epoch)).collect(),
            last_epoch: self.next_epoch,
            stateful: self.stateful.iter().map(|interface| interface.0).collect(),
            lists: self.lists.iter().map(|(name, of)| (name.clone(), list(of))).collect(),
            last_list: self.next_list,
        }
    }

    /// Goes on where another version of the plugin has stopped.
    pub fn take_over(&mut self, handover: &Handover) {
        self.epochs =
            handover.epochs.iter().map(|(interface, epoch)| (InterfaceIndex(*interface), *epoch)).collect();
        self.next_epoch = handover.last_epoch;
        self.stateful = handover.stateful.iter().copied().map(InterfaceIndex).collect();
        self.is_taken_over = true;
        self.next_list = handover.last_list;
        for (name, list) in &mut self.lists {
            let Some(before) = handover.lists.get(name) else {
                self.next_list = self.next_list.wrapping_add(1);
                *list = Arc::new(list.renumbered(self.next_list, self.threads));
                continue;
            };
            let taken = list.renumbered(before.number, self.threads);
            let mut amounts = before.amounts();
            for (number, rule) in taken.rules.iter().enumerate() {
                if let Some(amount) = amounts.get_mut(rule.to_string().as_str()).and_then(Vec::pop) {
                    taken.hits.begin_with(number, amount);
                }
            }
            *list = Arc::new(taken);
        }
        // They name the lists as those were.
        self.policies.clear();
    }

    /// An interface is gone; what was said of its name stays, for when it comes again.
    pub fn forget(&mut self, interface: InterfaceIndex) {
        self.epochs.remove(&interface);
        self.stateful.remove(&interface);
        self.wanted.remove(&interface);
        self.held.remove(&interface);
    }

    fn new_epoch(&mut self) -> u32 {
        self.next_epoch = self.next_epoch.wrapping_add(1);
        self.next_epoch
    }

    /// Compiles what is applied, for the interfaces that are there. Those whose lists begin no sessions any more go on looking at
    /// sessions as long as there are some, as `has_sessions` tells.
    ///
    /// # Errors
    /// Lists become too large.
    pub fn attach(
        &mut self,
        control: &Control<'_>,
        has_sessions: impl Fn(InterfaceIndex) -> bool,
    ) -> Result<Attachments, Failure> {
        let interfaces = control.interfaces()?;
        let is_taken_over = std::mem::take(&mut self.is_taken_over);
        let mut attachments = Attachments { rows: Vec::new(), timeouts: self.timeouts.timeouts() };
        self.wanted.clear();
        let mut transport_out = false;
        let mut used = BTreeSet::new();
        for interface in &interfaces {
            let Some(rules) = self.interfaces.get(&interface.name).cloned() else {
                self.epochs.remove(&interface.index);
                self.stateful.remove(&interface.index);
                continue;
            };
            let mut policies = [None, None];
            for (policy, names) in policies.iter_mut().zip([&rules.input, &rules.output]) {
                if !names.is_empty() {
                    *policy = Some(self.policy(names)?);
                    used.insert(names.clone());
                }
            }
            let reflects =
                |policy: &Option<Arc<Policy>>| policy.as_ref().is_some_and(|policy| policy.reflects);
            let may_have_some =
                self.stateful.contains(&interface.index) && (is_taken_over || has_sessions(interface.index));
            let stateful = policies.iter().any(reflects) || may_have_some;
            if stateful {
                self.stateful.insert(interface.index);
            } else {
                self.stateful.remove(&interface.index);
            }
            let link = (rules.mac_list.is_some() || rules.ethertypes.is_some()).then(|| {
                let macs = rules.mac_list.as_ref().and_then(|name| self.mac_lists.get(name));
                let ethertypes = rules.ethertypes.as_ref();
                Arc::new(LinkPolicy {
                    macs: macs.map(|list| list.to_vec()),
                    ethertypes: ethertypes
                        .map(|list| list.iter().filter_map(|text| ethertype(text).ok()).collect()),
                })
            });
            let epoch = match self.epochs.get(&interface.index) {
                Some(&epoch) => epoch,
                None => {
                    let epoch = self.new_epoch();
                    self.epochs.insert(interface.index, epoch);
                    epoch
                }
            };
            let most_sessions = rules.max_sessions.unwrap_or(self.max_sessions.get() as u32);
            let attachment = Attachment { policies, link, stateful, epoch, most_sessions };
            let looks = |at: usize| attachment.policies[at].as_ref().is_some_and(|p| p.looks_at_transport);
            let wanted = self.wanted.entry(interface.index).or_default();
            if attachment.policies[0].is_some() || attachment.link.is_some() || stateful {
                wanted.features.extend(["acl-in", "acl-l2-in"]);
            }
            if attachment.link.is_some() {
                wanted.features.insert("acl-arp-in");
            }
            if attachment.policies[1].is_some() || stateful {
                wanted.features.extend(["acl-out", "acl-l2-out"]);
            }
            if looks(0) || stateful {
                wanted.features.extend(VIRTUAL_REASSEMBLY);
            }
            transport_out |= looks(1) || stateful;
            let row = interface.index.0 as usize;
            if attachments.rows.len() <= row {
                attachments.rows.resize(row + 1, None);
            }
            attachments.rows[row] = Some(Arc::new(attachment));
        }
        if transport_out {
            // What leaves here may have come in anywhere.
            for interface in &interfaces {
                self.wanted.entry(interface.index).or_default().features.extend(VIRTUAL_REASSEMBLY);
            }
        }
        self.policies.retain(|names, _| used.contains(names));
        Ok(attachments)
    }

    fn policy(&mut self, names: &[String]) -> Result<Arc<Policy>, Failure> {
        if let Some(policy) = self.policies.get(names) {
            return Ok(Arc::clone(policy));
        }
        let policy = Arc::new(self.compile(names)?);
        self.policies.insert(names.to_vec(), Arc::clone(&policy));
        Ok(policy)
    }

    /// Compiles lists, in their order.
    ///
    /// # Errors
    /// One is not there, or they become too large.
    pub fn compile(&self, names: &[String]) -> Result<Policy, Failure> {
        let lists = names.iter().map(|name| self.list(name).cloned()).collect::<Result<_, _>>()?;
        let set = |name: &str| self.sets.get(name).map_or(&[][..], |set| set.as_slice());
        Ok(Policy::compile(lists, set)?)
    }

    /// Brings the features of all interfaces to what they are to be. What the host refuses is logged.
    pub fn switch_features(&mut self, control: &Control<'_>) {
        let all: BTreeSet<InterfaceIndex> = self.wanted.keys().chain(self.held.keys()).copied().collect();
        let mut held = std::mem::take(&mut self.held);
        for interface in all {
            let before = held.remove(&interface).unwrap_or_default();
            let after = self.wanted.get(&interface).cloned().unwrap_or_default();
            let mut outcomes = Vec::new();
            for feature in after.features.difference(&before.features) {
                outcomes.push(control.hold_feature(interface, feature));
            }
            for feature in before.features.difference(&after.features) {
                outcomes.push(control.release_feature(interface, feature));
            }
            for failure in outcomes.into_iter().filter_map(Result::err) {
                control.log(LogLevel::ERROR, format_args!("a feature of the lists: {failure}"));
            }
        }
        self.held = self.wanted.clone();
    }
}

/// Names that are not among others.
fn gone<'n, T>(names: impl Iterator<Item = &'n String>, left: &BTreeMap<String, T>) -> Vec<String> {
    names.filter(|name| !left.contains_key(*name)).cloned().collect()
}

const VIRTUAL_REASSEMBLY: [&str; 3] =
    ["ip4-virtual-reassembly", "ip6-virtual-reassembly", "l2-virtual-reassembly"];

/// Nothing of that name.
fn missing<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n String>) -> Failure {
    let hint = nearest(name, known.map(String::as_str)).map(|near| format!("; did you mean `{near}`?"));
    failure!("there is no {what} `{name}`{}", hint.unwrap_or_default())
}
