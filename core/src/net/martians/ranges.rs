//! Prefixes with what may be done with them, as ranges of addresses side by side: one binary search a lookup.

use super::registry::Columns;
use crate::net::fib::Address;

/// Columns by address.
#[derive(Debug, Clone)]
pub struct Ranges<A> {
    /// Where each range begins; the first at the lowest address.
    starts: Vec<A>,
    columns: Vec<Columns>,
}

/// One prefix, from its first address to its last.
#[derive(Clone, Copy, Debug)]
pub struct Span<A> {
    /// The first address.
    pub first: A,
    /// The last address.
    pub last: A,
    /// What may be done with those that no longer prefix covers.
    pub columns: Columns,
}

impl<A: Address> Ranges<A> {
    /// The ranges of these prefixes, whose spans nest or are apart; of equal ones the later counts. `lowest` and `highest`
    /// are the family's first and last address, `after` gives the next address of one that is not the highest.
    pub fn new(mut spans: Vec<Span<A>>, lowest: A, highest: A, after: impl Fn(A) -> A) -> Self {
        // Outer spans before inner ones; a stable sort keeps the later of equal ones later.
        spans.sort_by(|a, b| a.first.cmp(&b.first).then(b.last.cmp(&a.last)));
        let mut ranges = Self { starts: vec![lowest], columns: vec![Columns::ORDINARY] };
        let mut open: Vec<Span<A>> = Vec::new();
        let close = |ranges: &mut Self, open: &mut Vec<Span<A>>| {
            let Some(span) = open.pop() else { return };
            if span.last != highest {
                let outer = open.last().map_or(Columns::ORDINARY, |span| span.columns);
                ranges.begin(after(span.last), outer);
            }
        };
        for span in spans {
            while open.last().is_some_and(|outer| outer.last < span.first) {
                close(&mut ranges, &mut open);
            }
            ranges.begin(span.first, span.columns);
            open.push(span);
        }
        while !open.is_empty() {
            close(&mut ranges, &mut open);
        }
        ranges
    }

    fn begin(&mut self, first: A, columns: Columns) {
        if self.starts.last() == Some(&first) {
            self.starts.pop();
            self.columns.pop();
        }
        self.starts.push(first);
        self.columns.push(columns);
    }

    /// What may be done with the address.
    #[inline]
    pub fn find(&self, address: A) -> Columns {
        let behind = self.starts.partition_point(|start| *start <= address);
        // The first range begins at the lowest address.
        self.columns.get(behind.wrapping_sub(1)).copied().unwrap_or(Columns::ORDINARY)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn columns(number: u8) -> Columns {
        Columns {
            source: number & 1 != 0,
            destination: number & 2 != 0,
            forwardable: number & 4 != 0,
            global: number & 8 != 0,
        }
    }

    fn span(address: u32, length: u8, number: u8) -> Span<u32> {
        let mask = u32::MAX.checked_shr(length.into()).unwrap_or(0);
        Span { first: address & !mask, last: address | mask, columns: columns(number) }
    }

    /// The rule in one line: the longest prefix, and of equal ones the last.
    fn model(spans: &[Span<u32>], address: u32) -> Columns {
        let covering = spans.iter().filter(|span| (span.first..=span.last).contains(&address));
        covering.min_by_key(|span| span.last - span.first).map_or(Columns::ORDINARY, |shortest| {
            let equal = |span: &&Span<u32>| (span.first, span.last) == (shortest.first, shortest.last);
            spans.iter().rfind(equal).map_or(Columns::ORDINARY, |span| span.columns)
        })
    }

    proptest! {
        #[test]
        fn finds_the_longest_prefix(
            prefixes in prop::collection::vec((any::<u32>(), 0u8..=32, 0u8..16), 0..24),
            near in prop::collection::vec((0usize..24, -2i64..3), 0..24),
            far in prop::collection::vec(any::<u32>(), 0..24),
        ) {
            // Few bits differ, so that prefixes nest.
            let spans: Vec<_> =
                prefixes.iter().map(|&(address, length, number)| span(address & 0xc000_0c03, length, number)).collect();
            let ranges = Ranges::new(spans.clone(), 0, u32::MAX, |address| address + 1);
            let edges = near.iter().filter_map(|&(index, offset)| {
                let span = spans.get(index)?;
                Some((i64::from(if offset < 0 { span.first } else { span.last }) + offset) as u32)
            });
            for address in edges.chain(far).chain([0, u32::MAX]) {
                prop_assert_eq!(ranges.find(address), model(&spans, address), "{:#x}", address);
            }
        }
    }
}
