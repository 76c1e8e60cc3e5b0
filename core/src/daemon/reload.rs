//! SIGHUP: the configuration file is read again, and what has changed is changed.

use raddle_plugin_api::Failure;

use super::apply::{
    add_routes, add_table, finish_interface, make_interface, remove_route, remove_table, set_bridges,
    set_ecmp, set_neighbor_options,
};
use super::ip_policy::{apply_interface, apply_sections};
use super::owners::owners;
use crate::control::config::{Config, Document, InterfaceSection};
use crate::host::Engine;
use crate::metrics::MetricsService;
use crate::net::l2::{Bridges, BridgesConfig};
use crate::net::neighbor::{NeighborOptions, Neighbors};

/// Sections of the core's that are taken up by those whom they are for, at the event `config`.
const TAKEN_UP: [&str; 1] = ["punt"];

/// Reads the file again that `running` was read from, and brings the engine to it: tables, interfaces and routes that are
/// gone go, new ones come, changed ones are made anew. What only a start can change is said. A file that is wrong changes
/// nothing.
pub fn reload(
    engine: &Engine,
    running: &std::sync::Mutex<(std::path::PathBuf, Config)>,
    metrics: &MetricsService,
) {
    let mut running = running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (path, old) = (&running.0, &running.1);
    let loaded = Document::load(path).and_then(|document| {
        let owners = owners(&old.plugins);
        Config::load(&document, &owners).map(|config| (config, document))
    });
    let (new, document) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!("the configuration is as it was: {error}");
            return;
        }
    };
    say_what_needs_a_start(engine, old, &new);
    let mut failures = Vec::new();
    failures.extend(apply_sections(engine, &new).err());
    if old.ecmp != new.ecmp {
        failures.extend(set_ecmp(engine, &new.ecmp).err());
    }
    for route in old.routes.iter().filter(|route| !new.routes.contains(route)) {
        failures.extend(remove_route(engine, route).err());
    }
    // Interfaces that leave a bridge are free for something else by now.
    failures.extend(leave_bridges(engine, old, &new).err());
    if old.neighbor_table != new.neighbor_table {
        let set = engine.with_core(|control| {
            control.resource::<Neighbors>()?.set_config(control, new.neighbor_table.clone());
            Ok(())
        });
        failures.extend(set.err());
    }
    for section in old.interfaces.iter().filter(|section| !is_kept(section, &new)) {
        if let Ok(index) = engine.find_interface(&section.name) {
            engine.remove_interface(index);
        }
    }
    for table in old.tables.iter().filter(|table| new.tables.get(table.0) != Some(table.1)) {
        failures.extend(remove_table(engine, table.1.id).err());
    }
    for table in new.tables.iter().filter(|table| old.tables.get(table.0) != Some(table.1)) {
        failures.extend(add_table(engine, table.0, table.1).err());
    }
    let fresh: Vec<_> = new.interfaces.iter().filter(|section| !is_kept(section, old)).collect();
    let kept = new.interfaces.iter().filter(|section| is_kept(section, old));
    for section in kept.filter(|section| !old.interfaces.contains(section)) {
        let index = engine.find_interface(&section.name);
        failures.extend(index.and_then(|index| apply_interface(engine, index, &section.common)).err());
        failures.extend(set_neighbor_options(engine, section).err());
    }
    for section in &fresh {
        failures.extend(make_interface(engine, section).err());
    }
    for section in &fresh {
        failures.extend(finish_interface(engine, section).err());
    }
    failures.extend(change_bridges(engine, old, &new).err());
    failures.extend(add_routes(engine, new.routes.iter().filter(|route| !old.routes.contains(route))));
    if let Err(error) = metrics.apply(&new.metrics) {
        tracing::error!("{error}");
    }
    for failure in failures {
        tracing::error!("{failure}");
    }
    engine.set_config_text(document.text());
    tracing::info!("the configuration was read again");
    running.1 = new;
}

/// Takes away the bridges that are gone from the file, and the ports that are gone from those that stay.
fn leave_bridges(engine: &Engine, old: &Config, new: &Config) -> Result<(), Failure> {
    if old.bridges == new.bridges {
        return Ok(());
    }
    let mut bridges = running_bridges(engine)?;
    bridges.retain(|name, _| new.bridges.contains_key(name) || !old.bridges.contains_key(name));
    for (name, bridge) in &mut bridges {
        let Some(wanted) = new.bridges.get(name) else { continue };
        let stays = |interface: &String| wanted.members.iter().any(|member| member.interface == *interface);
        bridge.members.retain(|member| stays(&member.interface));
        bridge.macs.retain(|mac| stays(&mac.interface));
        bridge.bvi.take_if(|bvi| wanted.bvi.as_ref() != Some(bvi));
    }
    set_bridges(engine, bridges)
}

/// Makes the bridges of the file anew that have changed. Those made by command stay.
fn change_bridges(engine: &Engine, old: &Config, new: &Config) -> Result<(), Failure> {
    if old.bridges == new.bridges {
        return Ok(());
    }
    let mut bridges = running_bridges(engine)?;
    let changed = new.bridges.iter().filter(|(name, bridge)| old.bridges.get(*name) != Some(bridge));
    bridges.extend(changed.map(|(name, bridge)| (name.clone(), bridge.clone())));
    set_bridges(engine, bridges)
}

fn running_bridges(engine: &Engine) -> Result<BridgesConfig, Failure> {
    engine.with_core(|control| Ok(control.resource::<Bridges>()?.configs()))
}

/// Whether `config` has the interface too, the same but for what can change while it runs.
fn is_kept(section: &InterfaceSection, config: &Config) -> bool {
    let fixed = |section: &InterfaceSection| {
        let mut section = section.clone();
        let common = &mut section.common;
        common.neighbor = NeighborOptions::default();
        common.router_advertisement = None;
        (common.urpf, common.redirects, common.martians) = (None, None, None);
        (common.igmp, common.mld) = (None, None);
        (common.mac_addresses, common.multicast_filter) = (Vec::new(), false);
        section
    };
    let wanted = fixed(section);
    config.interfaces.iter().any(|other| other.name == section.name && fixed(other) == wanted)
}

fn say_what_needs_a_start(engine: &Engine, old: &Config, new: &Config) {
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
    let changed = new.others.iter().filter(|(name, value)| old.others.get(*name) != Some(value));
    let kept =
        changed.filter(|(name, _)| !TAKEN_UP.contains(&name.as_str()) && !engine.hears(name, "config"));
    for (section, _) in kept {
        tracing::warn!("the change of section `{section}` takes effect at the next start");
    }
}
