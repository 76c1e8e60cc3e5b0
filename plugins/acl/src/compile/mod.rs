//! From rules to a table in which the first one that matches a packet is found without looking at all.

mod classifier;
mod entry;
mod expand;
mod leaf;
mod parts;
mod tree;
mod window;

pub use classifier::{Classifier, NO_RULE, Walk};
pub use entry::{
    Entry, FIRST_FRAGMENT, Key, Key4, Key6, LATER_FRAGMENT, META4, META6, TRANSPORT, WORDS4, WORDS6, meta,
};
pub use expand::{Expanded, MOST_ENTRIES, TooManyEntries, expand};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod update_tests;
