//! What the link's routers are told.

/// What a record of a report says of a group (RFC 3376 §4.2.12, RFC 3810 §5.2.12). Groups are joined for all sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// We want what these sources send to it.
    IsInclude = 1,
    /// We are in it.
    IsExclude = 2,
    /// We have left it.
    ToInclude = 3,
    /// We have joined it.
    ToExclude = 4,
}

/// A record of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<A> {
    /// What it says.
    pub kind: RecordKind,
    /// Of which group.
    pub group: A,
    /// Of which sources, where the querier asked for some.
    pub sources: Vec<A>,
}

impl<A> Record<A> {
    /// Length in a message (RFC 3376 §4.2.4, RFC 3810 §5.2.4), in bytes.
    const fn len_bytes(&self) -> usize {
        4 + (1 + self.sources.len()) * size_of::<A>()
    }
}

/// The records in runs of which each has at most `most_bytes` in a message, or one record.
pub fn runs<A>(records: &[Record<A>], most_bytes: usize) -> Vec<&[Record<A>]> {
    let (mut runs, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (position, record) in records.iter().enumerate() {
        if position > start && bytes + record.len_bytes() > most_bytes {
            runs.push(&records[start..position]);
            (start, bytes) = (position, 0);
        }
        bytes += record.len_bytes();
    }
    runs.extend((start < records.len()).then(|| &records[start..]));
    runs
}

/// A message to the link's routers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report<A> {
    /// IGMPv3 or MLDv2: any number of groups.
    Current(Vec<Record<A>>),
    /// IGMPv2 or MLDv1: we are in a group.
    Older(A),
    /// IGMPv1: we are in a group.
    Oldest(A),
    /// IGMPv2's leave or MLDv1's done.
    Leave(A),
}
