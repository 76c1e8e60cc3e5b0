//! SIGHUP: the configuration file is read again, and what has changed is changed.

use super::apply::{add_route, finish_interface, make_interface, remove_route};
use super::owners::owners;
use crate::control::config::{Config, Document};
use crate::host::Engine;

/// Reads the file again that `running` was read from, and brings the engine to it: interfaces and routes that are gone
/// go, new ones come, changed ones are made anew. What only a start can change is said. A file that is wrong changes
/// nothing.
pub fn reload(engine: &Engine, running: &std::sync::Mutex<(std::path::PathBuf, Config)>) {
    let mut running = running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (path, old) = (&running.0, &running.1);
    let loaded = Document::load(path).and_then(|document| {
        let owners = owners(&old.plugins);
        Config::load(&document, &owners)
    });
    let new = match loaded {
        Ok(new) => new,
        Err(error) => {
            tracing::error!("the configuration is as it was: {error}");
            return;
        }
    };
    say_what_needs_a_start(old, &new);
    let mut failures = Vec::new();
    for route in old.routes.iter().filter(|route| !new.routes.contains(route)) {
        failures.extend(remove_route(engine, route).err());
    }
    for section in old.interfaces.iter().filter(|section| !new.interfaces.contains(section)) {
        if let Ok(index) = engine.find_interface(&section.name) {
            engine.remove_interface(index);
        }
    }
    let fresh: Vec<_> = new.interfaces.iter().filter(|section| !old.interfaces.contains(section)).collect();
    for section in &fresh {
        failures.extend(make_interface(engine, section).err());
    }
    for section in &fresh {
        failures.extend(finish_interface(engine, section).err());
    }
    for route in new.routes.iter().filter(|route| !old.routes.contains(route)) {
        failures.extend(add_route(engine, route).err());
    }
    for failure in failures {
        tracing::error!("{failure}");
    }
    tracing::info!("the configuration was read again");
    running.1 = new;
}

fn say_what_needs_a_start(old: &Config, new: &Config) {
    let changed = [
        ("runtime", old.runtime != new.runtime),
        ("buffers", old.buffers != new.buffers),
        ("control", old.control != new.control),
        ("plugins", old.plugins != new.plugins),
        ("log", old.log != new.log),
        ("neighbor", old.neighbors != new.neighbors),
    ];
    for (section, _) in changed.iter().filter(|(_, changed)| *changed) {
        tracing::warn!("the change of section `{section}` takes effect at the next start");
    }
    for section in new.others.iter().filter(|(name, value)| old.others.get(*name) != Some(value)) {
        tracing::warn!("the change of section `{}` takes effect at the next start", section.0);
    }
}
