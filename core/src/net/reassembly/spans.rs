//! The pieces of one datagram as stretches of its data: in order, without overlap, complete or not (RFC 791 §3.2,
//! RFC 5722 §4).

/// A stretch of a datagram's data, in bytes, and what is kept of it.
#[derive(Debug)]
pub struct Span<T> {
    /// Where it begins.
    pub start: u32,
    /// Where it ends: one past its last byte.
    pub end: u32,
    /// What is kept of it.
    pub content: T,
}

/// Where a stretch belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In front of the span with this number.
    New(usize),
    /// It is the same stretch as the span with this number.
    Same(usize),
    /// It overlaps others, or contradicts them about where the data ends.
    Conflict,
}

/// The stretches of one datagram that have come.
#[derive(Debug)]
pub struct Spans<T> {
    list: Vec<Span<T>>,
    covered: u32,
    end: Option<u32>,
}

impl<T> Default for Spans<T> {
    fn default() -> Self {
        Self { list: Vec::new(), covered: 0, end: None }
    }
}

impl<T> Spans<T> {
    /// Where the stretch from `start` to before `end`, which is not empty, belongs; `last`: the data ends with it.
    pub fn place(&self, start: u32, end: u32, last: bool) -> Place {
        let at = self.list.partition_point(|span| span.end <= start);
        if let Some(next) = self.list.get(at) {
            if (next.start, next.end) == (start, end) && last == (self.end == Some(end)) {
                return Place::Same(at);
            }
            if next.start < end {
                return Place::Conflict;
            }
        }
        let contradicts = match self.end {
            Some(known) => end > known || last != (end == known),
            None => last && at < self.list.len(),
        };
        if contradicts { Place::Conflict } else { Place::New(at) }
    }

    /// Puts in a stretch for which [`Self::place`] said [`Place::New`] with `at`.
    pub fn insert(&mut self, at: usize, span: Span<T>, last: bool) {
        debug_assert_eq!(self.place(span.start, span.end, last), Place::New(at));
        self.covered += span.end - span.start;
        if last {
            self.end = Some(span.end);
        }
        self.list.insert(at.min(self.list.len()), span);
    }

    /// Whether nothing is missing: what does not overlap and reaches as far as the data does.
    pub fn is_whole(&self) -> bool {
        self.end == Some(self.covered)
    }

    /// Number of stretches.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// What is kept of a stretch.
    pub fn content_mut(&mut self, at: usize) -> Option<&mut T> {
        self.list.get_mut(at).map(|span| &mut span.content)
    }

    /// The contents, in the order of the data.
    pub fn contents_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.list.iter_mut().map(|span| &mut span.content)
    }

    /// What is kept of the front of the data, if that has come.
    pub fn first(&self) -> Option<&T> {
        self.list.first().filter(|span| span.start == 0).map(|span| &span.content)
    }

    /// The contents, in the order of the data, and none left.
    pub fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        (self.covered, self.end) = (0, None);
        std::mem::take(&mut self.list).into_iter().map(|span| span.content)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spans(list: &[(u32, u32, bool)]) -> Spans<()> {
        let mut spans = Spans::default();
        for &(start, end, last) in list {
            let Place::New(at) = spans.place(start, end, last) else { panic!("{start}..{end} is new") };
            spans.insert(at, Span { start, end, content: () }, last);
        }
        spans
    }

    // RFC 5722 §4, RFC 8200 §4.5
    #[test]
    fn stretches_are_new_or_the_same_or_in_conflict() {
        let some = spans(&[(8, 16, false), (32, 40, false)]);
        let ended = spans(&[(8, 16, false), (32, 40, true)]);
        for (spans, start, end, last, expected) in [
            (&some, 0, 8, false, Place::New(0)),
            (&some, 16, 32, false, Place::New(1)),
            (&some, 40, 48, true, Place::New(2)),
            (&some, 8, 16, false, Place::Same(0)),
            (&some, 8, 16, true, Place::Conflict),
            (&some, 8, 24, false, Place::Conflict),
            (&some, 0, 9, false, Place::Conflict),
            (&some, 15, 17, false, Place::Conflict),
            (&some, 9, 10, false, Place::Conflict),
            (&some, 0, 48, true, Place::Conflict),
            (&some, 16, 24, true, Place::Conflict),
            (&ended, 32, 40, true, Place::Same(1)),
            (&ended, 32, 40, false, Place::Conflict),
            (&ended, 40, 48, false, Place::Conflict),
            (&ended, 40, 48, true, Place::Conflict),
            (&ended, 16, 24, true, Place::Conflict),
            (&ended, 16, 32, false, Place::New(1)),
        ] {
            assert_eq!(spans.place(start, end, last), expected, "{start}..{end} last {last}");
        }
    }

    #[test]
    fn is_whole_from_the_front_to_the_end_only() {
        assert!(spans(&[(8, 11, true), (0, 8, false)]).is_whole());
        assert!(!spans(&[(8, 11, true)]).is_whole());
        assert!(!spans(&[(0, 8, false)]).is_whole());
        assert!(!spans(&[(0, 8, false), (16, 20, true)]).is_whole());
    }

    proptest! {
        // The model keeps every byte that has come.
        #[test]
        fn agrees_with_a_map_of_bytes(list in proptest::collection::vec((0u32..12, 1u32..5, any::<bool>()), 1..20)) {
            let mut spans = Spans::default();
            let (mut seen, mut stretches, mut last_end) = ([false; 16], Vec::new(), None);
            for (start, length, last) in list {
                let end = start + length;
                let range = start as usize..end as usize;
                let same = stretches.contains(&(start, end, last));
                let overlaps = seen[range.clone()].iter().any(|&byte| byte);
                let beyond = last && seen[range.end..].iter().any(|&byte| byte)
                    || last_end.is_some_and(|known| end > known || last != (end == known));
                match spans.place(start, end, last) {
                    Place::Same(_) => prop_assert!(same),
                    Place::Conflict => prop_assert!(!same && (overlaps || beyond)),
                    Place::New(at) => {
                        prop_assert!(!overlaps && !beyond);
                        spans.insert(at, Span { start, end, content: () }, last);
                        seen[range].fill(true);
                        stretches.push((start, end, last));
                        last_end = if last { Some(end) } else { last_end };
                    }
                }
                let whole = last_end.is_some_and(|end| seen[..end as usize].iter().all(|&byte| byte));
                prop_assert_eq!(spans.is_whole(), whole);
            }
        }
    }
}
