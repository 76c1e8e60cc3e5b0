//! Tables for flows and sessions: a hash index that stays fast when full, a slab, and the two with timers as one.
//!
//! They are for one thread each (see [`crate::sync::PerThread`]), take their memory as they fill, never more than they were
//! made for, and never stop to grow. [`SessionTable`] is what a feature with one key a session wants; one that finds
//! its sessions by several keys (as a translator does, from either side) puts several [`HashIndex`]es over one [`Slab`].
//!
//! Each stands in memory of the plugin's own ([`Own`], which is what `SessionTable<K, V>` means), or in the host's
//! ([`Kept`], as `SessionTable<K, V, Kept<'m>>`), where the next version of the plugin finds it as it is: see
//! [`crate::state::KeptPerThread`].

mod array;
mod hash;
mod index;
mod memory;
mod session;
mod slab;

pub use array::{Array, Plain};
pub use hash::{HashSeed, TableKey};
pub use index::{HashIndex, IndexFull};
pub use memory::{Kept, Memory, Own};
pub(crate) use memory::{KeptList, sealed};
pub use session::{Session, SessionTable, TableFull};
pub use slab::Slab;
