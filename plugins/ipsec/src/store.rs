//! The SAs as the main thread keeps them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use raddle_plugin_api::{Failure, InterfaceIndex, bail, failure};
use serde::Serialize;

use crate::config::{Direction, SaConfig};
use crate::engine::{Engine, PreparedKeys, engines};
use crate::key::{Keys, Secret};
use crate::policies::{Policies, PoliciesConfig};
use crate::replay::ReplayWindow;
use crate::sa::{Bound, Description, Inbound, Lifetime, Outbound, Usage};
use crate::tables::Tables;
use crate::used_keys::{AHEAD, UsedKeys};

/// Window of SAs of which none was said, in packets.
const DEFAULT_WINDOW: u32 = 1024;

/// All SAs.
pub struct Store {
    engines: Vec<Box<dyn Engine>>,
    /// The engine that is asked first.
    preferred: Option<String>,
    sas: BTreeMap<String, Sa>,
    /// Interfaces by name.
    interfaces: HashMap<String, InterfaceIndex>,
    used: UsedKeys,
    /// SAs that were added so far.
    added: u64,
    policies: PoliciesConfig,
    /// The policies as they were last made, and the tunnels of which that was.
    compiled: Option<(Vec<Option<InterfaceIndex>>, Arc<Policies>)>,
}

/// An SA.
pub struct Sa {
    /// What was said of it.
    pub config: SaConfig,
    /// It.
    pub state: SaState,
    /// Its place among all that were added.
    pub order: u64,
    /// When it was added: monotonic time in ns.
    pub added_ns: u64,
    /// Of keys that must not meet a counter twice.
    fingerprint: Option<String>,
    /// The soft and the hard bound that were told of.
    told: (Option<Bound>, Option<Bound>),
}

/// An SA as workers have it.
#[derive(Clone)]
pub enum SaState {
    /// It sends.
    Out(Arc<Outbound>),
    /// It receives.
    In(Arc<Inbound>),
}

/// What is told when a bound of an SA's life is met: the event `ipsec-lifetime`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LifetimeEvent {
    /// The SA.
    pub sa: String,
    /// Its number.
    pub spi: u32,
    /// Which bound.
    pub bound: Bound,
    /// Whether the SA has ended; else it should be replaced.
    pub hard: bool,
}

impl SaState {
    /// What it is.
    pub fn description(&self) -> &Description {
        match self {
            Self::Out(sa) => &sa.description,
            Self::In(sa) => &sa.description,
        }
    }

    /// What went by it.
    pub fn usage(&self) -> &Usage {
        match self {
            Self::Out(sa) => &sa.usage,
            Self::In(sa) => &sa.usage,
        }
    }

    /// Its bounds.
    pub fn lifetime(&self) -> &Lifetime {
        match self {
            Self::Out(sa) => &sa.lifetime,
            Self::In(sa) => &sa.lifetime,
        }
    }

    /// The engine that has its keys.
    pub fn engine(&self) -> &'static str {
        match self {
            Self::Out(sa) => sa.keys.engine(),
            Self::In(sa) => sa.keys.engine(),
        }
    }
}

impl Store {
    /// No SA yet.
    ///
    /// # Errors
    /// There is no such engine.
    pub fn new(engine: Option<&str>, used: UsedKeys) -> Result<Self, Failure> {
        let engines = engines();
        let preferred = match engine {
            None | Some("auto") => None,
            Some(name) if engines.iter().any(|engine| engine.name() == name) => Some(name.to_owned()),
            Some(name) => {
                let there: Vec<_> = engines.iter().map(|engine| format!("`{}`", engine.name())).collect();
                bail!("ipsec: there is no engine `{name}` here: `auto`, or one of {}", there.join(", "));
            }
        };
        let (sas, interfaces) = (BTreeMap::new(), HashMap::new());
        let policies = PoliciesConfig::default();
        Ok(Self { engines, preferred, sas, interfaces, used, added: 0, policies, compiled: None })
    }

    /// The engines that are here, the one first that is asked first.
    pub fn engines(&self) -> impl Iterator<Item = &dyn Engine> {
        let all = || self.engines.iter().map(|engine| &**engine);
        let is_preferred = |engine: &&dyn Engine| Some(engine.name()) == self.preferred.as_deref();
        all().filter(is_preferred).chain(all().filter(move |engine| !is_preferred(engine)))
    }

    /// The SAs by name.
    pub fn sas(&self) -> impl Iterator<Item = (&str, &Sa)> {
        self.sas.iter().map(|(name, sa)| (name.as_str(), sa))
    }

    /// What the configuration would have to say of all SAs.
    pub fn configs(&self) -> BTreeMap<String, SaConfig> {
        self.sas.iter().map(|(name, sa)| (name.clone(), sa.config.clone())).collect()
    }

    /// Adds an SA, with its keys from their files.
    ///
    /// # Errors
    /// One sentence on what is wrong; nothing has changed.
    pub fn add(&mut self, name: &str, config: SaConfig, now_ns: u64) -> Result<(), Failure> {
        let of_sa = |error: &dyn std::fmt::Display| failure!("SA `{name}`: {error}");
        let description = config.description(name)?;
        self.check_name(name, &description, config.direction)?;
        let suite = description.suite;
        let read = |path: &Option<std::path::PathBuf>| match path {
            Some(path) => Secret::read(path).map_err(|error| of_sa(&error)),
            None => Ok(Secret::new(Vec::new())),
        };
        let keys = Keys::new(suite, &read(&config.key_file)?, &read(&config.integrity_key_file)?)
            .map_err(|error| of_sa(&error))?;
        let fingerprint = suite.encryption.counts_iv().then(|| keys.fingerprint(suite.encryption));
        if let Some(fingerprint) = &fingerprint
            && let Some((other, _)) =
                self.sas.iter().find(|(_, sa)| sa.fingerprint.as_ref() == Some(fingerprint))
        {
            bail!(
                "SA `{name}` has the key of SA `{other}`: with {} each needs its own, in both directions too",
                suite.encryption
            );
        }
        let prepared = self.prepare(name, suite, &keys)?;
        let state = match config.direction {
            Direction::In => SaState::In(Arc::new(inbound(description, &config, prepared))),
            Direction::Out => {
                let (first, noted) =
                    self.counters(&config, fingerprint.as_deref()).map_err(|error| of_sa(&error))?;
                SaState::Out(Arc::new(Outbound::new(
                    description,
                    prepared,
                    (config.outer_dscp(), config.ecn, config.dont_fragment),
                    config.pad_to.map_or(0, |pad| pad.get() as usize),
                    config.lifetime,
                    first,
                    noted,
                )))
            }
        };
        self.added += 1;
        let sa = Sa { config, state, order: self.added, added_ns: now_ns, fingerprint, told: (None, None) };
        self.sas.insert(name.to_owned(), sa);
        Ok(())
    }

    fn check_name(&self, name: &str, new: &Description, direction: Direction) -> Result<(), Failure> {
        if self.sas.contains_key(name) {
            bail!("there is an SA `{name}` already: delete it first, or take another name");
        }
        let same = |(_, sa): &(&String, &Sa)| {
            sa.config.direction == Direction::In && sa.state.description().spi == new.spi
        };
        if direction == Direction::In
            && let Some((other, _)) = self.sas.iter().find(same)
        {
            bail!("SA `{name}`: SPI {} is that of SA `{other}`: packets that come need one each", new.spi);
        }
        Ok(())
    }

    fn prepare(
        &mut self,
        name: &str,
        suite: crate::algorithm::Suite,
        keys: &Keys,
    ) -> Result<PreparedKeys, Failure> {
        let preferred = self.preferred.clone();
        let is_preferred = |engine: &&mut Box<dyn Engine>| Some(engine.name()) == preferred.as_deref();
        let (first, rest): (Vec<_>, Vec<_>) = self.engines.iter_mut().partition(is_preferred);
        first
            .into_iter()
            .chain(rest)
            .find_map(|engine| engine.prepare(suite, keys))
            .ok_or_else(|| failure!("SA `{name}`: no engine here knows {suite}"))
    }

    /// The first sequence number of an SA that sends, and the first that it must not use yet.
    fn counters(&self, config: &SaConfig, fingerprint: Option<&str>) -> Result<(u64, u64), Failure> {
        let wanted = config.sequence.map(|sequence| sequence.get());
        let Some(fingerprint) = fingerprint else { return Ok((wanted.unwrap_or(1), u64::MAX)) };
        let unused = self.used.first_unused(fingerprint)?;
        let first = wanted.unwrap_or(unused);
        if first < unused && !config.allow_key_reuse {
            bail!(
                "its key was used up to sequence number {} already: leave `sequence` out to go on from there, or use a new key",
                unused - 1
            );
        }
        let noted = first.saturating_add(AHEAD).max(if first < unused { unused } else { 0 });
        self.used.note(fingerprint, None, noted)?;
        Ok((first, noted))
    }

    /// Takes an SA away. Workers stop sending by it at once; where its key stopped is noted.
    ///
    /// # Errors
    /// There is none of the name.
    pub fn delete(&mut self, name: &str) -> Result<(), Failure> {
        let Some(sa) = self.sas.remove(name) else {
            let known = self.sas.keys().map(String::as_str);
            let hint = raddle_plugin_api::config::nearest(name, known);
            bail!(
                "there is no SA `{name}`{}",
                hint.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
            );
        };
        self.stop(&sa);
        Ok(())
    }

    /// Takes all SAs away.
    pub fn clear(&mut self) {
        for sa in std::mem::take(&mut self.sas).into_values() {
            self.stop(&sa);
        }
    }

    fn stop(&self, sa: &Sa) {
        if let (SaState::Out(out), Some(fingerprint)) = (&sa.state, &sa.fingerprint) {
            let (noted, next) = (out.noted(), out.stop());
            // If that fails what was noted ahead stands: numbers are lost, not used twice.
            let _ = self.used.note(fingerprint, Some(noted), next.min(noted));
        } else {
            sa.state.usage().ended.store(true, Ordering::Relaxed);
        }
    }

    /// An interface came.
    pub fn add_interface(&mut self, name: &str, index: InterfaceIndex) {
        self.interfaces.insert(name.to_owned(), index);
    }

    /// An interface went.
    pub fn remove_interface(&mut self, name: &str) {
        self.interfaces.remove(name);
    }

    /// The interface of this name.
    pub fn interface(&self, name: &str) -> Option<InterfaceIndex> {
        self.interfaces.get(name).copied()
    }

    /// What a tunnel sends by: the last one that was added and has not ended, else the last one.
    pub fn sends_by(&self, tunnel: &str) -> Option<&Arc<Outbound>> {
        let of_tunnel = self.sas.values().filter(|sa| sa.config.interface.as_deref() == Some(tunnel));
        let sending = of_tunnel.filter_map(|sa| match &sa.state {
            SaState::Out(out) => Some((!out.usage.ended.load(Ordering::Relaxed), sa.order, out)),
            SaState::In(_) => None,
        });
        sending.max_by_key(|(alive, order, _)| (*alive, *order)).map(|(_, _, out)| out)
    }

    /// Sets the policies.
    ///
    /// # Errors
    /// One sentence on what is wrong; nothing has changed.
    pub fn set_policies(&mut self, policies: PoliciesConfig) -> Result<(), Failure> {
        policies.check()?;
        if policies != self.policies {
            self.policies = policies;
            self.compiled = None;
        }
        Ok(())
    }

    /// The policies.
    pub fn policies(&self) -> &PoliciesConfig {
        &self.policies
    }

    /// The policies as workers see them: made anew only when they or their tunnels have changed, so that what they count stays.
    fn compiled(&mut self) -> Arc<Policies> {
        let tunnels: Vec<_> = self.policies.tunnels().map(|name| self.interface(name)).collect();
        match &self.compiled {
            Some((known, compiled)) if *known == tunnels => Arc::clone(compiled),
            _ => {
                let made = Arc::new(self.policies.compile(|name| self.interface(name)));
                self.compiled = Some((tunnels, Arc::clone(&made)));
                made
            }
        }
    }

    /// What workers are to see.
    pub fn tables(&mut self) -> Tables {
        let mut tables = Tables::new(self.compiled());
        for sa in self.sas.values() {
            let interface = sa.config.interface.as_deref();
            if let SaState::In(inbound) = &sa.state {
                // A tunnel that is not there is none that is up.
                let index = interface.map(|name| self.interface(name).unwrap_or(InterfaceIndex::NONE));
                tables.add_inbound(Arc::clone(inbound), index);
            }
        }
        for (name, &index) in &self.interfaces {
            if let Some(out) = self.sends_by(name) {
                tables.set_outbound(index, Arc::clone(out));
            }
        }
        tables
    }

    /// Notes more sequence numbers for SAs that have used half of what was noted. Returns what went wrong.
    pub fn note_ahead(&mut self) -> Vec<String> {
        let mut failed = Vec::new();
        for (name, sa) in &self.sas {
            let (SaState::Out(out), Some(fingerprint)) = (&sa.state, &sa.fingerprint) else { continue };
            let (next, noted) = (out.next(), out.noted());
            if noted > out.last() || noted.saturating_sub(next) > AHEAD / 2 {
                continue;
            }
            match self.used.note(fingerprint, Some(noted), next.saturating_add(AHEAD)) {
                Ok(()) => out.note(next.saturating_add(AHEAD)),
                Err(error) => failed.push(format!("SA `{name}`: {error}")),
            }
        }
        failed
    }

    /// Bounds that were met since the last call.
    pub fn lifetimes(&mut self, now_ns: u64) -> Vec<LifetimeEvent> {
        let mut events = Vec::new();
        for (name, sa) in &mut self.sas {
            let age_seconds = now_ns.saturating_sub(sa.added_ns) / 1_000_000_000;
            let (soft, hard) = sa.state.lifetime().met(sa.state.usage(), age_seconds);
            let spi = sa.state.description().spi;
            let event = |bound, hard| LifetimeEvent { sa: name.clone(), spi, bound, hard };
            if let (Some(bound), None) = (soft, sa.told.0) {
                sa.told.0 = Some(bound);
                events.push(event(bound, false));
            }
            if let (Some(bound), None) = (hard, sa.told.1) {
                sa.told.1 = Some(bound);
                sa.state.usage().ended.store(true, Ordering::Relaxed);
                events.push(event(bound, true));
            }
        }
        events
    }
}

fn inbound(description: Description, config: &SaConfig, keys: PreparedKeys) -> Inbound {
    let window = config.replay_window.map_or(DEFAULT_WINDOW, |window| window.get() as u32);
    Inbound {
        description,
        keys,
        replay: (window > 0).then(|| ReplayWindow::new(window, 0)),
        follows_ecn: config.ecn,
        lifetime: config.lifetime,
        usage: Usage::default(),
    }
}
