//! What can be shown.

use clap::ValueEnum;

/// A view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum View {
    /// Some of all
    #[default]
    All,
    /// Interfaces with their rates
    Interfaces,
    /// Nodes by clocks
    Nodes,
    /// Plugins by clocks
    Plugins,
    /// Drops by reason
    Drops,
    /// Threads with their load
    Threads,
}

impl View {
    /// All of them, by the number of their key.
    pub(super) const ALL: [Self; 6] =
        [Self::All, Self::Interfaces, Self::Nodes, Self::Plugins, Self::Drops, Self::Threads];

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Interfaces => "interfaces",
            Self::Nodes => "nodes",
            Self::Plugins => "plugins",
            Self::Drops => "drops",
            Self::Threads => "threads",
        }
    }

    fn turned(self, by: usize) -> Self {
        let position = Self::ALL.iter().position(|view| *view == self).unwrap_or(0);
        Self::ALL[(position + by) % Self::ALL.len()]
    }

    /// The one behind it; the first behind the last.
    pub(super) fn next(self) -> Self {
        self.turned(1)
    }

    /// The one before it.
    pub(super) fn previous(self) -> Self {
        self.turned(Self::ALL.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_follow_each_other_in_a_ring() {
        for view in View::ALL {
            assert_eq!(view.next().previous(), view);
        }
        assert_eq!(View::Threads.next(), View::All);
    }
}
