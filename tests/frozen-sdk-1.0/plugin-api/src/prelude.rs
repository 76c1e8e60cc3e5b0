//! What a plugin's files usually need.

pub use crate::abi::LogLevel;
pub use crate::command::{Data, NoArguments, Output as CommandOutput};
pub use crate::wire::{MacAddress, checksum};
pub use crate::{
    ArcIndex, Control, Counters, Env, Failure, Field, HeldPacket, InputNode, Interface, InterfaceIndex,
    NoError, NoNext, Node, NodeIndex, NodeInit, Output, Packet, Vector, Verdict, Worker, arc, bail, command,
    config, driver, error, exit, failure, feature, init, input_node, next, node, on_event, plugin,
};
