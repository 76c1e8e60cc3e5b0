//! Images after they came in: what they are told, what becomes of one that fails, and the end of all.

use raddle_plugin_api::abi::{EventRegistration, ExitRegistration, Status, Text, sink_into};

use super::engine::Engine;
use super::images::{ImageState, elements, host_slot, text};
use crate::graph::Owner;

impl Engine {
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
            let (status, error) = self.enter(owner, || {
                // SAFETY: as in `run_inits`; the text lives until the call returns.
                sink_into(|sink| unsafe { (listener.run)(instance, Text::new(&event), sink) })
            });
            if status != Status::OK {
                tracing::warn!(plugin = name, "an event function failed: {error}");
            }
        }
    }

    /// A node failed on some thread: its plugin is kept out of the packets' way.
    pub(super) fn node_failed(&self, node: u16) {
        let (owner, name) = {
            let graph = self.graph.borrow();
            let Some(info) = graph.nodes().get(usize::from(node)) else { return };
            (info.owner, info.name.clone())
        };
        if owner == Owner::CORE {
            if self.any.log_faults() {
                tracing::error!(node = name, "a node of the core panicked; its packets were dropped");
            }
            return;
        }
        self.quarantine(owner, &format!("node `{name}` panicked"));
    }

    /// Keeps a plugin out of the packets' way: its features go off (those that fail closed drop), its nodes drop, its
    /// queues are not polled, its tasks end.
    pub fn quarantine(&self, owner: Owner, reason: &str) {
        {
            let mut images = self.images.borrow_mut();
            let Some(image) = images.iter_mut().find(|image| image.owner == owner) else { return };
            if image.state != ImageState::Active {
                return;
            }
            tracing::error!(plugin = image.parts.name, reason, "the plugin is quarantined");
            image.state = ImageState::Quarantined(reason.to_owned());
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
                old.extend(nodes.iter().map(|&node| thread.replace_node(node, host_slot(node))));
                for slot in thread.rx_mut().iter_mut().filter(|slot| nodes.contains(&slot.node)) {
                    slot.enabled = false;
                }
            });
        }
        drop(old);
        let tasks = self.executor.borrow_mut().cancel(owner);
        drop(tasks);
        self.commands.borrow_mut().retain(|command| command.owner != owner);
        self.commands_version.set(self.commands_version.get() + 1);
    }

    /// Runs the exit functions, in reverse order of the images.
    pub(super) fn run_exits(&self) {
        let mut exits = Vec::new();
        for image in self.images.borrow().iter().rev().filter(|image| image.state == ImageState::Active) {
            for exit in elements::<ExitRegistration>(&image.parts.registrations.exits) {
                exits.push((image.owner, image.instance, exit));
            }
        }
        for (owner, instance, exit) in exits {
            // SAFETY: as in `run_inits`.
            let (status, error) =
                self.enter(owner, || sink_into(|sink| unsafe { (exit.run)(instance, sink) }));
            if status != Status::OK {
                tracing::warn!(function = text(exit.name), "an exit function failed: {error}");
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
