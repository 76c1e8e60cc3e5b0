//! Lists, and what workers go by: the lists of an interface and direction, compiled together.

use std::sync::Arc;

use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::wire::IpPrefix;

use crate::compile::{Classifier, Expanded, TooManyEntries, WORDS4, WORDS6, expand};
use crate::direction::Direction;
use crate::hits::Hits;
use crate::link_rule::LinkPolicy;
use crate::rule::{Action, Rule};
use crate::session::Timeouts;

/// A named list of rules, as it is until it is replaced.
pub struct List {
    /// Its name.
    pub name: String,
    /// Which list it is, whatever becomes of its rules.
    pub number: u16,
    /// The rules, in order.
    pub rules: Vec<Rule>,
    /// What they have matched.
    pub hits: Hits,
}

impl List {
    /// The same list by another number, whose rules have counted nothing.
    pub fn renumbered(&self, number: u16, threads: usize) -> Self {
        let (name, rules) = (self.name.clone(), self.rules.clone());
        let hits = Hits::new(threads, rules.len());
        Self { name, number, rules, hits }
    }
}

/// A rule of compiled lists: where it is, and what it does.
#[derive(Clone, Copy, Debug)]
pub struct RuleRef {
    /// The list, by its place among those compiled together.
    pub list: u16,
    /// What becomes of packets.
    pub action: Action,
    /// Whether matches are logged.
    pub log: bool,
    /// The rule, by its place in the list.
    pub rule: u32,
}

/// Lists, compiled together: the first match in their order counts.
pub struct Policy {
    /// The lists.
    pub lists: Box<[Arc<List>]>,
    /// Their rules, one list behind the other: what the classifiers find is a place in here.
    pub rules: Box<[RuleRef]>,
    /// For IPv4 packets.
    pub ip4: Classifier<WORDS4>,
    /// For IPv6 packets.
    pub ip6: Classifier<WORDS6>,
    /// Whether a rule begins sessions.
    pub reflects: bool,
    /// Whether a rule looks at what later fragments do not have.
    pub looks_at_transport: bool,
}

impl Policy {
    /// Compiles lists; `set` gives the prefixes of a set.
    ///
    /// # Errors
    /// They become too many entries.
    pub fn compile<'s>(
        lists: Vec<Arc<List>>,
        set: impl Fn(&str) -> &'s [IpPrefix],
    ) -> Result<Self, TooManyEntries> {
        let (mut rules, mut entries) = (Vec::new(), Expanded::default());
        for (place, list) in lists.iter().enumerate() {
            for (number, rule) in list.rules.iter().enumerate() {
                expand(&mut entries, rule, rules.len() as u32, &set)?;
                rules.push(RuleRef {
                    list: place as u16,
                    action: rule.action,
                    log: rule.log,
                    rule: number as u32,
                });
            }
        }
        let of_any = |is: fn(&Rule) -> bool| lists.iter().flat_map(|list| &list.rules).any(is);
        Ok(Self {
            reflects: of_any(|rule| rule.action == Action::Reflect),
            looks_at_transport: of_any(Rule::looks_at_transport),
            ip4: Classifier::new(&entries.ip4),
            ip6: Classifier::new(&entries.ip6),
            rules: rules.into(),
            lists: lists.into(),
        })
    }

    /// The rule at a place that a classifier found.
    #[inline(always)]
    pub fn rule(&self, place: u32) -> Option<RuleRef> {
        self.rules.get(place as usize).copied()
    }

    /// The number of a rule's list.
    pub fn list_number(&self, rule: RuleRef) -> u16 {
        self.lists.get(usize::from(rule.list)).map_or(0, |list| list.number)
    }

    /// Counts packets of a rule.
    #[inline(always)]
    pub fn count(&self, rule: RuleRef, thread: usize, packets: u64, bytes: u64) {
        if let Some(list) = self.lists.get(usize::from(rule.list)) {
            list.hits.add(thread, rule.rule as usize, packets, bytes);
        }
    }
}

/// Counts packets of rules on one thread, of those that follow one another at once.
pub struct RuleTally<'p> {
    policy: &'p Policy,
    thread: usize,
    rule: Option<RuleRef>,
    packets: u64,
    bytes: u64,
}

impl<'p> RuleTally<'p> {
    /// For the rules of `policy`, on the calling thread.
    pub fn new(policy: &'p Policy, thread: usize) -> Self {
        Self { policy, thread, rule: None, packets: 0, bytes: 0 }
    }

    /// Counts packets of another rule, or of none, from now on.
    #[inline(always)]
    pub fn turn_to(&mut self, rule: Option<RuleRef>) {
        if let Some(rule) = self.rule {
            self.policy.count(rule, self.thread, self.packets, self.bytes);
        }
        (self.rule, self.packets, self.bytes) = (rule, 0, 0);
    }

    /// Counts a packet.
    #[inline(always)]
    pub fn add(&mut self, bytes: u32) {
        self.packets += 1;
        self.bytes += u64::from(bytes);
    }
}

/// What is applied to an interface.
#[derive(Clone, Default)]
pub struct Attachment {
    /// Lists by [`Direction`].
    pub policies: [Option<Arc<Policy>>; 2],
    /// MAC-IP rules and ethertypes.
    pub link: Option<Arc<LinkPolicy>>,
    /// Whether sessions may be there.
    pub stateful: bool,
    /// Sessions that were judged at another epoch are judged again.
    pub epoch: u32,
    /// Sessions that the interface may have.
    pub most_sessions: u32,
}

impl Attachment {
    /// The lists of a direction.
    #[inline(always)]
    pub fn policy(&self, direction: Direction) -> Option<&Policy> {
        self.policies[direction as usize].as_deref()
    }
}

/// What is applied to each interface, by its index.
#[derive(Clone, Default)]
pub struct Attachments {
    /// By index; those of interfaces without lists are not there.
    pub rows: Vec<Option<Arc<Attachment>>>,
    /// How long sessions last, on all of them.
    pub timeouts: Timeouts,
}

impl Attachments {
    /// Whether anything that is applied begins sessions.
    pub fn is_stateful(&self) -> bool {
        self.rows.iter().flatten().any(|attachment| attachment.stateful)
    }

    /// What is applied to an interface.
    #[inline(always)]
    pub fn of(&self, interface: InterfaceIndex) -> Option<&Attachment> {
        self.rows.get(interface.0 as usize)?.as_deref()
    }
}
