//! The publication and reuse of nodes under loom: `RUSTFLAGS="--cfg loom" cargo test -p raddle --lib fib::loom`.
//!
//! The model's tables are a few words long, so all prefixes here start with 16 zero bits. The 16 bytes of run starts are read
//! as four atomic words under the model; it cannot show that the plain read of the real table has no race, only
//! that the words it reads are the published ones.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::{Lpm4, Lpm6, Prefix};

fn prefix(address: u32, len: u8) -> Prefix<u32> {
    Prefix::containing(address, len)
}

#[test]
fn reader_sees_a_new_node_whole() {
    loom::model(|| {
        let mut lpm = Lpm4::new().unwrap();
        lpm.insert(prefix(0x0000_1000, 20), 1).unwrap();
        let reader = lpm.reader();
        let reading = thread::spawn(move || {
            assert!([1, 2].contains(&reader.lookup(0x0000_1234)));
            assert_eq!(reader.lookup(0x0000_1f00), 1);
        });
        lpm.insert(prefix(0x0000_1200, 24), 2).unwrap();
        reading.join().unwrap();
        assert_eq!(lpm.lookup(0x0000_1234), 2);
    });
}

#[test]
fn reader_sees_the_cover_again_after_a_removal() {
    loom::model(|| {
        let mut lpm = Lpm4::new().unwrap();
        lpm.insert(prefix(0x0000_1000, 20), 1).unwrap();
        lpm.insert(prefix(0x0000_1200, 24), 2).unwrap();
        let reader = lpm.reader();
        let reading = thread::spawn(move || assert!([1, 2].contains(&reader.lookup(0x0000_1234))));
        lpm.remove(prefix(0x0000_1200, 24), Some((prefix(0x0000_1000, 20), 1))).unwrap();
        reading.join().unwrap();
        assert_eq!(lpm.lookup(0x0000_1234), 1);
    });
}

#[test]
fn node_is_reused_only_behind_a_quiescent_reader() {
    loom::model(|| {
        let mut lpm = Lpm4::new().unwrap();
        lpm.insert(prefix(0x0000_1000, 20), 1).unwrap();
        let reader = lpm.reader();
        let epoch = Arc::new(AtomicU64::new(0));
        let quiescent = Arc::new(AtomicU64::new(0));
        let reading = {
            let (epoch, quiescent) = (Arc::clone(&epoch), Arc::clone(&quiescent));
            thread::spawn(move || {
                for _ in 0..2 {
                    assert_eq!(reader.lookup(0x0000_1f00), 1);
                    quiescent.store(epoch.load(Ordering::Acquire), Ordering::Release);
                }
            })
        };
        // Retires the first node, and writes over it if the reader has passed.
        lpm.insert(prefix(0x0000_1200, 24), 2).unwrap();
        lpm.set_epoch(1);
        epoch.store(1, Ordering::Release);
        lpm.reclaim(quiescent.load(Ordering::Acquire));
        lpm.insert(prefix(0x0000_8000, 20), 3).unwrap();
        reading.join().unwrap();
        assert_eq!(lpm.lookup(0x0000_8001), 3);
    });
}

/// IPv6 lookups may begin below the first 32 bits, at a node that the writer is about to replace.
#[test]
fn reader_that_takes_the_shortcut_sees_before_or_after() {
    loom::model(|| {
        let mut lpm = Lpm6::new().unwrap();
        let (near, far) = (0x1200_u128 << 80, 0x8000_u128 << 80);
        lpm.insert(Prefix::containing(0, 36), 1).unwrap();
        let reader = lpm.reader();
        let reading = thread::spawn(move || {
            assert!([1, 2].contains(&reader.lookup(0x0123_u128 << 80)));
            assert_eq!(reader.lookup(far), 0);
        });
        lpm.insert(Prefix::containing(0x0120_u128 << 80, 44), 2).unwrap();
        reading.join().unwrap();
        assert_eq!(lpm.lookup(0x0123_u128 << 80), 2);
        assert_eq!(lpm.lookup(near), 0);
    });
}
