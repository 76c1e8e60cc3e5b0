//! What `show trace` says of a packet here.

use std::fmt;

use serde::Serialize;

use crate::flow::Flow;

/// A packet's flow, and which packet of it this is.
#[derive(Clone, Debug, Serialize)]
pub struct FlowTrace {
    /// The flow.
    pub flow: Flow,
    /// The packet's number in the flow, from 1; `None` if there was no room for the flow.
    pub number: Option<u64>,
}

impl fmt::Display for FlowTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "flow-count: {}, packet {number} of the flow", self.flow),
            None => write!(f, "flow-count: {}, no room for the flow", self.flow),
        }
    }
}
