//! Images in the graph: the core's own and those of plugins, from registration to splice.

use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::OnceLock;

use raddle_plugin_api::abi::{
    ArcRegistration, CommandRegistration, ConfigRegistration, DriverRegistration, FeatureRegistration,
    HostTable, InitRegistration, NodeRegistration, PluginHeader, Registrations, Sink, Slice, Status, Text,
    read_prefix, sink_into,
};
use raddle_plugin_api::{Failure, failure};

use super::engine::{CommandEntry, Engine, EngineError, Remote};
use crate::feature::Feature;
use crate::graph::{DROP_NODE, NodeNames, Ordered, Owner, order};
use crate::interface::DriverEntry;
use crate::runtime::{NodeSlot, driver_input_registration, driver_tx_registration, drop_node, gone_node};

/// Name of the core's own image.
pub const CORE: &str = "core";

/// What a plugin is made of, once its file is verified and loaded.
#[derive(Clone)]
pub struct ImageParts {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does.
    pub summary: String,
    /// What built it.
    pub built_with: String,
    /// Its file.
    pub path: Option<PathBuf>,
    /// Makes its instance.
    pub create: unsafe extern "C" fn(host: *const HostTable, error: Sink) -> *mut c_void,
    /// Drops its instance.
    pub drop: unsafe extern "C" fn(instance: *mut c_void),
    /// What it registers.
    pub registrations: Registrations,
}

impl ImageParts {
    /// The parts of a plugin in this process.
    ///
    /// # Safety
    /// The header and everything it points to is as the ABI says, and stays.
    pub unsafe fn of(header: &PluginHeader, path: Option<PathBuf>) -> Self {
        let mut registrations = Registrations::empty();
        // SAFETY: as the caller vouches.
        unsafe { (header.registrations)(&raw mut registrations) };
        // SAFETY: as the caller vouches.
        let own = |text: &Text| unsafe { text.as_str() }.unwrap_or_default().to_owned();
        Self {
            name: own(&header.name),
            version: own(&header.version),
            summary: own(&header.summary),
            built_with: own(&header.built_with),
            path,
            create: header.create,
            drop: header.drop,
            registrations,
        }
    }

    fn core() -> Self {
        Self {
            name: CORE.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "the core's own nodes, features and commands".to_owned(),
            built_with: raddle_plugin_api::BUILT_WITH.to_owned(),
            path: None,
            create: raddle_plugin_api::plugin::create_instance,
            drop: raddle_plugin_api::plugin::drop_instance,
            registrations: raddle_plugin_api::registration::registrations(),
        }
    }
}

/// What has become of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// Its nodes are in the graph.
    Active,
    /// It failed, and is kept out of the packets' way.
    Quarantined(String),
    /// It could not be used.
    Refused(String),
}

/// An image that was brought in.
pub struct Image {
    /// What it is made of.
    pub parts: ImageParts,
    /// Its number as an owner.
    pub owner: Owner,
    /// What has become of it.
    pub state: ImageState,
    /// Names of its nodes, features and commands.
    pub nodes: Vec<String>,
    /// Names of its features.
    pub features: Vec<String>,
    pub(super) instance: *mut c_void,
}

/// Elements of a registered slice, as far as both sides know them.
pub(super) fn elements<T: Copy>(slice: &Slice<T>) -> Vec<T> {
    // SAFETY: an image's slices are alive as long as its code is mapped, which is for good; each element begins with
    // its size; what this generation of the ABI began with must be there.
    (0..slice.len())
        .filter_map(|index| unsafe { read_prefix(slice.element(index)?, size_of::<T>()) })
        .collect()
}

/// Elements of a registered slice with their names.
pub fn registered<T: Copy>(slice: &Slice<T>, name: impl Fn(&T) -> Text) -> Vec<(&'static str, T)> {
    elements(slice).into_iter().map(|element| (text(name(&element)), element)).collect()
}

/// The text of a registration, which stays.
pub(super) fn text(text: Text) -> &'static str {
    // SAFETY: registrations are static data of an image, which is mapped for good.
    unsafe { text.as_str() }.unwrap_or_default()
}

fn texts(slice: Slice<Text>) -> Vec<String> {
    // SAFETY: as in `text`.
    unsafe { slice.texts() }.into_iter().map(str::to_owned).collect()
}

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

    pub(super) fn report(&self, node: u16) {
        if let Some(engine) = self.engine.get() {
            engine.run(move |engine| engine.node_failed(node));
        }
    }
}

impl Engine {
    /// Runs `call`, which goes into the code of `owner`.
    pub(super) fn enter<R>(&self, owner: Owner, call: impl FnOnce() -> R) -> R {
        let before = self.current_owner.replace(owner);
        let result = call();
        self.current_owner.set(before);
        result
    }

    pub(super) fn add_core_image(&self) -> Result<(), EngineError> {
        let names = NodeNames { name: "drop".to_owned(), ..NodeNames::default() };
        let index = self.graph.borrow_mut().add(Owner::CORE, drop_node(), names)?;
        debug_assert_eq!(index, DROP_NODE);
        let mut outcome = self.add_images(vec![ImageParts::core()]);
        match outcome.pop() {
            Some((_, Err(failure))) => Err(EngineError::Init(failure)),
            _ => Ok(()),
        }
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
        self.enter(Owner::CORE, || call(&mut control))
    }

    /// Brings images in: their names into the tables, their init functions run in one order, their nodes spliced into
    /// the graph behind the barrier. Returns what became of each.
    pub fn add_images(&self, parts: Vec<ImageParts>) -> Vec<(String, Result<(), Failure>)> {
        let first_node = if self.images.borrow().is_empty() { 0 } else { self.graph.borrow().nodes().len() };
        let mut entries: Vec<Entry> = parts.into_iter().map(|parts| self.register(parts)).collect();
        *self.deferred_features.borrow_mut() = Some(Vec::new());
        self.run_inits(&mut entries);
        self.make_nodes(&mut entries);
        self.splice(&mut entries, first_node);
        let mut outcomes = Vec::new();
        for entry in entries {
            outcomes.push(self.settle(entry));
        }
        for (interface, feature, enabled) in self.deferred_features.borrow_mut().take().unwrap_or_default() {
            if let Err(failure) = self.set_feature(interface, &feature, enabled) {
                tracing::warn!("{failure}");
            }
        }
        outcomes
    }

    /// Puts the names of an image into the tables.
    fn register(&self, parts: ImageParts) -> Entry {
        let owner = Owner(self.next_owner.get());
        self.next_owner.set(owner.0 + 1);
        let host: *const HostTable = &raw const self.table;
        let mut entry =
            Entry { owner, nodes: Vec::new(), failure: None, instance: std::ptr::null_mut(), parts };
        let taken = self.images.borrow().iter().any(|image| {
            image.parts.name == entry.parts.name && !matches!(image.state, ImageState::Refused(_))
        });
        if taken {
            entry.failure = Some(failure!("a plugin named `{}` is loaded already", entry.parts.name));
            return entry;
        }
        // SAFETY: the host's table outlives the instance; the sink lives until the call returns.
        let (instance, error) = sink_into(|sink| unsafe { (entry.parts.create)(host, sink) });
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
        let mut add = |registration: NodeRegistration, names: NodeNames| -> Result<(), Failure> {
            if names.name.is_empty() {
                raddle_plugin_api::bail!("a node has no name");
            }
            entry.nodes.push(self.graph.borrow_mut().add(entry.owner, registration, names)?);
            Ok(())
        };
        for node in elements::<NodeRegistration>(&registrations.nodes) {
            // SAFETY: as in `text`.
            add(node, unsafe { NodeNames::of(&node) })?;
        }
        for driver in elements::<DriverRegistration>(&registrations.drivers) {
            let name = text(driver.name);
            let named = |suffix: &str| NodeNames { name: format!("{name}-{suffix}"), ..NodeNames::default() };
            add(driver_input_registration(), named("input"))?;
            add(driver_tx_registration(), named("tx"))?;
        }
        for arc in elements::<ArcRegistration>(&registrations.arcs) {
            self.features.borrow_mut().add_arc(entry.owner, text(arc.name), text(arc.end))?;
        }
        Ok(())
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
                    entries[culprit].failure.get_or_insert_with(|| failure!("init functions: {error}"));
                }
                return self.run_inits_again(entries, items);
            }
        };
        for Ordered { name, item: (position, init), .. } in items {
            let entry = &mut entries[position];
            if entry.failure.is_some() {
                continue;
            }
            let instance = entry.instance;
            // SAFETY: the instance is the image's own and alive; main thread between passes.
            let (status, error) =
                self.enter(entry.owner, || sink_into(|sink| unsafe { (init.run)(instance, sink) }));
            if status == Status::OK {
                self.inits_run.borrow_mut().push((name, entry.parts.name.clone()));
            } else {
                let what = if status == Status::PANICKED { "panicked" } else { "failed" };
                entry.failure = Some(failure!("init function `{name}` {what}: {error}"));
            }
        }
    }

    fn run_inits_again(&self, entries: &mut [Entry], items: Vec<Ordered<(usize, InitRegistration)>>) {
        let some_left = items.iter().any(|item| entries[item.item.0].failure.is_none());
        let some_failed = items.iter().any(|item| entries[item.item.0].failure.is_some());
        if some_left && some_failed {
            self.run_inits(entries);
        } else if some_left {
            // The core's own functions make the loop: nobody to blame but the core.
            for entry in entries.iter_mut() {
                entry.failure.get_or_insert_with(|| failure!("the core's init functions cannot be ordered"));
            }
        }
    }

    /// Resolves nexts and makes the nodes' states for each thread.
    fn make_nodes(&self, entries: &mut [Entry]) {
        let threads = self.threads.borrow().count() as u32;
        for entry in entries.iter_mut().filter(|entry| entry.failure.is_none()) {
            if let Err(error) = self.graph.borrow_mut().resolve_nodes(&entry.nodes) {
                entry.failure = Some(error.into());
                continue;
            }
            for &index in &entry.nodes.clone() {
                let info = self.graph.borrow().nodes()[usize::from(index)].clone();
                for thread in 0..threads {
                    let instance = entry.instance;
                    let (state, error) = self.enter(entry.owner, || {
                        // SAFETY: as in `run_inits`.
                        sink_into(|sink| unsafe { (info.registration.create)(instance, thread, sink) })
                    });
                    if state.is_null() {
                        entry.failure = Some(failure!("node `{}`: {error}", info.name));
                        break;
                    }
                    // SAFETY: the state was just made for this thread.
                    self.made
                        .borrow_mut()
                        .push((index, thread, unsafe { NodeSlot::new(&info, index, state) }));
                }
                if entry.failure.is_some() {
                    break;
                }
            }
        }
    }

    /// Puts the nodes into the threads and the features into the arcs, behind the barrier.
    fn splice(&self, entries: &mut [Entry], first_node: usize) {
        let mut threads = self.threads.borrow_mut();
        let mut held = threads.hold("splice");
        let mut features = self.features.borrow_mut();
        for entry in entries.iter_mut().filter(|entry| entry.failure.is_none()) {
            let list = elements::<FeatureRegistration>(&entry.parts.registrations.features);
            let list = list.into_iter().map(|feature| {
                let feature_of = Feature {
                    name: text(feature.name).to_owned(),
                    node: text(feature.node).to_owned(),
                    owner: entry.owner,
                    runs_before: texts(feature.runs_before),
                    runs_after: texts(feature.runs_after),
                    fail_closed: feature.fail_closed != 0,
                };
                (text(feature.arc).to_owned(), feature_of)
            });
            let graph = self.graph.borrow();
            let rows = self.interfaces.borrow();
            let added = features.add_features(list.collect()).and_then(|()| {
                features.publish(&graph, rows.rows()).inspect_err(|_| features.remove(entry.owner))
            });
            if let Err(error) = added {
                entry.failure = Some(error.into());
            }
        }
        let mut made = std::mem::take(&mut *self.made.borrow_mut());
        let graph = self.graph.borrow();
        let failed: Vec<Owner> =
            entries.iter().filter(|entry| entry.failure.is_some()).map(|entry| entry.owner).collect();
        for (index, node) in graph.nodes().iter().enumerate().skip(first_node) {
            for thread in 0..held.count() {
                let found =
                    made.iter().position(|(of, on, _)| usize::from(*of) == index && *on as usize == thread);
                let slot = found.map(|found| made.swap_remove(found).2);
                let slot =
                    slot.filter(|_| !failed.contains(&node.owner)).unwrap_or_else(|| host_slot(index as u16));
                held.thread(thread).push_node(slot);
            }
        }
        drop(held);
        drop((threads, features, graph));
        // States of nodes that did not make it are dropped here, with nothing borrowed.
        drop(made);
    }

    /// Writes down what became of an image.
    fn settle(&self, entry: Entry) -> (String, Result<(), Failure>) {
        let Entry { parts, owner, instance, failure, nodes } = entry;
        let name = parts.name.clone();
        let registrations = parts.registrations;
        let graph = self.graph.borrow();
        let node_names = nodes.iter().map(|&node| graph.name(node).to_owned()).collect();
        drop(graph);
        let mut feature_names: Vec<String> = Vec::new();
        let state = match &failure {
            Some(failure) => {
                self.withdraw(owner, instance, parts.drop);
                ImageState::Refused(failure.to_string())
            }
            None => {
                let features = elements::<FeatureRegistration>(&registrations.features);
                feature_names.extend(features.iter().map(|feature| text(feature.name).to_owned()));
                feature_names.dedup();
                self.register_services(&registrations, owner, instance);
                ImageState::Active
            }
        };
        let instance = if failure.is_some() { std::ptr::null_mut() } else { instance };
        self.images.borrow_mut().push(Image {
            parts,
            owner,
            state,
            nodes: node_names,
            features: feature_names,
            instance,
        });
        (name, failure.map_or(Ok(()), Err))
    }

    /// Takes back what an image that failed has brought in so far.
    fn withdraw(
        &self,
        owner: Owner,
        instance: *mut c_void,
        drop_instance: unsafe extern "C" fn(*mut c_void),
    ) {
        self.graph.borrow_mut().retire(owner);
        self.features.borrow_mut().remove(owner);
        let tasks = self.executor.borrow_mut().cancel(owner);
        drop(tasks);
        if !instance.is_null() {
            // SAFETY: made by the image's `create`; its nodes' states and tasks are gone.
            unsafe { drop_instance(instance) };
        }
    }

    fn register_services(&self, registrations: &Registrations, owner: Owner, instance: *mut c_void) {
        for driver in elements::<DriverRegistration>(&registrations.drivers) {
            let name = text(driver.name).to_owned();
            let graph = self.graph.borrow();
            let node = |suffix: &str| graph.find(&format!("{name}-{suffix}")).unwrap_or(DROP_NODE);
            let (input_node, tx_node) = (node("input"), node("tx"));
            drop(graph);
            let summary = text(driver.summary).to_owned();
            let entry =
                DriverEntry { name, summary, owner, instance, registration: driver, input_node, tx_node };
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

    /// Remembers a file that was refused, for `show plugins`.
    pub fn note_refused(&self, path: &std::path::Path, reason: &str) {
        self.refused_files.borrow_mut().push((path.to_owned(), reason.to_owned()));
    }

    /// Files that were refused, and why.
    pub fn refused_files(&self) -> Vec<(PathBuf, String)> {
        self.refused_files.borrow().clone()
    }

    /// Number of workers.
    pub fn worker_count(&self) -> usize {
        self.threads.borrow().count() - 1
    }

    /// Calls `look` with each image.
    pub fn for_each_image(&self, mut look: impl FnMut(&Image)) {
        self.images.borrow().iter().for_each(&mut look);
    }

    /// The sections of the configuration file that images registered: name, schema, and the check of a whole text.
    pub fn config_sections(&self) -> Vec<(String, ConfigRegistration)> {
        let images = self.images.borrow();
        let all = images
            .iter()
            .flat_map(|image| elements::<ConfigRegistration>(&image.parts.registrations.configs));
        all.map(|config| (text(config.section).to_owned(), config)).collect()
    }
}

/// An image on its way in.
struct Entry {
    parts: ImageParts,
    owner: Owner,
    instance: *mut c_void,
    nodes: Vec<u16>,
    failure: Option<Failure>,
}

/// What stands at an index whose node is the host's own, `drop`, or is not there.
pub(super) fn host_slot(index: u16) -> NodeSlot {
    let registration = if index == DROP_NODE { drop_node() } else { gone_node() };
    let info = crate::graph::NodeInfo {
        name: String::new(),
        owner: Owner::CORE,
        kind: registration.kind,
        next_names: Vec::new(),
        nexts: std::sync::Arc::new([DROP_NODE]),
        error_base: 0,
        error_count: 0,
        registration,
        alive: false,
    };
    // SAFETY: the host's own node, whose state is nothing.
    unsafe {
        let state = (registration.create)(std::ptr::null_mut(), 0, Sink::NONE);
        NodeSlot::new(&info, index, state)
    }
}
