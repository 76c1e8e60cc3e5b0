//! Lists through the slots of a shard: the oldest first, and any slot out at once.

/// "No slot" in a link.
const NONE: u32 = u32::MAX;

/// A slot's neighbours in one list.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    before: u32,
    after: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self { before: NONE, after: NONE }
    }
}

/// The ends of a list.
#[derive(Clone, Copy, Debug)]
pub struct List {
    first: u32,
    last: u32,
    length: usize,
}

impl Default for List {
    fn default() -> Self {
        Self { first: NONE, last: NONE, length: 0 }
    }
}

impl List {
    /// The slot that was put in first of those that are in.
    pub const fn first(&self) -> Option<u32> {
        if self.first == NONE { None } else { Some(self.first) }
    }

    /// Number of slots in it.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Puts `slot`, which is not in the list, at its end. `links` gives each slot's link of this list.
    pub fn push<T>(&mut self, slots: &mut [T], slot: u32, link: impl Fn(&mut T) -> &mut Link) {
        *link(&mut slots[slot as usize]) = Link { before: self.last, after: NONE };
        match self.last {
            NONE => self.first = slot,
            last => link(&mut slots[last as usize]).after = slot,
        }
        self.last = slot;
        self.length += 1;
    }

    /// Takes out `slot`, which is in the list.
    pub fn remove<T>(&mut self, slots: &mut [T], slot: u32, link: impl Fn(&mut T) -> &mut Link) {
        let Link { before, after } = std::mem::take(link(&mut slots[slot as usize]));
        match before {
            NONE => self.first = after,
            before => link(&mut slots[before as usize]).after = after,
        }
        match after {
            NONE => self.last = before,
            after => link(&mut slots[after as usize]).before = before,
        }
        self.length -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_queue(steps in proptest::collection::vec(0u32..8, 0..100)) {
            let (mut list, mut slots, mut model) = (List::default(), [Link::default(); 8], VecDeque::new());
            for slot in steps {
                if model.contains(&slot) {
                    model.retain(|&other| other != slot);
                    list.remove(&mut slots, slot, |link| link);
                } else {
                    model.push_back(slot);
                    list.push(&mut slots, slot, |link| link);
                }
                prop_assert_eq!((list.first(), list.len()), (model.front().copied(), model.len()));
            }
            while let Some(slot) = model.pop_front() {
                prop_assert_eq!(list.first(), Some(slot));
                list.remove(&mut slots, slot, |link| link);
            }
            prop_assert_eq!(list.first(), None);
        }
    }
}
