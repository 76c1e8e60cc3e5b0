//! A bounded ring of words from one thread to one other: packets on their way from worker to worker.
//!
//! The words are atomics, so a reader that is early reads an old word and no torn one; that it is never early is what
//! the release of `tail` and its acquire are for. Each side has its own cache line, and looks at the other's only when
//! what it remembers of it does not suffice.

use std::sync::Arc;

use super::sync::{AtomicU32, AtomicU64, Ordering};

/// Something that shares its cache line, and the one that is fetched with it, with nothing else.
#[repr(align(128))]
struct Line<T>(T);

/// The ring itself; used through its two ends, and read by anybody for its figures.
pub struct Ring {
    words: Box<[AtomicU64]>,
    /// Words ever published, modulo 2³². Written by the sending end.
    tail: Line<AtomicU32>,
    /// Words ever taken, modulo 2³². Written by the receiving end.
    head: Line<AtomicU32>,
    /// What the sending end counts.
    counts: Line<Counts>,
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    refused: AtomicU64,
}

/// What went through a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingFigures {
    /// Words that were sent.
    pub sent: u64,
    /// Words that were refused since the ring was full.
    pub refused: u64,
    /// Words in it at present.
    pub waiting: u32,
    /// Words that it has room for.
    pub capacity: u32,
}

impl Ring {
    /// An empty ring with room for `capacity` words, a power of two, and its two ends.
    pub fn with_capacity(capacity: usize) -> (Sender, Receiver) {
        assert!(capacity.is_power_of_two() && u32::try_from(capacity).is_ok(), "a power of two of words");
        let ring = Arc::new(Self {
            words: zeroed(capacity),
            tail: Line(AtomicU32::new(0)),
            head: Line(AtomicU32::new(0)),
            counts: Line(Counts::default()),
        });
        let sender = Sender { ring: Arc::clone(&ring), tail: 0, published: 0, head: 0 };
        (sender, Receiver { ring, head: 0 })
    }

    fn word(&self, position: u32) -> &AtomicU64 {
        &self.words[position as usize & (self.words.len() - 1)]
    }

    /// What went through it. Any thread.
    pub fn figures(&self) -> RingFigures {
        let (head, tail) = (self.head.0.load(Ordering::Relaxed), self.tail.0.load(Ordering::Relaxed));
        let capacity = self.words.len() as u32;
        RingFigures {
            sent: self.counts.0.sent.load(Ordering::Relaxed),
            refused: self.counts.0.refused.load(Ordering::Relaxed),
            // The two are not read at one moment.
            waiting: tail.wrapping_sub(head).min(capacity),
            capacity,
        }
    }
}

/// Words whose memory is taken only as they are used: most threads never give each other anything.
#[cfg(not(loom))]
fn zeroed(count: usize) -> Box<[AtomicU64]> {
    use zerocopy::FromZeros;
    let words = AtomicU64::new_vec_zeroed(count);
    // A process without address space for a ring has none for its frames either.
    words.unwrap_or_else(|_| panic!("no address space for a ring of {count} words")).into_boxed_slice()
}

#[cfg(loom)]
fn zeroed(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

/// Adds to a counter that only this thread writes.
fn count(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// The end that words go in by.
pub struct Sender {
    ring: Arc<Ring>,
    tail: u32,
    published: u32,
    /// The receiver's position when it was last looked at.
    head: u32,
}

impl Sender {
    /// The ring.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// Puts a word in, to be seen by the receiver from the next [`Self::publish`]. `false`: there is no room, which is
    /// counted.
    pub fn push(&mut self, word: u64) -> bool {
        let capacity = self.ring.words.len() as u32;
        if self.tail.wrapping_sub(self.head) >= capacity {
            self.head = self.ring.head.0.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head) >= capacity {
                count(&self.ring.counts.0.refused, 1);
                return false;
            }
        }
        self.ring.word(self.tail).store(word, Ordering::Relaxed);
        self.tail = self.tail.wrapping_add(1);
        true
    }

    /// Shows the receiver what was put in since the last time; returns whether there was anything.
    pub fn publish(&mut self) -> bool {
        let new = self.tail.wrapping_sub(self.published);
        if new == 0 {
            return false;
        }
        count(&self.ring.counts.0.sent, new.into());
        self.ring.tail.0.store(self.tail, Ordering::Release);
        self.published = self.tail;
        true
    }
}

/// The end that words come out by.
pub struct Receiver {
    ring: Arc<Ring>,
    head: u32,
}

impl Receiver {
    /// Takes the oldest words, in order, as many as there are and `words` has room for; returns how many.
    pub fn take(&mut self, words: &mut [u64]) -> usize {
        let waiting = self.ring.tail.0.load(Ordering::Acquire).wrapping_sub(self.head);
        let count = words.len().min(waiting as usize);
        if count == 0 {
            return 0;
        }
        for word in &mut words[..count] {
            *word = self.ring.word(self.head).load(Ordering::Relaxed);
            self.head = self.head.wrapping_add(1);
        }
        self.ring.head.0.store(self.head, Ordering::Release);
        count
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn words_come_out_in_order_once_they_are_published() {
        let (mut sender, mut receiver) = Ring::with_capacity(4);
        let mut words = [0; 8];
        assert!(sender.push(7) && sender.push(8));
        assert_eq!(receiver.take(&mut words), 0);
        assert!(sender.publish() && !sender.publish());
        assert_eq!((receiver.take(&mut words[..1]), words[0]), (1, 7));
        assert_eq!((receiver.take(&mut words), words[0]), (1, 8));
        assert_eq!(receiver.take(&mut words), 0);
    }

    #[test]
    fn full_ring_refuses_and_counts_it() {
        let (mut sender, mut receiver) = Ring::with_capacity(2);
        assert_eq!([sender.push(1), sender.push(2), sender.push(3)], [true, true, false]);
        sender.publish();
        assert_eq!(sender.ring().figures(), RingFigures { sent: 2, refused: 1, waiting: 2, capacity: 2 });
        assert_eq!(receiver.take(&mut [0]), 1);
        assert!(sender.push(3));
        assert!(!sender.push(4));
    }

    #[test]
    fn another_thread_gets_every_word_once_and_in_order() {
        const WORDS: u64 = 200_000;
        let (mut sender, mut receiver) = Ring::with_capacity(64);
        let reader = std::thread::spawn(move || {
            let (mut next, mut words) = (0, [0; 16]);
            while next < WORDS {
                let count = receiver.take(&mut words);
                for &word in &words[..count] {
                    assert_eq!(word, next);
                    next += 1;
                }
                if count == 0 {
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < WORDS {
            if sender.push(next) {
                next += 1;
            } else {
                std::thread::yield_now();
            }
            if next.is_multiple_of(7) || next == WORDS {
                sender.publish();
            }
        }
        sender.publish();
        reader.join().expect("the reader saw every word");
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    /// Words arrive in order, none twice, and none before it was written.
    #[test]
    fn words_are_seen_whole_and_in_order() {
        loom::model(|| {
            let (mut sender, mut receiver) = Ring::with_capacity(2);
            let writer = loom::thread::spawn(move || {
                let mut sent = 0;
                for word in 1..=3 {
                    sent += u64::from(sender.push(word));
                    sender.publish();
                }
                sent
            });
            let (mut last, mut words) = (0, [0; 2]);
            for _ in 0..2 {
                let count = receiver.take(&mut words);
                for &word in &words[..count] {
                    assert!(word > last, "{word} after {last}");
                    last = word;
                }
            }
            assert!(writer.join().unwrap() >= 2);
        });
    }
}
