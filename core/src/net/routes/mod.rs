//! The routing tables: what interfaces, neighbours, the operator and plugins say, kept in step with what workers read.

mod bulk;
mod edit;
mod link_locals;
mod neighbors;
mod next_hops;
mod owners;
mod page;
mod reachable;
mod service;
mod state;
mod statics;
mod sync;
mod table;
mod table_index;
mod tables;

pub use bulk::{Bulk, BulkChange, BulkTurn};
pub use owners::RouteOwners;
pub use page::{PAGE_ROUTES, RoutePage};
pub use service::Routes;
pub use table_index::{MAX_TABLES, TableIndex};
pub use tables::TableInfo;
