//! Where the packets of each interface reach the host, as workers look it up.

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::sync::Published;

/// The host's side for one interface's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A tap, which takes frames.
    Tap(InterfaceIndex),
    /// A tun, which takes IP packets.
    Tun(InterfaceIndex),
}

/// The targets of all interfaces. A resource of the plugin.
pub struct Targets {
    /// By interface index.
    all: Published<Vec<Option<Target>>>,
}

impl Targets {
    /// None yet.
    pub fn new(control: &Control<'_>) -> Self {
        Self { all: Published::new(control, Vec::new()) }
    }

    /// The host's side for packets that came in by `interface`.
    #[inline]
    pub fn of(&self, worker: &Worker<'_>, interface: InterfaceIndex) -> Option<Target> {
        *self.all.read(worker).get(interface.0 as usize)?
    }

    /// Replaces all of them, if they differ.
    pub fn set(&self, control: &Control<'_>, targets: impl IntoIterator<Item = (InterfaceIndex, Target)>) {
        let mut all = Vec::new();
        for (interface, target) in targets {
            let at = interface.0 as usize;
            if at >= all.len() {
                all.resize(at + 1, None);
            }
            all[at] = Some(target);
        }
        if *self.all.get(control) != all {
            self.all.publish(control, all);
        }
    }
}
