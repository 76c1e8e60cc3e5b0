use super::*;

const ETH: InterfaceIndex = InterfaceIndex(3);

fn next_hop(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn rewrite(mark: u8) -> Rewrite {
    let mut bytes = [0; MAX_REWRITE_BYTES];
    bytes[..14].fill(mark);
    Rewrite { bytes, length: 14, node: 0 }
}

fn front(table: &AdjacencyTable, index: AdjacencyIndex) -> (AdjacencyKind, [u8; 14]) {
    let (adjacency, mut header) = (table.get(index.0), [0; 14]);
    header.copy_from_slice(&adjacency.ethernet().map(u64::to_ne_bytes).as_flattened()[..14]);
    (adjacency.kind(), header)
}

#[test]
fn rows_start_cache_lines_and_fixed_rows_do_what_they_say() {
    let table = AdjacencyTable::new().unwrap();
    assert_eq!(table.rows().as_ptr().addr() % LINE_BYTES, 0);
    assert_eq!(table.rows().len(), MAX_ADJACENCIES + usize::from(table.origin == 0));
    for (index, kind) in AdjacencyIndex::FIXED {
        let adjacency = table.get(index.0);
        assert_eq!((adjacency.kind(), adjacency.interface()), (kind, InterfaceIndex::NONE));
        assert!(!adjacency.is_plain_ethernet());
        assert_eq!(table.info(index), None);
    }
    assert_eq!(table.get(12_345).kind(), AdjacencyKind::Drop, "a row that nobody uses drops");
}

#[test]
fn one_next_hop_has_one_row_until_its_last_reference_is_given_back() {
    let table = AdjacencyTable::new().unwrap();
    let index = table.allocate(ETH, next_hop(1), 1500).unwrap();
    assert_eq!(table.allocate(ETH, next_hop(1), 1500), Ok(index));
    assert_ne!(table.allocate(ETH, next_hop(2), 1500), Ok(index));
    assert_ne!(table.allocate(InterfaceIndex(4), next_hop(1), 1500), Ok(index));
    let adjacency = table.get(index.0);
    assert_eq!((adjacency.kind(), adjacency.interface()), (AdjacencyKind::Incomplete, ETH));
    assert_eq!((adjacency.next_hop(), adjacency.mtu()), (Some(next_hop(1)), 1500));

    assert_eq!(table.give_back(index), Settle::Done);
    assert_eq!(table.get(index.0).kind(), AdjacencyKind::Incomplete);
    assert_eq!(table.give_back(index), Settle::Later(index));
    assert_eq!(table.get(index.0).kind(), AdjacencyKind::Drop);
    assert_eq!(table.find(ETH, next_hop(1)), None);
    assert_eq!(table.give_back(index), Settle::Done, "what is given back twice counts once");
}

#[test]
fn row_of_a_node_names_it_for_as_long_as_somebody_leads_there() {
    let table = AdjacencyTable::new().unwrap();
    let index = table.allocate_node(77, Family::Ip6).unwrap();
    assert_eq!(table.allocate_node(77, Family::Ip6), Ok(index));
    assert_ne!(table.allocate_node(77, Family::Ip4), Ok(index));
    let adjacency = table.get(index.0);
    assert_eq!((adjacency.kind(), adjacency.node()), (AdjacencyKind::Node, Some(NodeIndex::from_host(77))));
    assert_eq!((adjacency.interface(), adjacency.is_plain_ethernet()), (InterfaceIndex::NONE, false));
    assert_eq!(table.give_back(index), Settle::Done);
    assert_eq!(table.give_back(index), Settle::Later(index));
    assert_eq!((table.get(index.0).kind(), table.get(index.0).node()), (AdjacencyKind::Drop, None));
}

#[test]
fn row_is_used_again_only_after_a_quiescent_point() {
    let table = AdjacencyTable::new().unwrap();
    let index = table.allocate(ETH, next_hop(1), 1500).unwrap();
    assert_eq!(table.give_back(index), Settle::Later(index));
    let other = table.allocate(ETH, next_hop(1), 1500).unwrap();
    assert_ne!(other, index);
    table.settle(index);
    assert_eq!(table.allocate(ETH, "2001:db8::1".parse().unwrap(), 1280), Ok(index));
    assert_eq!(table.get(index.0).next_hop(), Some("2001:db8::1".parse().unwrap()));
}

#[test]
fn first_rewrite_is_in_force_at_once() {
    let table = AdjacencyTable::new().unwrap();
    let index = table.allocate(ETH, next_hop(1), 1500).unwrap();
    assert_eq!(table.complete(index, rewrite(7)), Settle::Done);
    assert_eq!(front(&table, index), (AdjacencyKind::Rewrite, [7; 14]));
    assert!(table.get(index.0).is_plain_ethernet() && table.get(index.0).interface() == ETH);
    assert_eq!(table.complete(index, rewrite(7)), Settle::Done, "nothing new");
    assert!(table.get(index.0).is_plain_ethernet());
}

#[test]
fn changed_rewrite_is_written_only_after_a_quiescent_point() {
    let table = AdjacencyTable::new().unwrap();
    let index = table.allocate(ETH, next_hop(1), 1500).unwrap();
    assert_eq!(table.complete(index, rewrite(1)), Settle::Done);
    assert_eq!(table.complete(index, rewrite(2)), Settle::Later(index));
    assert_eq!(front(&table, index), (AdjacencyKind::Incomplete, [1; 14]), "old readers still see old bytes");
    assert_eq!(table.complete(index, rewrite(3)), Settle::Done, "the later word counts");
    table.settle(index);
    assert_eq!(front(&table, index), (AdjacencyKind::Rewrite, [3; 14]));
}

#[test]
fn forgotten_neighbour_is_incomplete_at_once_and_comes_back_after_a_quiescent_point() {
    let table = AdjacencyTable::new().unwrap();
    let index = table.allocate(ETH, next_hop(1), 1500).unwrap();
    assert_eq!(table.forget(index), Settle::Done);
    assert_eq!(table.complete(index, rewrite(1)), Settle::Done);
    assert_eq!(table.forget(index), Settle::Later(index));
    assert_eq!(front(&table, index).0, AdjacencyKind::Incomplete);
    assert_eq!(table.complete(index, rewrite(2)), Settle::Done);
    assert_eq!(front(&table, index), (AdjacencyKind::Incomplete, [1; 14]));
    assert_eq!(table.forget(index), Settle::Done);
    table.settle(index);
    assert_eq!(front(&table, index).0, AdjacencyKind::Incomplete);
    assert_eq!(table.complete(index, rewrite(3)), Settle::Done);
    assert_eq!(front(&table, index), (AdjacencyKind::Rewrite, [3; 14]));
}

#[test]
fn row_released_while_it_settles_is_freed_once() {
    let table = AdjacencyTable::new().unwrap();
    let index = table.allocate(ETH, next_hop(1), 1500).unwrap();
    assert_eq!(table.complete(index, rewrite(1)), Settle::Done);
    assert_eq!(table.complete(index, rewrite(2)), Settle::Later(index));
    assert_eq!(table.give_back(index), Settle::Later(index));
    table.settle(index);
    assert_eq!(front(&table, index).0, AdjacencyKind::Drop);
    assert_ne!(table.allocate(ETH, next_hop(2), 1500), Ok(index), "one deferred call is still to come");
    table.settle(index);
    assert_eq!(table.allocate(ETH, next_hop(3), 1500), Ok(index));
    assert_ne!(table.allocate(ETH, next_hop(4), 1500), Ok(index));
}

#[test]
fn mtu_of_an_interface_is_that_of_its_rows() {
    let table = AdjacencyTable::new().unwrap();
    let ours = table.allocate(ETH, next_hop(1), 1500).unwrap();
    let glean = table.allocate_glean(ETH, Family::Ip4, 1500).unwrap();
    let other = table.allocate(InterfaceIndex(4), next_hop(1), 1500).unwrap();
    table.set_mtu(ETH, 9000);
    assert_eq!([ours, glean, other].map(|index| table.get(index.0).mtu()), [9000, 9000, 1500]);
    assert_eq!(table.get(ours.0).next_hop(), Some(next_hop(1)));
    assert_eq!((table.get(glean.0).kind(), table.get(glean.0).next_hop()), (AdjacencyKind::Glean, None));
    let listed: Vec<_> = table.list(Some(ETH)).into_iter().map(|info| info.index).collect();
    assert_eq!(listed, [ours, glean]);
}

#[test]
fn a_watched_row_keeps_its_rewrite_and_is_watched_again_when_it_settles() {
    let table = AdjacencyTable::new().unwrap();
    let index = table.allocate(ETH, next_hop(1), 1500).unwrap();
    table.set_watched(index, true);
    assert_eq!(front(&table, index).0, AdjacencyKind::Incomplete, "there is nothing to watch yet");
    assert_eq!(table.complete(index, rewrite(7)), Settle::Done);
    assert_eq!(front(&table, index), (AdjacencyKind::Watched, [7; 14]));
    assert!(!table.get(index.0).is_plain_ethernet() && table.get(index.0).rewrite_length() == 14);
    table.set_watched(index, false);
    assert_eq!(front(&table, index), (AdjacencyKind::Rewrite, [7; 14]));
    table.set_watched(index, true);
    assert_eq!(table.complete(index, rewrite(8)), Settle::Later(index));
    table.settle(index);
    assert_eq!(front(&table, index), (AdjacencyKind::Watched, [8; 14]));
}
