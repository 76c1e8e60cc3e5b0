//! The root of a plugin: its header and what it registers.

use std::ffi::c_void;

use super::{DriverRegistration, Frame, HostTable, NodeContext, Sink, Slice, Status, Text};

/// First bytes of a plugin's header.
pub const MAGIC: [u8; 8] = *b"raddle\x00\x01";
/// ABI generation: another one cannot be used at all.
pub const ABI_MAJOR: u16 = 1;
/// ABI additions: a plugin of an older one can be used.
///
/// - 1.1: handing packets from thread to thread, threads that wake for timers, counters of interfaces without queues.
/// - 1.2: plugins say which host they need; services between plugins; watched descriptors; state and memory that outlive an
///   upgrade.
/// - 1.3: devices that read and write the packet buffers by themselves, and keep what they send until it is sent.
///
/// On a host of an older one, what came later does nothing: packets cannot be handed off, threads do not wake.
pub const ABI_MINOR: u16 = 3;
/// Name of the exported symbol, a static [`PluginHeader`].
pub const PLUGIN_SYMBOL: &str = "RADDLE_PLUGIN";

/// What a plugin exports: plain data that can be read before any of its code runs. Since ABI 1.0.
#[repr(C)]
pub struct PluginHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// [`ABI_MAJOR`] of its SDK.
    pub abi_major: u16,
    /// [`ABI_MINOR`] of its SDK.
    pub abi_minor: u16,
    /// [`super::LAYOUT_HASH`] of its SDK.
    pub layout: u64,
    /// Name, also of its configuration section.
    pub name: Text,
    /// Version (semver).
    pub version: Text,
    /// What it does, in a line.
    pub summary: Text,
    /// Compiler and profile that built it.
    pub built_with: Text,
    /// 1 if panics unwind and so can be contained.
    pub panics_unwind: u32,
    /// The oldest ABI of a host that will do, major version in the upper 16 bits, minor in the lower ones; 0: the one that
    /// it is built with. Since ABI 1.2, before that always 0.
    pub host_abi: u32,
    /// Makes the plugin's instance, which is handed to all its functions; null with the reason in the sink.
    pub create: unsafe extern "C" fn(host: *const HostTable, error: Sink) -> *mut c_void,
    /// Drops the instance, after everything made of it.
    pub drop: unsafe extern "C" fn(instance: *mut c_void),
    /// Fills in what the plugin registers; `size` of it is set by the caller.
    pub registrations: unsafe extern "C" fn(registrations: *mut Registrations),
}

// SAFETY: immutable data.
unsafe impl Sync for PluginHeader {}

/// Everything that a plugin registers. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Registrations {
    /// Bytes of this struct at its reader.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// Init functions.
    pub inits: Slice<InitRegistration>,
    /// Exit functions.
    pub exits: Slice<ExitRegistration>,
    /// Nodes.
    pub nodes: Slice<NodeRegistration>,
    /// Feature arcs.
    pub arcs: Slice<ArcRegistration>,
    /// Features.
    pub features: Slice<FeatureRegistration>,
    /// Commands.
    pub commands: Slice<CommandRegistration>,
    /// Sections of the configuration file.
    pub configs: Slice<ConfigRegistration>,
    /// Interface drivers.
    pub drivers: Slice<DriverRegistration>,
    /// Functions that hear of events.
    pub events: Slice<EventRegistration>,
    /// Plugins that must be there.
    pub dependencies: Slice<Dependency>,
    /// State that is handed over in an upgrade. Since ABI 1.2.
    pub states: Slice<StateRegistration>,
}

impl Registrations {
    /// Nothing registered.
    pub const fn empty() -> Self {
        Self {
            size: size_of::<Self>() as u32,
            reserved: 0,
            inits: Slice::EMPTY,
            exits: Slice::EMPTY,
            nodes: Slice::EMPTY,
            arcs: Slice::EMPTY,
            features: Slice::EMPTY,
            commands: Slice::EMPTY,
            configs: Slice::EMPTY,
            drivers: Slice::EMPTY,
            events: Slice::EMPTY,
            dependencies: Slice::EMPTY,
            states: Slice::EMPTY,
        }
    }
}

/// A function that runs once after load, in the order that names give. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct InitRegistration {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// Name of the function in `show init-function`.
    pub name: Text,
    /// Init functions that come later.
    pub runs_before: Slice<Text>,
    /// Init functions that come earlier.
    pub runs_after: Slice<Text>,
    /// The function.
    pub run: unsafe extern "C" fn(instance: *mut c_void, error: Sink) -> Status,
}

/// A function that runs before the plugin goes; exit functions run in reverse order of the init functions. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ExitRegistration {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// Name of the function.
    pub name: Text,
    /// The function.
    pub run: unsafe extern "C" fn(instance: *mut c_void, error: Sink) -> Status,
}

/// When a node runs.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeKind(pub u32);

impl NodeKind {
    /// When it is handed a frame.
    pub const INTERNAL: Self = Self(0);
    /// Once a pass of the loop, to bring packets in; its frame is null.
    pub const INPUT: Self = Self(1);
    /// Once a pass of the loop, before the input nodes; its frame is null.
    pub const PRE_INPUT: Self = Self(2);
}

/// A node of the graph. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NodeRegistration {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// When it runs.
    pub kind: NodeKind,
    /// Name, unique in the graph.
    pub name: Text,
    /// Names of its next nodes; slot 0 is always `drop` and not named here, so these are slots 1, 2, ….
    pub nexts: Slice<Text>,
    /// Names of its errors, which are the reasons of its drops.
    pub errors: Slice<Text>,
    /// What each error means, for people.
    pub error_texts: Slice<Text>,
    /// Makes the node's state for one thread; null with the reason in `error`.
    pub create: unsafe extern "C" fn(instance: *mut c_void, thread: u32, error: Sink) -> *mut c_void,
    /// Drops that state.
    pub drop: unsafe extern "C" fn(state: *mut c_void),
    /// Processes a frame; returns the packets it dealt with, `u32::MAX` after a panic (the frame is then untouched).
    pub run: unsafe extern "C" fn(node: *mut NodeContext, frame: *mut Frame) -> u32,
}

/// A feature arc: a place in the graph where features can be hung in. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ArcRegistration {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// Name.
    pub name: Text,
    /// Node behind the last feature.
    pub end: Text,
}

/// A node as a feature of an arc. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FeatureRegistration {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// 1: if the plugin is quarantined, packets of interfaces with this feature are dropped, not passed on.
    pub fail_closed: u32,
    /// The arc.
    pub arc: Text,
    /// Name of the feature in the configuration; several nodes of one plugin, each on its own arc, may share it.
    pub name: Text,
    /// The node.
    pub node: Text,
    /// Features of the arc that come later.
    pub runs_before: Slice<Text>,
    /// Features of the arc that come earlier.
    pub runs_after: Slice<Text>,
}

/// A command. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CommandRegistration {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// Usage, from which the command is parsed: `acl add <name> [at <index>]`.
    pub usage: Text,
    /// What it does, in a line.
    pub summary: Text,
    /// Runs it: arguments as a JSON object; answers through `HostTable::reply` with `command`, now or later.
    pub run: unsafe extern "C" fn(instance: *mut c_void, arguments: Text, command: u64),
}

/// A section of the configuration file. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ConfigRegistration {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// Name of the top-level key.
    pub section: Text,
    /// Checks the section in the whole text of a file; writes JSON of `config::SectionError` where it is wrong.
    pub check: unsafe extern "C" fn(text: Text, error: Sink) -> Status,
    /// JSON Schema of the section.
    pub schema: unsafe extern "C" fn(schema: Sink),
}

/// A function that hears of an event. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct EventRegistration {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// Subject: `interface`.
    pub subject: Text,
    /// The function; the event is JSON.
    pub run: unsafe extern "C" fn(instance: *mut c_void, event: Text, error: Sink) -> Status,
}

/// A plugin that another one needs. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Dependency {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// Its name.
    pub name: Text,
    /// Which versions will do (semver requirement, `^1.2`).
    pub version: Text,
}

/// State that a plugin hands over as bytes to another version of itself, which has the same name for it. Since ABI 1.2.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StateRegistration {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Version of the bytes that it exports, and the newest that it imports.
    pub version: u32,
    /// The oldest version that it imports.
    pub oldest: u32,
    /// Zero.
    pub reserved: u32,
    /// Name, by which the new version's is found.
    pub name: Text,
    /// Writes the bytes into `state`. Main thread; the graph runs on.
    pub export_state: unsafe extern "C" fn(instance: *mut c_void, state: Sink, error: Sink) -> Status,
    /// Takes bytes of `version`, after the init functions and before the nodes are made.
    pub import_state:
        unsafe extern "C" fn(instance: *mut c_void, version: u32, state: Text, error: Sink) -> Status,
}

/// Reads a struct that begins with its size (`u32`), as far as both sides know it; the rest is zero.
///
/// Returns `None` if the other side's struct is shorter than `least` bytes.
///
/// # Safety
/// `ptr` points to a readable struct of this ABI that begins with its size, and all-zero bytes are a valid `T` from
/// byte `least` on.
pub unsafe fn read_prefix<T: Copy>(ptr: *const T, least: usize) -> Option<T> {
    // SAFETY: every struct of this kind begins with its size.
    let there = unsafe { ptr.cast::<u32>().read() } as usize;
    if there < least {
        return None;
    }
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    let length = there.min(size_of::<T>());
    // SAFETY: `length` bytes are readable there (its size says so) and writable here.
    unsafe { std::ptr::copy_nonoverlapping(ptr.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), length) };
    // SAFETY: the first `least` bytes come from a valid value, the caller vouches for zeros in the rest.
    Some(unsafe { value.assume_init() })
}
