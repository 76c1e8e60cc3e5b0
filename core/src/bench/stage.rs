//! An engine that is set up for a case.

use std::path::Path;

use anyhow::bail;

use super::cases::{Case, IN_MAC, Packets, SOURCE_MAC, next_hop};
use super::esp;
use super::load::{PacketFile, add_routes};
use super::workload::Workload;
use crate::control::config::{Config, Document, Owners};
use crate::host::{Engine, EngineConfig};
use crate::plugin::PluginPolicy;
use crate::runtime::WorkerConfig;

/// Workers that are pinned each to a core of its own, from the last one down.
pub(super) fn pinned(workers: usize) -> Vec<WorkerConfig> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let of = |worker: usize| WorkerConfig { core: Some((cores - 1).saturating_sub(worker) % cores) };
    (0..workers).map(of).collect()
}

/// An engine that runs a case.
pub(super) struct Stage {
    pub(super) engine: Box<Engine>,
    /// What the generator sends again and again.
    _packets: Option<PacketFile>,
    /// Keys that the configuration names, and what plugins keep.
    _keys: Option<esp::KeyDirectory>,
}

impl Stage {
    /// Makes a case's engine, with its plugins and routes, and has it run.
    pub(super) fn set(case: &Case, workers: usize, plugins: Option<&Path>) -> anyhow::Result<Self> {
        let workload = case.workload();
        let packets = match &workload {
            Some(Workload { frames, .. }) if !frames.is_empty() => Some(PacketFile::of_frames(frames)?),
            Some(Workload { destinations, .. }) if !destinations.is_empty() => {
                let macs = [SOURCE_MAC.parse()?, IN_MAC.parse()?];
                Some(PacketFile::create(destinations, case.frame_bytes, macs)?)
            }
            _ => None,
        };
        let path = packets.as_ref().map(PacketFile::path);
        let source = path.as_deref().map_or(Packets::Template, Packets::Replay);
        let mut text = case.configuration(workers, &source);
        let keys = if text.contains(esp::KEYS) { Some(esp::KeyDirectory::create()?) } else { None };
        if let Some(keys) = &keys {
            text = text.replace(esp::KEYS, &keys.path().display().to_string());
        }
        let document = Document::parse(&case.name, text.as_str())?;
        let mut owners = Owners::new();
        owners.accept_unknown();
        let config = Config::load(&document, &owners)?;
        let engine = Engine::create(EngineConfig {
            workers: pinned(workers),
            buffers: 4096 * workers.max(1),
            config_text: text,
            state_directory: keys.as_ref().map(|keys| keys.path().to_owned()),
            ..EngineConfig::default()
        })?;
        engine.start_workers()?;
        bring_in_plugins(&engine, case, plugins)?;
        for (name, outcome) in engine.add_images(case.image.iter().map(|make| make()).collect()) {
            outcome.map_err(|failure| anyhow::anyhow!("{name}: {failure}"))?;
        }
        if let Some(failure) = crate::daemon::apply(&engine, &config).first() {
            bail!("{failure}");
        }
        if let Some(Workload { routes, .. }) = &workload
            && let Some(first) = routes.first()
        {
            add_routes(&engine, routes, next_hop(first.network()))?;
        }
        Ok(Self { engine, _packets: packets, _keys: keys })
    }
}

/// Brings in the plugins that the case names, and no others.
fn bring_in_plugins(engine: &Engine, case: &Case, path: Option<&Path>) -> anyhow::Result<()> {
    if case.plugins.is_empty() {
        return Ok(());
    }
    let path = match path {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("plugins"),
    };
    let names: Vec<String> = case.plugins.iter().map(|&name| name.to_owned()).collect();
    let policy = PluginPolicy {
        path,
        path_is_given: true,
        only: names.clone(),
        require: names,
        ..PluginPolicy::default()
    };
    crate::daemon::bring_in(engine, &policy).map_err(|reason| anyhow::anyhow!(reason))
}
