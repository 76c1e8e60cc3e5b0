//! Routes that lead into another table: the destination is looked up again there.
#![forbid(unsafe_code)]

use super::adjacency::{AdjacencyIndex, AdjacencyKind};
use super::fib::Address;
use super::forwarding::ForwardingTables;
use super::table_cache::TableCache;

/// Tables through which a packet may be led behind its first.
pub const MAX_TABLE_HOPS: usize = 8;

/// The adjacency of a destination whose table says with `first`, an adjacency of kind `Table`, to look in another one.
/// The packet's own FIB index stays as it is: what is sent back to its source is looked up where it came in. `None`: the
/// tables lead to each other without end.
#[cold]
pub fn follow<A: Address>(
    tables: &ForwardingTables,
    cache: &TableCache<A>,
    destination: A,
    first: u32,
    hash: impl Fn() -> u32,
) -> Option<AdjacencyIndex> {
    let mut index = first;
    for _ in 0..MAX_TABLE_HOPS {
        let adjacency = tables.adjacencies.get(index);
        if adjacency.kind() != AdjacencyKind::Table {
            return Some(AdjacencyIndex(index));
        }
        index = tables.leaves.adjacency(cache.lookup(adjacency.fib(), destination), &hash);
    }
    (tables.adjacencies.get(index).kind() != AdjacencyKind::Table).then_some(AdjacencyIndex(index))
}
