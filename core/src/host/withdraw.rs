//! An image on its way out: who still needs it, its way out of the graph, and its end.

use std::ffi::c_void;

use raddle_plugin_api::config::nearest;
use raddle_plugin_api::{Failure, bail, failure};

use super::engine::Engine;
use super::images::{CORE, ImageState};
use super::splice::host_slot;
use crate::graph::Owner;

/// Why a plugin goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// For good.
    Unload,
    /// Until it is enabled again: what was wanted of it on interfaces is remembered.
    Disable,
}

impl Engine {
    /// The owner that a plugin of this name is, with its state.
    ///
    /// # Errors
    /// There is none; the message names the nearest.
    pub fn find_plugin(&self, name: &str) -> Result<(Owner, ImageState), Failure> {
        let images = self.images.borrow();
        let there = || images.iter().filter(|image| image.is_there());
        if name == CORE {
            bail!("`{CORE}` is raddle itself, not a plugin");
        }
        if let Some(image) = there().find(|image| image.parts.name == name) {
            return Ok((image.owner, image.state.clone()));
        }
        let names = there().map(|image| image.parts.name.as_str()).filter(|name| *name != CORE);
        match nearest(name, names) {
            Some(nearest) => bail!("no plugin `{name}` is loaded; did you mean `{nearest}`?"),
            None => bail!("no plugin `{name}` is loaded; `show plugins` lists what is"),
        }
    }

    /// Takes a plugin out, under traffic: its nodes leave the graph behind the barrier, its exit functions run, its
    /// tasks, commands, metrics and event functions end. Its code stays mapped.
    ///
    /// # Errors
    /// It is in use; the message says by whom. Nothing has changed then.
    pub fn remove_plugin(&self, name: &str, departure: Departure) -> Result<(), Failure> {
        let (owner, state) = self.find_plugin(name)?;
        self.refuse_from_within(owner, name)?;
        let users = self.users(owner, name, departure);
        if !users.is_empty() {
            bail!("plugin `{name}` is in use: {}", users.join("; "));
        }
        let reason = match departure {
            Departure::Unload => "unloaded by command",
            Departure::Disable => "disabled by command",
        };
        self.unsplice(owner);
        if state == ImageState::Active {
            self.run_exits_of(owner);
        }
        self.forget_owner(owner);
        self.drain(owner, reason);
        Ok(())
    }

    /// Refuses what would pull the code away from under its own feet.
    pub(super) fn refuse_from_within(&self, owner: Owner, name: &str) -> Result<(), Failure> {
        if self.entered.borrow().contains(&owner) {
            bail!("plugin `{name}` cannot do this to itself");
        }
        Ok(())
    }

    /// Who needs a plugin, each with the remedy.
    fn users(&self, owner: Owner, name: &str, departure: Departure) -> Vec<String> {
        let mut users = Vec::new();
        for image in self.images.borrow().iter().filter(|image| image.is_there()) {
            if image.owner != owner && image.parts.requires().iter().any(|(needed, _)| *needed == name) {
                users.push(format!("plugin `{0}` needs it; unload `{0}` first", image.parts.name));
            }
        }
        users.extend(self.driver_users(owner));
        let (features, graph) = (self.features.borrow(), self.graph.borrow());
        for (feature, arc) in features.guests(owner) {
            let guest = self.owner_name(feature.owner);
            users.push(format!(
                "feature `{}` of plugin `{guest}` is on its arc `{arc}`; unload `{guest}` first",
                feature.name
            ));
        }
        let own = graph.nodes().iter().enumerate().filter(|(_, node)| node.owner == owner && node.alive);
        for (index, node) in own {
            for sender in graph.previous(index as u16) {
                let sender_owner = graph.find(sender).map(|sender| graph.nodes()[usize::from(sender)].owner);
                if let Some(other) = sender_owner.filter(|&other| other != owner) {
                    let other = self.owner_name(other);
                    users.push(format!(
                        "node `{sender}` of plugin `{other}` sends to its node `{}`",
                        node.name
                    ));
                }
            }
        }
        if departure == Departure::Unload {
            let (interfaces, holds) = (self.interfaces.borrow(), self.holds.borrow());
            for (id, feature) in features.in_use(owner) {
                let Some(interface) = interfaces.get(id) else { continue };
                let off = if holds.is_wanted_besides(id, feature, owner) {
                    format!("`set interface feature {} {feature} off`", interface.name)
                } else {
                    // It holds the feature itself, for what it was told by its section or its commands.
                    format!("take the interface out of what `{name}` is configured to do")
                };
                users.push(format!(
                    "feature `{feature}` is on for interface `{}`; {off}, or `plugin disable {name}` to have it back later",
                    interface.name
                ));
            }
        }
        users
    }

    /// Interfaces of a plugin's drivers.
    pub(super) fn driver_users(&self, owner: Owner) -> Vec<String> {
        let interfaces = self.interfaces.borrow();
        let own = interfaces.iter().filter(|(_, interface)| interface.owner == owner);
        own.map(|(_, interface)| {
            format!(
                "interface `{0}` is of its driver `{1}`; `interface delete {0}` first",
                interface.name, interface.driver
            )
        })
        .collect()
    }

    /// Takes the nodes and features of an owner out of the graph.
    fn unsplice(&self, owner: Owner) {
        let mut threads = self.threads.borrow_mut();
        let mut features = self.features.borrow_mut();
        let mut graph = self.graph.borrow_mut();
        let gone = graph.retire(owner);
        features.remove(owner);
        let count = threads.count();
        let slots = |&node| (0..count).map(move |thread| (thread, host_slot(node)));
        let mut slots: Vec<_> = gone.iter().flat_map(slots).collect();
        let mut old = Vec::with_capacity(slots.len());
        let mut prepared = features.prepare(&graph).unwrap_or_else(|error| {
            tracing::error!("{error}");
            features.prepare_nothing()
        });
        let rows = self.interfaces.borrow();
        let mut held = threads.hold("unsplice");
        for (thread, slot) in slots.drain(..) {
            old.extend(held.thread(thread).put_node(slot));
        }
        features.put(&mut prepared, rows.rows());
        drop(held);
        drop((threads, features, graph, rows));
        drop(old);
    }

    /// Takes back what the main thread keeps for an owner: drivers, commands, tasks, metrics, holds of features, groups, and
    /// routes and neighbours if no other version of the plugin is there, whose they are then.
    pub(super) fn forget_owner(&self, owner: Owner) {
        let name = self.owner_name(owner);
        let stays = self
            .images
            .borrow()
            .iter()
            .any(|image| image.owner != owner && image.parts.name == name && image.is_there());
        self.take_back(owner, !stays);
        self.drivers.borrow_mut().retain(|driver| driver.owner != owner);
        self.commands.borrow_mut().retain(|command| command.owner != owner);
        self.commands_version.set(self.commands_version.get() + 1);
        self.registered_metrics.borrow_mut().remove(owner);
        self.inits_run.borrow_mut().retain(|(_, _, of)| *of != owner);
        let unwanted = self.holds.borrow_mut().forget_holder(owner);
        for (interface, feature) in unwanted {
            // What a quarantined plugin held of its own and is to fail closed stays on, and drops.
            if self.features.borrow().fails_closed(owner, &feature) {
                continue;
            }
            // It was on, so it is there, unless it goes with its owner.
            let _ = self.switch_feature(interface, &feature, false);
        }
        let tasks = self.executor.borrow_mut().cancel(owner);
        drop(tasks);
    }

    /// Has an image go that is out of the graph, once nobody has anything of it in hand: every thread has passed a
    /// quiescent point, and what other threads have asked the main thread to call was called.
    pub(super) fn drain(&self, owner: Owner, reason: &str) {
        {
            let mut images = self.images.borrow_mut();
            let Some(image) = images.iter_mut().find(|image| image.owner == owner) else { return };
            image.turn(ImageState::Draining(reason.to_owned()));
            tracing::info!(plugin = image.parts.name, reason, "the plugin leaves");
        }
        // Behind the calls that wait already, and then behind what was retired before.
        self.remote().run(move |engine| engine.after_quiescence(move |engine| engine.finish_drain(owner)));
    }

    /// Runs `call` once every thread has passed a quiescent point, after all that was retired before.
    fn after_quiescence(&self, call: impl FnOnce(&Self) + 'static) {
        type Later = (*const Engine, Box<dyn FnOnce(&Engine)>);
        unsafe extern "C" fn run(state: *mut c_void) {
            // SAFETY: made by `Box::into_raw` below and run once.
            let (engine, call) = *unsafe { Box::from_raw(state.cast::<Later>()) };
            // SAFETY: the engine itself runs what is retired.
            call(unsafe { &*engine });
        }
        let later: Box<Later> = Box::new((self, Box::new(call)));
        self.retired.borrow_mut().push(Box::into_raw(later).cast(), run);
    }

    fn finish_drain(&self, owner: Owner) {
        let (instance, drop_instance) = {
            let mut images = self.images.borrow_mut();
            let Some(image) = images.iter_mut().find(|image| image.owner == owner) else { return };
            (std::mem::replace(&mut image.instance, std::ptr::null_mut()), image.parts.drop)
        };
        self.drop_instance_of(owner, instance, drop_instance);
        let mut images = self.images.borrow_mut();
        let Some(at) = images.iter().position(|image| image.owner == owner) else { return };
        let mut image = images.remove(at);
        let reason = image.state.reason().unwrap_or_default().to_owned();
        image.turn(ImageState::Retired(reason));
        image.parts.code = None;
        // A name that is back already needs no memory of its former life.
        let is_back = images.iter().any(|other| other.parts.name == image.parts.name);
        if !is_back {
            images.push(image);
        }
    }

    /// Drops an instance, when nothing made of it is left.
    pub(super) fn drop_instance_of(
        &self,
        owner: Owner,
        instance: *mut c_void,
        drop_instance: unsafe extern "C" fn(*mut c_void),
    ) {
        if !instance.is_null() {
            // SAFETY: made by the image's `create`; its nodes' states, its tasks and what it deferred are gone.
            self.enter(owner, "drop", || unsafe { drop_instance(instance) });
        }
        self.kept.borrow_mut().forget_user(owner);
        self.owner_names.borrow_mut().remove(&owner);
        self.owner_labels.borrow_mut().remove(&owner);
    }

    /// The plugins that need `name`, with the versions that they can do with.
    pub(super) fn dependents(&self, name: &str) -> Vec<(String, &'static str)> {
        let images = self.images.borrow();
        let there = images.iter().filter(|image| image.is_there());
        there
            .flat_map(|image| {
                let requires = image.parts.requires().into_iter().filter(|(needed, _)| *needed == name);
                requires.map(|(_, version)| (image.parts.name.clone(), version)).collect::<Vec<_>>()
            })
            .collect()
    }
}

/// The sentence by which a plugin that was there is missed.
pub(super) fn gone(name: &str) -> Failure {
    failure!("plugin `{name}` is gone meanwhile")
}
