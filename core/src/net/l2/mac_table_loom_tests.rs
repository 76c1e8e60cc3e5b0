//! The publication of addresses under loom: `RUSTFLAGS="--cfg loom" cargo test -p raddle --lib mac_table::loom`.
//!
//! The main thread writes, one worker reads. The model's tables have one or two lines.

use loom::sync::Arc;
use loom::thread;

use super::{MacKey, MacTable, Place, SLOTS_PER_LINE};

fn key(mac: u64) -> MacKey {
    MacKey::new(1, mac)
}

fn place(interface: u32) -> Place {
    Place::new(interface, false)
}

fn found(table: &MacTable, key: MacKey) -> Option<u32> {
    table.find(key).map(|found| found.place.interface())
}

/// A table of so many lines with these addresses, behind the interfaces 0, 1, …
fn table(lines: usize, keys: &[MacKey]) -> MacTable {
    let table = MacTable::with_lines(lines).unwrap();
    for (interface, key) in keys.iter().enumerate() {
        assert!(table.insert(*key, place(interface as u32), 0));
    }
    table
}

/// Runs `read` on a thread of its own beside `write`; returns the table as it is then.
fn beside(
    table: MacTable,
    read: impl FnOnce(&MacTable) + 'static,
    write: impl FnOnce(&MacTable),
) -> Arc<MacTable> {
    let table = Arc::new(table);
    let shared = Arc::clone(&table);
    let reading = thread::spawn(move || read(&shared));
    write(&table);
    reading.join().unwrap();
    table
}

#[test]
fn reader_sees_a_new_address_with_its_port_or_not_at_all() {
    loom::model(|| {
        let read = |table: &MacTable| assert!([None, Some(7)].contains(&found(table, key(1))));
        let after = beside(table(1, &[]), read, |table| assert!(table.insert(key(1), place(7), 0)));
        assert_eq!(found(&after, key(1)), Some(7));
    });
}

#[test]
fn reader_sees_a_station_at_its_old_port_or_at_its_new_one() {
    loom::model(|| {
        let read = |table: &MacTable| {
            let found = table.find(key(1)).unwrap();
            assert!([0, 8].contains(&found.place.interface()));
            found.touch(3);
        };
        let after = beside(table(1, &[key(1)]), read, |table| assert!(table.insert(key(1), place(8), 1)));
        assert_eq!(found(&after, key(1)), Some(8));
    });
}

#[test]
fn reader_never_sees_the_port_of_the_next_owner_of_a_slot() {
    loom::model(|| {
        let read = |table: &MacTable| {
            assert!([None, Some(0)].contains(&found(table, key(1))));
            assert!([None, Some(9)].contains(&found(table, key(2))));
        };
        let after = beside(table(1, &[key(1)]), read, |table| {
            table.remove(key(1));
            assert!(table.insert(key(2), place(9), 0));
        });
        assert_eq!((found(&after, key(1)), found(&after, key(2))), (None, Some(9)));
    });
}

/// A full line goes on in the next one, also while one of its slots is given away.
#[test]
fn reader_finds_what_overflowed_while_the_full_line_changes() {
    loom::model(|| {
        let empty = table(2, &[]);
        let of_first_line = |key: &MacKey| empty.home(*key) % 2 == 0;
        let keys: Vec<MacKey> = (0..).map(key).filter(of_first_line).take(SLOTS_PER_LINE + 2).collect();
        let (known, next) = keys.split_at(SLOTS_PER_LINE + 1);
        let (first, last, next) = (known[0], known[SLOTS_PER_LINE], next[0]);
        let read = move |table: &MacTable| assert_eq!(found(table, last), Some(SLOTS_PER_LINE as u32));
        let after = beside(table(2, known), read, |table| {
            table.remove(first);
            assert!(table.insert(next, place(99), 0));
        });
        assert_eq!((found(&after, first), found(&after, next)), (None, Some(99)));
    });
}
