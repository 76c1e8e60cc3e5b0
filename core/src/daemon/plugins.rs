//! Plugins: those of the directory at the start, and what is done with them while the daemon runs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use raddle_plugin_api::{Failure, bail, failure};
use serde_json::{Value, json};

use super::crash_log::CrashLog;
use crate::control::config::sections::PluginsConfig;
use crate::host::{AbsentPlugin, Departure, Engine, ImageParts, Step};
use crate::plugin::{Loaded, PluginPolicy, Present, Trust, discover};

/// What the configuration says of plugins.
pub fn policy(config: &PluginsConfig) -> PluginPolicy {
    PluginPolicy {
        path: config.directory(),
        path_is_given: config.path.is_some(),
        disable: config.disable.clone(),
        only: config.only.clone(),
        require: config.require.clone(),
        held_back: BTreeMap::new(),
        // Keys that are none were refused with the configuration.
        trust: Trust::of(&config.trusted_keys).unwrap_or_default(),
    }
}

/// Adds the methods by which plugins come and go while the daemon runs: those that `trust` lets load.
pub fn add_methods(engine: &Engine, trust: Trust, crashes: Rc<RefCell<Option<CrashLog>>>) {
    let trusted = trust.clone();
    engine.add_method("plugin.load", move |engine, arguments| {
        let path: PathBuf = serde_json::from_value(arguments)?;
        Ok(load(engine, &path, &trusted)?.into())
    });
    engine.add_method("plugin.unload", |engine, arguments| {
        engine.remove_plugin(&name(arguments)?, Departure::Unload)?;
        Ok(Value::Null)
    });
    engine.add_method("plugin.disable", |engine, arguments| {
        disable(engine, &name(arguments)?)?;
        Ok(Value::Null)
    });
    let trusted = trust.clone();
    engine.add_method("plugin.enable", move |engine, arguments| {
        Ok(enable(engine, &name(arguments)?, &trusted)?.into())
    });
    engine.add_method("plugin.upgrade", move |engine, arguments| {
        let what: String = serde_json::from_value(arguments)?;
        upgrade(engine, &what, &trust)
    });
    let log = Rc::clone(&crashes);
    engine.add_method("plugin.crashes", move |_, _| {
        let log = log.borrow();
        let plugins = log.as_ref().map(|log| log.plugins().clone()).unwrap_or_default();
        Ok(serde_json::to_value(plugins)?)
    });
    engine.add_method("plugin.clear-crashes", move |_, arguments| {
        let name: Option<String> = serde_json::from_value(arguments)?;
        match crashes.borrow_mut().as_mut() {
            Some(log) => Ok(log.clear(name.as_deref())?.into()),
            None => bail!("crashes are not counted: there is no `plugins.state-directory`"),
        }
    });
}

fn name(arguments: Value) -> Result<String, Failure> {
    Ok(serde_json::from_value(arguments)?)
}

/// Brings the plugins of the directory in. One that cannot be used is said, and the others go on.
///
/// # Errors
/// One that is required is missing or cannot be used.
pub fn bring_in(engine: &Engine, policy: &PluginPolicy) -> Result<(), String> {
    let discovery = discover(policy).map_err(|error| error.to_string())?;
    for warning in &discovery.warnings {
        tracing::warn!("{warning}");
    }
    for (path, refusal) in &discovery.refused {
        tracing::error!("plugin {} is refused: {refusal}", path.display());
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        engine.note_absent(absent(stem, path, "refused", refusal.to_string()));
    }
    for (name, path) in &discovery.disabled {
        tracing::info!("plugin `{name}` is disabled by the configuration");
        let reason = format!("by the configuration; `plugin enable {name}` loads it");
        engine.note_absent(absent(name.clone(), path, "disabled", reason));
    }
    for (name, path, why) in &discovery.held_back {
        tracing::error!("plugin `{name}` is held back: {why}");
        engine.note_absent(absent(name.clone(), path, "held-back", why.clone()));
    }
    let parts = discovery.plugins.iter().map(parts).collect();
    for (name, outcome) in engine.add_images(parts) {
        match outcome {
            Ok(()) => tracing::info!("plugin `{name}` is active"),
            Err(failure) if policy.require.contains(&name) => {
                return Err(format!("plugin `{name}` is required, but is refused: {failure}"));
            }
            Err(failure) => tracing::error!("plugin `{name}` is refused: {failure}"),
        }
    }
    Ok(())
}

fn absent(name: String, path: &Path, state: &'static str, reason: String) -> AbsentPlugin {
    let steps = vec![Step::now("discovered", None), Step::now(state, Some(reason.clone()))];
    AbsentPlugin { name, path: path.to_owned(), state, reason, steps }
}

/// Loads one plugin while the engine runs.
///
/// # Errors
/// Why it is refused; everything else goes on as it was.
fn load(engine: &Engine, path: &Path, trust: &Trust) -> Result<String, Failure> {
    let plugin = open(path, trust)?;
    present(engine).admit(&plugin).map_err(|refusal| refused(path, &refusal))?;
    let parts = parts(&plugin);
    let name = parts.name.clone();
    match engine.add_images(vec![parts]).pop() {
        Some((_, Ok(()))) => {
            engine.forget_absent(path);
            tracing::info!("plugin `{name}` is active");
            Ok(name)
        }
        Some((_, Err(failure))) => Err(refused(path, &failure)),
        None => Err(Failure::new("the plugin went nowhere")),
    }
}

/// Unloads a plugin, to be loaded again by [`enable`].
fn disable(engine: &Engine, name: &str) -> Result<(), Failure> {
    let path = path_of(engine, name);
    engine.remove_plugin(name, Departure::Disable)?;
    if let Some(path) = path {
        let reason = format!("by command; `plugin enable {name}` loads it again");
        engine.note_absent(absent(name.to_owned(), &path, "disabled", reason));
    }
    Ok(())
}

/// Loads a plugin that is disabled or held back.
fn enable(engine: &Engine, name: &str, trust: &Trust) -> Result<String, Failure> {
    if let Some(path) = path_of(engine, name) {
        bail!("plugin `{name}` is loaded, from {}", path.display());
    }
    let absent = engine.absent_plugins();
    let known = absent.iter().filter(|plugin| plugin.state != "refused");
    if let Some(plugin) = known.clone().find(|plugin| plugin.name == name) {
        return load(engine, &plugin.path, trust);
    }
    match raddle_plugin_api::config::nearest(name, known.map(|plugin| plugin.name.as_str())) {
        Some(nearest) => bail!("no plugin `{name}` is disabled; did you mean `{nearest}`?"),
        None => bail!("no plugin `{name}` is disabled; `plugin load FILE` loads one from a file"),
    }
}

/// Puts a new version in the place of a plugin: `what` is its name, for the file that it came from, or another file.
///
/// # Errors
/// Why not; the old one goes on as it was.
pub fn upgrade(engine: &Engine, what: &str, trust: &Trust) -> Result<Value, Failure> {
    let path = match path_of(engine, what) {
        Some(path) => path,
        None if what.contains('/') => PathBuf::from(what),
        // The sentence says which name is near.
        None => return engine.find_plugin(what).map(|_| Value::Null),
    };
    let plugin = open(&path, trust)?;
    let mut present = present(engine);
    present.remove(plugin.name());
    present.admit(&plugin).map_err(|refusal| refused(&path, &refusal))?;
    let name = plugin.name().to_owned();
    let upgraded = engine.upgrade(parts(&plugin)).map_err(|failure| {
        failure!("plugin {} is refused, and `{name}` goes on as it was: {failure}", path.display())
    })?;
    tracing::info!("plugin `{name}` {} is in the place of {}", upgraded.to, upgraded.from);
    Ok(json!({ "plugin": name, "from": upgraded.from, "to": upgraded.to, "states": upgraded.states }))
}

fn open(path: &Path, trust: &Trust) -> Result<Loaded, Failure> {
    crate::plugin::load(path, trust).map_err(|refusal| refused(path, &refusal))
}

fn refused(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    failure!("plugin {} is refused: {why}", path.display())
}

/// The file of a plugin that is there.
fn path_of(engine: &Engine, name: &str) -> Option<PathBuf> {
    let mut path = None;
    engine.for_each_image(|image| {
        if image.parts.name == name && image.is_there() {
            path = image.parts.path.clone();
        }
    });
    path
}

/// The plugins that are there, for one that comes.
fn present(engine: &Engine) -> Present {
    let mut present = Present::core();
    engine.for_each_image(|image| {
        let parts = &image.parts;
        if let (true, Some(path), Ok(version)) = (image.is_there(), &parts.path, parts.version.parse()) {
            present.add(&parts.name, version, path);
        }
    });
    present
}

/// The section that would make the plugins that there are now: those disabled by command are in `disable`, those
/// enabled are not.
pub fn running(engine: &Engine, started: &PluginsConfig) -> PluginsConfig {
    let mut config = started.clone();
    config.disable.retain(|name| path_of(engine, name).is_none());
    for plugin in engine.absent_plugins() {
        if plugin.state != "disabled" || config.disable.contains(&plugin.name) {
            continue;
        }
        // The two lists exclude each other.
        if config.only.is_empty() {
            config.disable.push(plugin.name);
        } else {
            config.only.retain(|name| *name != plugin.name);
        }
    }
    config
}

/// What the engine needs of a loaded plugin.
pub(super) fn parts(plugin: &Loaded) -> ImageParts {
    let times = plugin.times();
    let step = |state, at| Step { state, reason: None, at };
    // SAFETY: the header and its registrations were judged by `plugin::header` and stay mapped for good.
    let parts = unsafe { ImageParts::of(plugin.header(), Some(plugin.path().to_owned())) };
    ImageParts {
        steps: vec![
            step("discovered", times.discovered),
            step("verified", times.verified),
            step("loaded", times.loaded),
        ],
        mapped: plugin.mapped(),
        code: Some(std::sync::Arc::clone(plugin.library()) as _),
        ..parts
    }
}
