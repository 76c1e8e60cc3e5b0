//! Plugins of the directory, brought into the engine.

use std::path::Path;

use raddle_plugin_api::{Failure, failure};

use crate::control::config::sections::PluginsConfig;
use crate::host::{Engine, ImageParts};
use crate::plugin::{Loaded, PluginPolicy, discover};

/// What the configuration says of plugins.
pub fn policy(config: &PluginsConfig) -> PluginPolicy {
    PluginPolicy {
        path: config.directory(),
        path_is_given: config.path.is_some(),
        disable: config.disable.clone(),
        only: config.only.clone(),
        require: config.require.clone(),
    }
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
        engine.note_refused(path, &refusal.to_string());
    }
    for name in &discovery.disabled {
        tracing::info!("plugin `{name}` is disabled by the configuration");
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

/// Loads one plugin while the engine runs.
///
/// # Errors
/// Why it is refused; everything else goes on as it was.
pub fn load(engine: &Engine, path: &Path) -> Result<String, Failure> {
    let refused =
        |refusal: &dyn std::fmt::Display| failure!("plugin {} is refused: {refusal}", path.display());
    let plugin = crate::plugin::load(path).map_err(|refusal| refused(&refusal))?;
    let parts = parts(&plugin);
    let name = parts.name.clone();
    match engine.add_images(vec![parts]).pop() {
        Some((_, Ok(()))) => Ok(name),
        Some((_, Err(failure))) => Err(refused(&failure)),
        None => Err(Failure::new("the plugin went nowhere")),
    }
}

/// What the engine needs of a loaded plugin.
pub(super) fn parts(plugin: &Loaded) -> ImageParts {
    // SAFETY: the header and its registrations were judged by `plugin::header` and stay mapped for good.
    unsafe { ImageParts::of(plugin.header(), Some(plugin.path().to_owned())) }
}
