//! Images: the core's own and those of plugins. What they are made of, and what becomes of them.

use std::any::Any;
use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use raddle_plugin_api::abi::{
    ConfigRegistration, Dependency, HostTable, PluginHeader, Registrations, Sink, Slice, Text, read_prefix,
};

use super::engine::Engine;
use crate::graph::Owner;

/// Name of the core's own image.
pub const CORE: &str = "core";

/// A step of a plugin's life: the state that it came to, when, and why if that is not plain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Name of the state.
    pub state: &'static str,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub at: SystemTime,
}

impl Step {
    /// A step that was just made.
    pub fn now(state: &'static str, reason: Option<String>) -> Self {
        Self { state, reason, at: SystemTime::now() }
    }
}

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
    /// ABI of its SDK.
    pub abi: String,
    /// Its file.
    pub path: Option<PathBuf>,
    /// Its life so far.
    pub steps: Vec<Step>,
    /// Where its code and data are mapped: first address, and the first one behind.
    pub mapped: (usize, usize),
    /// Kept as long as the plugin is in use; its code stays mapped all the same.
    pub code: Option<Arc<dyn Any + Send + Sync>>,
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
            abi: format!("{}.{}", header.abi_major, header.abi_minor),
            path,
            steps: Vec::new(),
            mapped: (0, 0),
            code: None,
            create: header.create,
            drop: header.drop,
            registrations,
        }
    }

    pub(super) fn core() -> Self {
        Self {
            name: CORE.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "the core's own nodes, features and commands".to_owned(),
            built_with: raddle_plugin_api::BUILT_WITH.to_owned(),
            abi: format!("{}.{}", raddle_plugin_api::abi::ABI_MAJOR, raddle_plugin_api::abi::ABI_MINOR),
            path: None,
            steps: Vec::new(),
            mapped: (0, 0),
            code: None,
            create: raddle_plugin_api::plugin::create_instance,
            drop: raddle_plugin_api::plugin::drop_instance,
            registrations: raddle_plugin_api::registration::registrations(),
        }
    }

    /// The plugins that it needs, with the versions that will do.
    pub fn requires(&self) -> Vec<(&'static str, &'static str)> {
        let all = elements::<Dependency>(&self.registrations.dependencies);
        all.into_iter().map(|needed| (text(needed.name), text(needed.version))).collect()
    }
}

/// What has become of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// Its nodes are in the graph.
    Active,
    /// It failed, and is kept out of the packets' way.
    Quarantined(String),
    /// It is out of the graph, and goes as soon as nobody can have anything of it in hand.
    Draining(String),
    /// It is gone; its code stays mapped.
    Retired(String),
    /// It could not be used.
    Refused(String),
}

impl ImageState {
    /// Its name.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Quarantined(_) => "quarantined",
            Self::Draining(_) => "draining",
            Self::Retired(_) => "retired",
            Self::Refused(_) => "refused",
        }
    }

    /// Why it is so.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Active => None,
            Self::Quarantined(reason)
            | Self::Draining(reason)
            | Self::Retired(reason)
            | Self::Refused(reason) => Some(reason),
        }
    }
}

/// An image that was brought in.
pub struct Image {
    /// What it is made of.
    pub parts: ImageParts,
    /// Its number as an owner.
    pub owner: Owner,
    /// What has become of it.
    pub state: ImageState,
    /// Names of its nodes.
    pub nodes: Vec<String>,
    /// Names of its features.
    pub features: Vec<String>,
    /// Usages of its commands.
    pub commands: Vec<String>,
    /// When it was brought in, in ns of the monotonic clock.
    pub(super) since_ns: u64,
    pub(super) instance: *mut c_void,
}

impl Image {
    /// Whether the plugin is there: it has an instance, a name that no other can have, and can be unloaded.
    pub fn is_there(&self) -> bool {
        matches!(self.state, ImageState::Active | ImageState::Quarantined(_)) && !self.instance.is_null()
    }

    /// Notes a step of its life.
    pub(super) fn turn(&mut self, state: ImageState) {
        self.parts.steps.push(Step::now(state.word(), state.reason().map(str::to_owned)));
        self.state = state;
    }
}

/// A plugin that is known and not loaded.
#[derive(Clone, Debug)]
pub struct AbsentPlugin {
    /// Its name, as far as the file tells it.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// `refused`, `disabled` or `held-back`.
    pub state: &'static str,
    /// Why.
    pub reason: String,
    /// Its life so far.
    pub steps: Vec<Step>,
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

pub(super) fn texts(slice: Slice<Text>) -> Vec<String> {
    // SAFETY: as in `text`.
    unsafe { slice.texts() }.into_iter().map(str::to_owned).collect()
}

impl Engine {
    /// Notes a plugin that is known and not loaded, for `show plugins`.
    pub fn note_absent(&self, plugin: AbsentPlugin) {
        let mut absent = self.absent.borrow_mut();
        absent.retain(|known| known.path != plugin.path);
        absent.push(plugin);
    }

    /// Plugins that are known and not loaded.
    pub fn absent_plugins(&self) -> Vec<AbsentPlugin> {
        self.absent.borrow().clone()
    }

    /// Forgets a plugin that was not loaded: it is now, or its file is gone.
    pub fn forget_absent(&self, path: &std::path::Path) {
        self.absent.borrow_mut().retain(|known| known.path != path);
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
            .filter(|image| image.is_there())
            .flat_map(|image| elements::<ConfigRegistration>(&image.parts.registrations.configs));
        all.map(|config| (text(config.section).to_owned(), config)).collect()
    }
}
