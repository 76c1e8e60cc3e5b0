//! What crosses between host and plugin: `#[repr(C)]` data and `extern "C"` functions, nothing else.
//!
//! Rules of every type in here:
//! - A struct that one side hands to the other begins with its size in bytes and grows only at its end. A reader
//!   takes `min(size there, size here)` bytes and leaves the rest zero ([`read_prefix`]); zero is a valid value of
//!   every field.
//! - Memory is freed by the side that allocated it. Text of unknown length goes out through a [`Sink`].
//! - No panic crosses: the SDK catches them on the plugin's side.
//!
//! Authors of Rust plugins never touch this module; the SDK's safe types are made of it.

mod buffer;
mod driver;
mod frame;
mod host;
mod layout;
mod plugin;
mod service;
mod text;
mod worker;

pub use buffer::{
    BUFFER_DATA_BYTES, BUFFER_DATA_OFFSET, BUFFER_FIELD_BYTES, BUFFER_HEADROOM_BYTES, BufferFlags,
    BufferHeader, NO_BUFFER, NO_INTERFACE, NO_TRACE,
};
pub use driver::{DeviceTable, DriverRegistration, RxTable, TxFlags, TxTable};
pub use frame::{FRAME_SIZE, Frame, FrameFlags};
pub use host::{
    BufferArena, Counted, CounterMemory, FileEvents, FileRequest, HostTable, LogLevel, Status, TaskTable,
};
pub use layout::{LAYOUT_HASH, layout_dump};
pub use plugin::{
    ABI_MAJOR, ABI_MINOR, ArcRegistration, CommandRegistration, ConfigRegistration, Dependency,
    EventRegistration, ExitRegistration, FeatureRegistration, InitRegistration, MAGIC, NodeKind,
    NodeRegistration, PLUGIN_SYMBOL, PluginHeader, Registrations, StateRegistration, read_prefix,
};
pub use service::{ServiceMethod, ServiceTable};
pub use text::{Sink, Slice, Text, sink_into, sink_into_bytes};
pub use worker::{
    ArcTable, FEATURES_PER_ARC, InterfaceFlags, InterfaceRow, MAX_ARCS, MAX_INTERFACES, NodeContext,
    WorkerContext,
};
