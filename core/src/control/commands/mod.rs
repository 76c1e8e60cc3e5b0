//! The core's own commands: thin functions over the methods of the control plane, and the text of what they return.

mod errors;
mod interface;
mod layout;
mod runtime;
