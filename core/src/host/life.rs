//! Images after they came in: what they are told, what becomes of one that fails, and the end of all.

use std::sync::OnceLock;

use raddle_plugin_api::Failure;
use raddle_plugin_api::abi::{EventRegistration, ExitRegistration, Status, Text, sink_into};

use super::engine::{Engine, Remote};
use super::images::{ImageState, elements, text};
use super::splice::host_slot;
use crate::crash;
use crate::graph::Owner;
use crate::runtime::{Clock, NodeFault};

/// The way from a node that failed, on any thread, to the engine.
#[derive(Default)]
pub struct Faults {
    engine: OnceLock<Remote>,
}

impl Faults {
    pub(super) fn connect(&self, engine: &Engine) {
        // Connected once, by the engine's own making.
        let _ = self.engine.set(engine.remote());
    }

    pub(super) fn report(&self, node: u16, how: NodeFault) {
        let at_ns = Clock.now_ns();
        if let Some(engine) = self.engine.get() {
            engine.run(move |engine| engine.node_failed(node, how, at_ns));
        }
    }
}

impl Engine {
    /// Runs `call`, which goes into the code of `owner` for what `doing` says.
    pub(super) fn enter<R>(&self, owner: Owner, doing: &'static str, call: impl FnOnce() -> R) -> R {
        let before = self.current_owner.replace(owner);
        self.entered.borrow_mut().push(owner);
        let label = self.owner_labels.borrow().get(&owner).copied();
        let outer = label.map(|label| crash::call(label, doing));
        let result = call();
        if let Some(outer) = outer {
            crash::return_to(outer);
        }
        self.entered.borrow_mut().pop();
        self.current_owner.set(before);
        result
    }

    /// Calls `call` with the core's own control side.
    ///
    /// # Errors
    /// Those of `call`.
    pub fn with_core<R>(
        &self,
        call: impl FnOnce(&mut raddle_plugin_api::Control<'_>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let core = self.images.borrow().first().map(|image| image.instance);
        let core =
            core.filter(|core| !core.is_null()).ok_or_else(|| Failure::new("the core is not there"))?;
        // SAFETY: the core's instance was made by the SDK of this very image, and lives as long as the engine; this is
        // the main thread between two passes.
        let mut control = unsafe { raddle_plugin_api::Control::new(&*core.cast()) };
        self.enter(Owner::CORE, "core", || call(&mut control))
    }

    /// Calls the functions that hear of events of `subject`.
    pub fn emit<E: serde::Serialize>(&self, subject: &str, event: &E) {
        let Ok(event) = serde_json::to_string(event) else { return };
        let mut listeners = Vec::new();
        for image in self.images.borrow().iter().filter(|image| image.state == ImageState::Active) {
            for listener in elements::<EventRegistration>(&image.parts.registrations.events) {
                if text(listener.subject) == subject {
                    listeners.push((image.owner, image.parts.name.clone(), image.instance, listener));
                }
            }
        }
        for (owner, name, instance, listener) in listeners {
            let (status, error) = self.enter(owner, "event function", || {
                // SAFETY: as in `run_inits`; the text lives until the call returns.
                sink_into(|sink| unsafe { (listener.run)(instance, Text::new(&event), sink) })
            });
            if status == Status::PANICKED {
                self.quarantine(owner, &format!("its function for `{subject}` events panicked: {error}"));
            } else if status != Status::OK {
                tracing::warn!(plugin = name, "an event function failed: {error}");
            }
        }
    }

    /// Whether a plugin hears of events of `subject`.
    pub fn hears(&self, plugin: &str, subject: &str) -> bool {
        self.images.borrow().iter().filter(|image| image.parts.name == plugin).any(|image| {
            let listeners = elements::<EventRegistration>(&image.parts.registrations.events);
            listeners.iter().any(|listener| text(listener.subject) == subject)
        })
    }

    /// A node failed on some thread: its plugin is kept out of the packets' way.
    pub(super) fn node_failed(&self, node: u16, how: NodeFault, at_ns: u64) {
        let (owner, name) = {
            let graph = self.graph.borrow();
            let Some(info) = graph.nodes().get(usize::from(node)) else { return };
            (info.owner, info.name.clone())
        };
        // Another version may be in its place by now.
        let since =
            self.images.borrow().iter().find(|image| image.owner == owner).map(|image| image.since_ns);
        if since.is_some_and(|since| at_ns < since) {
            return;
        }
        let what = match how {
            NodeFault::Panicked => "panicked",
            NodeFault::WrotePastItsFrame => "wrote past its frame",
        };
        self.quarantine(owner, &format!("node `{name}` {what}"));
    }

    /// Keeps a plugin out of the packets' way: its features go off (those that fail closed drop), its nodes drop, its
    /// queues are not polled, its tasks end, its commands are gone. The core is only reported.
    pub fn quarantine(&self, owner: Owner, reason: &str) {
        if owner == Owner::CORE {
            if self.any.log_faults() {
                tracing::error!(reason, "the core failed; what it was at was dropped");
            }
            return;
        }
        {
            let mut images = self.images.borrow_mut();
            let Some(image) = images.iter_mut().find(|image| image.owner == owner) else { return };
            if image.state != ImageState::Active {
                return;
            }
            tracing::error!(
                plugin = image.parts.name,
                version = image.parts.version,
                reason,
                "the plugin is quarantined"
            );
            image.turn(ImageState::Quarantined(reason.to_owned()));
            // What its statics hold is not to be relied on: another load gets code of its own.
            std::mem::forget(image.parts.code.clone());
        }
        self.features.borrow().quarantine(owner, self.interfaces.borrow().rows());
        let nodes: Vec<u16> = {
            let graph = self.graph.borrow();
            let own = graph.nodes().iter().enumerate().filter(|(_, node)| node.owner == owner && node.alive);
            own.map(|(index, _)| index as u16).collect()
        };
        let mut old = Vec::new();
        {
            let mut threads = self.threads.borrow_mut();
            let mut held = threads.hold("quarantine");
            held.each(|thread| {
                old.extend(nodes.iter().filter_map(|&node| thread.put_node(host_slot(node))));
                for slot in thread.rx_mut().iter_mut().filter(|slot| nodes.contains(&slot.node)) {
                    slot.enabled = false;
                }
            });
        }
        drop(old);
        let unwanted = self.holds.borrow_mut().forget_holder(owner);
        for (interface, feature) in unwanted {
            // It was on, so it is there.
            let _ = self.switch_feature(interface, &feature, false);
        }
        self.take_back(owner, true);
        let tasks = self.executor.borrow_mut().cancel(owner);
        drop(tasks);
        self.commands.borrow_mut().retain(|command| command.owner != owner);
        self.commands_version.set(self.commands_version.get() + 1);
    }

    /// Runs the exit functions, in reverse order of the images.
    pub(super) fn run_exits(&self) {
        let owners: Vec<Owner> = {
            let images = self.images.borrow();
            let active = images.iter().rev().filter(|image| image.state == ImageState::Active);
            active.map(|image| image.owner).collect()
        };
        owners.into_iter().for_each(|owner| self.run_exits_of(owner));
    }

    /// Runs the exit functions of an image.
    pub(super) fn run_exits_of(&self, owner: Owner) {
        let (name, instance, exits) = {
            let images = self.images.borrow();
            let Some(image) = images.iter().find(|image| image.owner == owner) else { return };
            let exits = elements::<ExitRegistration>(&image.parts.registrations.exits);
            (image.parts.name.clone(), image.instance, exits)
        };
        for exit in exits {
            // SAFETY: as in `run_inits`.
            let (status, error) = self
                .enter(owner, "exit function", || sink_into(|sink| unsafe { (exit.run)(instance, sink) }));
            if status != Status::OK {
                let function = text(exit.name);
                let what = if status == Status::PANICKED { "panicked" } else { "failed" };
                tracing::warn!(plugin = name, function, "an exit function {what}: {error}");
            }
        }
    }

    /// Drops all instances, when no thread and no task is left.
    pub(super) fn drop_images(&self) {
        let threads =
            std::mem::replace(&mut *self.threads.borrow_mut(), crate::runtime::Threads::new(Vec::new()));
        drop(threads);
        let images = std::mem::take(&mut *self.images.borrow_mut());
        for image in images.into_iter().rev().filter(|image| !image.instance.is_null()) {
            // SAFETY: made by the image's `create`; nothing made of it is left.
            unsafe { (image.parts.drop)(image.instance) };
        }
    }
}
