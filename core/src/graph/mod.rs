//! The graph on paper: nodes, their arcs, their errors, and the order of registrations.

mod ordering;
mod table;

pub use ordering::{OrderError, Ordered, order};
pub use table::{
    DROP_NODE, ErrorInfo, FAULT_ERROR, FILE_POLL_NODE, GONE_ERROR, Graph, GraphError, MAX_ERRORS, MAX_NODES,
    NodeInfo, NodeNames, Owner,
};
