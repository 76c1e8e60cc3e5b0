//! An image on its way in: from registration, by way of its init functions, to what becomes of it.

use std::ffi::c_void;

use raddle_plugin_api::abi::{
    ArcRegistration, CommandRegistration, DriverRegistration, FeatureRegistration, HostTable,
    InitRegistration, NodeRegistration, Registrations, Status, sink_into,
};
use raddle_plugin_api::{Failure, failure};

use super::engine::{CommandEntry, Engine, EngineError};
use super::features::Deferred;
use super::images::{Image, ImageParts, ImageState, elements, text, texts};
use crate::crash;
use crate::graph::{DROP_NODE, FILE_POLL_NODE, NodeNames, Ordered, Owner, order};
use crate::interface::DriverEntry;
use crate::runtime::{Clock, driver_input_registration, driver_tx_registration, drop_node, file_poll_node};

/// An image on its way in.
pub(super) struct Entry {
    pub(super) parts: ImageParts,
    pub(super) owner: Owner,
    /// The image whose place it takes.
    pub(super) replaces: Option<Owner>,
    pub(super) instance: *mut c_void,
    pub(super) nodes: Vec<u16>,
    pub(super) failure: Option<Failure>,
    /// Whether the failure is a panic.
    pub(super) panicked: bool,
}

impl Entry {
    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }
}

impl Engine {
    pub(super) fn add_core_image(&self) -> Result<(), EngineError> {
        let names = NodeNames { name: "drop".to_owned(), ..NodeNames::default() };
        let index = self.graph.borrow_mut().add(Owner::CORE, None, drop_node(), names)?;
        debug_assert_eq!(index, DROP_NODE);
        let names = NodeNames { name: "file-poll".to_owned(), ..NodeNames::default() };
        let file_poll = self.graph.borrow_mut().add(Owner::CORE, None, file_poll_node(), names)?;
        debug_assert_eq!(file_poll, FILE_POLL_NODE);
        self.graph.borrow_mut().commit(&[index, file_poll]);
        let mut outcome = self.add_images(vec![ImageParts::core()]);
        match outcome.pop() {
            Some((_, Err(failure))) => Err(EngineError::Init(failure)),
            _ => Ok(()),
        }
    }

    /// Brings images in: their names into the tables, their init functions run in one order, their nodes spliced into
    /// the graph behind the barrier. Returns what became of each.
    pub fn add_images(&self, parts: Vec<ImageParts>) -> Vec<(String, Result<(), Failure>)> {
        let entries = parts.into_iter().map(|parts| self.register(parts, None)).collect();
        self.bring_in(entries, |_| {})
    }

    /// Brings registered images in; `initialised` sees them when their init functions have run.
    pub(super) fn bring_in(
        &self,
        mut entries: Vec<Entry>,
        initialised: impl FnOnce(&mut [Entry]),
    ) -> Vec<(String, Result<(), Failure>)> {
        *self.deferred_features.borrow_mut() = Some(Vec::new());
        self.run_inits(&mut entries);
        initialised(&mut entries);
        self.make_nodes(&mut entries);
        self.splice(&mut entries);
        let failed: Vec<Owner> =
            entries.iter().filter(|entry| entry.failure.is_some()).map(|entry| entry.owner).collect();
        let mut wanted = Vec::new();
        let mut outcomes = Vec::new();
        for entry in entries {
            if entry.failure.is_none() {
                wanted.extend(features_of(&entry.parts.registrations));
            }
            outcomes.push(self.settle(entry));
        }
        let deferred = self.deferred_features.borrow_mut().take().unwrap_or_default();
        for Deferred { interface, feature, enabled, .. } in
            deferred.into_iter().filter(|deferred| !failed.contains(&deferred.asked_by))
        {
            if let Err(failure) = self.switch_feature(interface, &feature, enabled) {
                tracing::warn!("{failure}");
            }
        }
        // What was wanted on an interface before the plugin was disabled is on again.
        let wanted = self.holds.borrow().wanted(|feature| wanted.iter().any(|known| known == feature));
        for (interface, feature) in wanted {
            if let Err(failure) = self.switch_feature(interface, &feature, true) {
                tracing::warn!("{failure}");
            }
        }
        outcomes
    }

    /// Puts the names of an image into the tables.
    pub(super) fn register(&self, parts: ImageParts, replaces: Option<Owner>) -> Entry {
        let owner = Owner(self.next_owner.get());
        self.next_owner.set(owner.0 + 1);
        self.owner_names.borrow_mut().insert(owner, parts.name.clone());
        let label = crash::plugin_label(&parts.name, &parts.version);
        self.owner_labels.borrow_mut().insert(owner, label);
        let path = parts.path.as_ref().map(|path| path.display().to_string());
        crash::set_mapped(parts.mapped, label, path.unwrap_or_default());
        let host: *const HostTable = &raw const self.table;
        let mut entry = Entry {
            owner,
            replaces,
            nodes: Vec::new(),
            failure: None,
            panicked: false,
            instance: std::ptr::null_mut(),
            parts,
        };
        let taken = self.images.borrow().iter().any(|image| {
            image.parts.name == entry.parts.name && image.is_there() && Some(image.owner) != replaces
        });
        if taken {
            entry.failure = Some(failure!(
                "a plugin named `{0}` is loaded already; `plugin upgrade` puts another version in its place",
                entry.parts.name
            ));
            return entry;
        }
        // SAFETY: the host's table outlives the instance; the sink lives until the call returns.
        let (instance, error) =
            self.enter(owner, "create", || sink_into(|sink| unsafe { (entry.parts.create)(host, sink) }));
        if instance.is_null() {
            entry.failure = Some(failure!("cannot make its instance: {error}"));
            return entry;
        }
        entry.instance = instance;
        if let Err(failure) = self.register_names(&mut entry) {
            entry.failure = Some(failure);
        }
        entry
    }

    fn register_names(&self, entry: &mut Entry) -> Result<(), Failure> {
        let registrations = entry.parts.registrations;
        let (owner, replaces) = (entry.owner, entry.replaces);
        let mut add = |registration: NodeRegistration, names: NodeNames| -> Result<(), Failure> {
            if names.name.is_empty() {
                raddle_plugin_api::bail!("a node has no name");
            }
            entry.nodes.push(self.graph.borrow_mut().add(owner, replaces, registration, names)?);
            Ok(())
        };
        let mut own_nodes = Vec::new();
        for node in elements::<NodeRegistration>(&registrations.nodes) {
            own_nodes.push(text(node.name).to_owned());
            // SAFETY: as in `text`.
            add(node, unsafe { NodeNames::of(&node) })?;
        }
        for driver in elements::<DriverRegistration>(&registrations.drivers) {
            let name = text(driver.name);
            let named = |suffix: &str| NodeNames { name: format!("{name}-{suffix}"), ..NodeNames::default() };
            // A driver that brings its own node to send by has no queues.
            if own_nodes.contains(&named("tx").name) {
                continue;
            }
            add(driver_input_registration(), named("input"))?;
            add(driver_tx_registration(), named("tx"))?;
        }
        for (name, end) in arcs_of(&registrations) {
            self.features.borrow_mut().add_arc(owner, replaces, &name, &end)?;
        }
        Ok(())
    }

    /// Fails what needs a plugin that has just failed.
    pub(super) fn fail_dependents(&self, entries: &mut [Entry]) {
        loop {
            let failed: Vec<String> = entries
                .iter()
                .filter(|entry| entry.failure.is_some())
                .map(|entry| entry.parts.name.clone())
                .collect();
            let unmet = entries.iter_mut().filter(|entry| entry.failure.is_none()).find_map(|entry| {
                let requires = entry.parts.requires();
                let needed = requires.iter().find(|(name, _)| failed.iter().any(|failed| failed == name))?;
                Some((needed.0, entry))
            });
            let Some((needed, entry)) = unmet else { return };
            entry.fail(failure!(
                "it needs the plugin `{needed}`, which is refused itself; see to that one first"
            ));
        }
    }

    /// Runs the init functions of all entries in one order.
    fn run_inits(&self, entries: &mut [Entry]) {
        let mut items = Vec::new();
        for (position, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.failure.is_none()) {
            for init in elements::<InitRegistration>(&entry.parts.registrations.inits) {
                items.push(Ordered {
                    name: text(init.name).to_owned(),
                    runs_before: texts(init.runs_before),
                    runs_after: texts(init.runs_after),
                    item: (position, init),
                });
            }
        }
        // What cannot be ordered all together: the culprit is looked for among the plugins, one after the other.
        let items = match order(items.clone()) {
            Ok(ordered) => ordered,
            Err(error) => {
                let culprits: Vec<usize> = match &error {
                    crate::graph::OrderError::Loop(members) => items
                        .iter()
                        .filter(|item| {
                            members.contains(&item.name) && entries[item.item.0].owner != Owner::CORE
                        })
                        .map(|item| item.item.0)
                        .collect(),
                    crate::graph::OrderError::Duplicate(name) => items
                        .iter()
                        .rfind(|item| item.name == *name)
                        .map(|item| item.item.0)
                        .into_iter()
                        .collect(),
                };
                for culprit in culprits {
                    entries[culprit].fail(failure!("init functions: {error}"));
                }
                return self.run_inits_again(entries, items);
            }
        };
        for Ordered { name, item: (position, init), .. } in items {
            self.fail_dependents(entries);
            let entry = &mut entries[position];
            if entry.failure.is_some() {
                continue;
            }
            let instance = entry.instance;
            let (status, error) = self.enter(entry.owner, "init function", || {
                // SAFETY: the instance is the image's own and alive; main thread between passes.
                sink_into(|sink| unsafe { (init.run)(instance, sink) })
            });
            if status == Status::OK {
                self.inits_run.borrow_mut().push((name, entry.parts.name.clone(), entry.owner));
            } else {
                entry.panicked = status == Status::PANICKED;
                let what = if entry.panicked { "panicked" } else { "failed" };
                entry.failure = Some(failure!("init function `{name}` {what}: {error}"));
            }
        }
        self.fail_dependents(entries);
    }

    fn run_inits_again(&self, entries: &mut [Entry], items: Vec<Ordered<(usize, InitRegistration)>>) {
        let some_left = items.iter().any(|item| entries[item.item.0].failure.is_none());
        let some_failed = items.iter().any(|item| entries[item.item.0].failure.is_some());
        if some_left && some_failed {
            self.run_inits(entries);
        } else if some_left {
            // The core's own functions make the loop: nobody to blame but the core.
            for entry in entries.iter_mut() {
                entry.fail(failure!("the core's init functions cannot be ordered"));
            }
        }
    }

    /// Writes down what became of an image.
    fn settle(&self, entry: Entry) -> (String, Result<(), Failure>) {
        let Entry { mut parts, owner, instance, failure, nodes, panicked, .. } = entry;
        let name = parts.name.clone();
        let registrations = parts.registrations;
        let node_names = {
            let graph = self.graph.borrow();
            nodes.iter().map(|&node| graph.name(node).to_owned()).collect()
        };
        let mut image = Image {
            owner,
            state: ImageState::Active,
            nodes: node_names,
            features: features_of(&registrations),
            commands: Vec::new(),
            since_ns: Clock.now_ns(),
            instance,
            parts: {
                parts.code = parts.code.take_if(|_| failure.is_none());
                parts
            },
        };
        match &failure {
            Some(failure) => {
                self.withdraw(owner, instance, image.parts.drop);
                image.instance = std::ptr::null_mut();
                image.features.clear();
                let reason = failure.to_string();
                image.turn(if panicked {
                    ImageState::Quarantined(reason)
                } else {
                    ImageState::Refused(reason)
                });
            }
            None => {
                let commands = elements::<CommandRegistration>(&registrations.commands);
                image.commands = commands.iter().map(|command| text(command.usage).to_owned()).collect();
                self.register_services(&registrations, owner, instance);
                image.parts.steps.push(super::images::Step::now("initialised", None));
                image.turn(ImageState::Active);
            }
        }
        self.keep_image(image);
        (name, failure.map_or(Ok(()), Err))
    }

    /// Adds an image to the list, which tells of a name what is there, or else what became of it last.
    pub(super) fn keep_image(&self, image: Image) {
        let mut images = self.images.borrow_mut();
        let same = |known: &Image| known.parts.name == image.parts.name;
        images.retain(|known| !same(known) || !known.instance.is_null());
        // Whoever asked for one that was refused beside it has been told.
        if image.is_there() || !images.iter().any(|known| same(known) && known.is_there()) {
            images.push(image);
        }
    }

    /// Takes back what an image that failed has brought in so far.
    fn withdraw(
        &self,
        owner: Owner,
        instance: *mut c_void,
        drop_instance: unsafe extern "C" fn(*mut c_void),
    ) {
        self.graph.borrow_mut().unstage(owner);
        self.features.borrow_mut().remove(owner);
        self.forget_owner(owner);
        // What the image has deferred still needs its instance.
        while !self.retired.borrow().is_empty() {
            self.run_retired();
            std::hint::spin_loop();
        }
        self.drop_instance_of(owner, instance, drop_instance);
    }

    fn register_services(&self, registrations: &Registrations, owner: Owner, instance: *mut c_void) {
        for driver in elements::<DriverRegistration>(&registrations.drivers) {
            let name = text(driver.name).to_owned();
            let graph = self.graph.borrow();
            let node = |suffix: &str| graph.find(&format!("{name}-{suffix}")).unwrap_or(DROP_NODE);
            let (input_node, tx_node) = (node("input"), node("tx"));
            let has_queues = graph.find(&format!("{name}-input")).is_some();
            drop(graph);
            let summary = text(driver.summary).to_owned();
            let entry = DriverEntry {
                name,
                summary,
                owner,
                instance,
                registration: driver,
                input_node,
                tx_node,
                has_queues,
            };
            self.drivers.borrow_mut().push(entry);
        }
        for command in elements::<CommandRegistration>(&registrations.commands) {
            self.commands.borrow_mut().push(CommandEntry {
                usage: text(command.usage).to_owned(),
                summary: text(command.summary).to_owned(),
                owner,
                registration: command,
                instance,
            });
        }
        self.commands_version.set(self.commands_version.get() + 1);
    }
}

/// Names of the features of an image, each once.
fn features_of(registrations: &Registrations) -> Vec<String> {
    let features = elements::<FeatureRegistration>(&registrations.features);
    let mut names: Vec<String> = features.iter().map(|feature| text(feature.name).to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

/// The arcs of an image, with their ends.
pub(super) fn arcs_of(registrations: &Registrations) -> Vec<(String, String)> {
    let arcs = elements::<ArcRegistration>(&registrations.arcs);
    arcs.iter().map(|arc| (text(arc.name).to_owned(), text(arc.end).to_owned())).collect()
}
