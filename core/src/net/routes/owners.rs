//! Whose a plugin's routes are. What a plugin calls its source (a preference and a number) is a source of its own here: no other
//! plugin has it, and one that comes back after its routes were withdrawn gets another, so that a withdrawal that is still under
//! way takes nothing of the new ones.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::task;
use raddle_plugin_api::wire::IpPrefix;

use super::Routes;
use crate::net::fib::Source;

/// How long a withdrawal keeps the main thread, in ns.
const TURN_NS: u64 = 5_000_000;
/// Prefixes that are looked for at a time.
const PREFIXES: usize = 512;

/// Sources of plugins.
#[derive(Debug, Default)]
pub struct RouteOwners {
    sources: BTreeMap<Source, Claim>,
    last: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    plugin: String,
    /// What the plugin calls it.
    number: u16,
    /// Its routes are being withdrawn.
    is_leaving: bool,
}

impl RouteOwners {
    /// The source that a plugin calls by this preference and number.
    ///
    /// # Errors
    /// There are too many of that preference.
    fn claim(&mut self, plugin: &str, preference: u8, number: u16) -> Result<Source, Failure> {
        let is_it = |source: &Source, claim: &Claim| {
            source.preference == preference
                && !claim.is_leaving
                && (claim.plugin.as_str(), claim.number) == (plugin, number)
        };
        if let Some((source, _)) = self.sources.iter().find(|(source, claim)| is_it(source, claim)) {
            return Ok(*source);
        }
        let owners = (1..=u16::MAX).map(|step| self.last.wrapping_add(step)).filter(|&owner| owner > 0);
        let mut free = owners.map(|owner| Source::dynamic(preference, owner));
        let source = free.find(|source| !self.sources.contains_key(source));
        let source =
            source.ok_or_else(|| failure!("there are no more sources of preference {preference}"))?;
        self.last = source.owner;
        let claim = Claim { plugin: plugin.to_owned(), number, is_leaving: false };
        self.sources.insert(source, claim);
        Ok(source)
    }

    /// The sources of a plugin, which are its own no more.
    fn leave(&mut self, plugin: &str) -> Vec<Source> {
        let own = self.sources.iter_mut().filter(|(_, claim)| claim.plugin == plugin && !claim.is_leaving);
        own.map(|(source, claim)| {
            claim.is_leaving = true;
            *source
        })
        .collect()
    }

    /// A source as it is shown.
    pub fn name(&self, source: Source) -> String {
        let Source { preference, owner } = source;
        match self.sources.get(&source) {
            Some(Claim { plugin, number, .. }) => format!("plugin {plugin} {preference}/{number}"),
            None => format!("dynamic {preference}/{owner}"),
        }
    }
}

/// Routes that are withdrawn in turns.
struct Withdrawal {
    /// Numbers of tables, with a source each.
    left: Vec<(u32, Source)>,
    after: Option<IpPrefix>,
}

impl Routes {
    /// The source of a plugin's routes, by what the plugin calls it.
    ///
    /// # Errors
    /// There are too many.
    pub fn source_of(&self, plugin: &str, preference: u8, number: u16) -> Result<Source, Failure> {
        self.state().owners.claim(plugin, preference, number)
    }

    /// Withdraws all routes of a plugin. Many of them take several turns of the main thread; what the plugin adds meanwhile is not
    /// touched.
    pub fn withdraw(&self, control: &Control<'_>, plugin: &str) {
        let mut withdrawal = {
            let mut state = self.state();
            let sources = state.owners.leave(plugin);
            let tables: Vec<u32> = state.tables().map(|(_, table)| table.id).collect();
            let left = sources.iter().flat_map(|&source| tables.iter().map(move |&table| (table, source)));
            Withdrawal { left: left.collect(), after: None }
        };
        if self.withdraw_for_a_turn(control, &mut withdrawal) {
            return;
        }
        control.spawn("withdraw-routes", |task| async move {
            loop {
                let is_done = task.with(|control| match control.resource::<Self>() {
                    Ok(routes) => routes.withdraw_for_a_turn(control, &mut withdrawal),
                    Err(_) => true,
                });
                if is_done {
                    return;
                }
                // Behind what else there is to be done.
                task::yield_now().await;
            }
        });
    }

    /// Goes on with a withdrawal; returns whether it is done.
    fn withdraw_for_a_turn(&self, control: &Control<'_>, withdrawal: &mut Withdrawal) -> bool {
        let until_ns = control.now_ns() + TURN_NS;
        while let Some(&(table, source)) = withdrawal.left.last() {
            let key = TableKey::Id(table);
            // A table that has gone has taken its routes along.
            let found = self.prefixes_of(&key, source, withdrawal.after, PREFIXES);
            let (prefixes, go_on) = found.unwrap_or_default();
            if let Ok(mut bulk) = self.begin(&key, source, Vec::new()) {
                let changes: Vec<_> = prefixes.into_iter().map(|prefix| (prefix, None)).collect();
                let turn = self.turn(control, &mut bulk, &changes, u64::MAX);
                self.end(control, bulk);
                if let Some(failure) = turn.failure {
                    control.log(LogLevel::ERROR, format_args!("a route is not withdrawn: {failure}"));
                }
            }
            withdrawal.after = go_on;
            if go_on.is_none() {
                withdrawal.left.pop();
                if withdrawal.left.iter().all(|(_, other)| *other != source) {
                    self.state().owners.sources.remove(&source);
                }
            }
            if control.now_ns() >= until_ns {
                break;
            }
        }
        withdrawal.left.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_plugin_has_its_own_source_and_another_one_when_it_comes_back() {
        let mut owners = RouteOwners::default();
        let first = owners.claim("bgp", 20, 7).unwrap();
        assert_eq!(owners.claim("bgp", 20, 7).unwrap(), first);
        let others = [owners.claim("bgp", 20, 8), owners.claim("bgp", 30, 7), owners.claim("ospf", 20, 7)];
        assert!(others.into_iter().all(|other| other.unwrap() != first));
        assert_eq!(owners.name(first), "plugin bgp 20/7");
        assert_eq!(owners.leave("bgp").len(), 3);
        assert!(owners.leave("bgp").is_empty(), "they leave already");
        let again = owners.claim("bgp", 20, 7).unwrap();
        assert_ne!(again, first, "whose routes are being withdrawn");
        assert_eq!(owners.name(Source::dynamic(99, 1)), "dynamic 99/1");
    }
}
