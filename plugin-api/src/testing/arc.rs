//! Feature arcs of a harness.

use std::sync::atomic::{AtomicU64, Ordering};

use super::order::{Item, order};
use crate::abi::{ArcTable, FEATURES_PER_ARC, MAX_ARCS, MAX_INTERFACES};
use crate::{Failure, InterfaceIndex};

/// Arcs that the core brings, with their ends; features of third parties hang in these.
pub(super) const CORE_ARCS: &[(&str, &str)] = &[
    ("ip4-unicast", "ip4-lookup"),
    ("ip6-unicast", "ip6-lookup"),
    ("ip4-output", "interface-output"),
    ("ip6-output", "interface-output"),
    ("interface-output", "interface-tx"),
    ("ip4-multicast", "ip4-multicast-lookup"),
    ("ip6-multicast", "ip6-multicast-lookup"),
    ("l2-input", "l2-input"),
];

/// A feature, as it was registered.
#[derive(Clone, Debug)]
pub(super) struct Feature {
    pub(super) name: String,
    pub(super) node: String,
    pub(super) before: Vec<String>,
    pub(super) after: Vec<String>,
}

struct Arc {
    name: String,
    end: String,
    features: Vec<Feature>,
}

pub(super) struct Arcs {
    tables: *mut ArcTable,
    masks: *mut AtomicU64,
    arcs: Vec<Arc>,
}

impl Arcs {
    /// No arcs yet, on the tables and masks of a harness's memory.
    pub(super) fn new(tables: *mut ArcTable, masks: *mut AtomicU64) -> Self {
        Self { tables, masks, arcs: Vec::new() }
    }

    pub(super) fn index(&self, name: &str) -> Option<u8> {
        self.arcs.iter().position(|arc| arc.name == name).map(|index| index as u8)
    }

    /// Adds an arc, or changes its end if it is there.
    pub(super) fn add(&mut self, name: &str, end: &str) -> Result<u8, Failure> {
        if let Some(index) = self.index(name) {
            self.arcs[usize::from(index)].end = end.to_owned();
            return Ok(index);
        }
        if self.arcs.len() == MAX_ARCS {
            crate::bail!("more than {MAX_ARCS} feature arcs");
        }
        self.arcs.push(Arc { name: name.to_owned(), end: end.to_owned(), features: Vec::new() });
        Ok((self.arcs.len() - 1) as u8)
    }

    /// Hangs a feature into an arc, which is made if it is not there.
    pub(super) fn add_feature(&mut self, arc: &str, feature: Feature) -> Result<(), Failure> {
        let index = match self.index(arc) {
            Some(index) => index,
            None => self.add(arc, &format!("{arc}-end"))?,
        };
        let features = &mut self.arcs[usize::from(index)].features;
        if features.iter().any(|known| known.name == feature.name) {
            crate::bail!("the feature `{}` is twice on the arc `{arc}`", feature.name);
        }
        features.push(feature);
        Ok(())
    }

    /// Orders the features of all arcs and writes the tables; masks are cleared. `index` knows the nodes.
    pub(super) fn settle(&mut self, mut index: impl FnMut(&str) -> u16) -> Result<(), Failure> {
        let masks = self.masks;
        for (number, arc) in self.arcs.iter_mut().enumerate() {
            let items: Vec<Item<'_>> = arc
                .features
                .iter()
                .map(|feature| Item {
                    name: &feature.name,
                    before: feature.before.iter().map(String::as_str).collect(),
                    after: feature.after.iter().map(String::as_str).collect(),
                })
                .collect();
            let positions =
                order(&items).map_err(|failure| failure.context(format!("arc `{}`", arc.name)))?;
            if positions.len() > FEATURES_PER_ARC {
                crate::bail!("more than {FEATURES_PER_ARC} features on the arc `{}`", arc.name);
            }
            arc.features = positions.into_iter().map(|position| arc.features[position].clone()).collect();
            // SAFETY: `number` is below `MAX_ARCS`; no node runs, so nobody else reaches the table.
            let table = unsafe { &mut *self.tables.add(number) };
            table.end_node = index(&arc.end);
            table.epoch = table.epoch.wrapping_add(1);
            for (bit, feature) in arc.features.iter().enumerate() {
                table.nodes[bit] = index(&feature.node);
            }
            for interface in 0..MAX_INTERFACES {
                let mask = mask_cell(masks, number, interface);
                // Reading leaves untouched pages untouched.
                if mask.load(Ordering::Relaxed) != 0 {
                    mask.store(0, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    /// Numbers the arc anew, as if a feature had been added: packets on their way are not followed any more.
    pub(super) fn renumber(&mut self, arc: u8) {
        // SAFETY: the index was handed out by `add`; no node runs, so nobody else reaches the table.
        let table = unsafe { &mut *self.tables.add(usize::from(arc)) };
        table.epoch = table.epoch.wrapping_add(1);
    }

    /// Switches a feature, on every arc on which it is; says on which.
    pub(super) fn switch(
        &self,
        interface: InterfaceIndex,
        feature: &str,
        enabled: bool,
    ) -> Result<Vec<&str>, Failure> {
        let mut on = Vec::new();
        for (number, arc) in self.arcs.iter().enumerate() {
            let Some(bit) = arc.features.iter().position(|known| known.name == feature) else { continue };
            let mask = mask_cell(self.masks, number, interface.0 as usize);
            if enabled {
                mask.fetch_or(1 << bit, Ordering::Relaxed);
            } else {
                mask.fetch_and(!(1 << bit), Ordering::Relaxed);
            }
            on.push(arc.name.as_str());
        }
        if on.is_empty() {
            crate::bail!("there is no feature `{feature}`");
        }
        Ok(on)
    }

    /// Whether the image under test has a feature of this name.
    pub(super) fn knows(&self, feature: &str) -> bool {
        self.arcs.iter().flat_map(|arc| &arc.features).any(|known| known.name == feature)
    }

    /// Takes all features off an interface.
    pub(super) fn clear(&self, interface: InterfaceIndex) {
        for number in 0..self.arcs.len() {
            mask_cell(self.masks, number, interface.0 as usize).store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn mask(&self, arc: u8, interface: InterfaceIndex) -> u64 {
        mask_cell(self.masks, usize::from(arc), interface.0 as usize).load(Ordering::Relaxed)
    }

    /// Names of the features that are on for an interface, in the order in which they run.
    pub(super) fn enabled(&self, arc: u8, interface: InterfaceIndex) -> Vec<String> {
        let mask = self.mask(arc, interface);
        let features = self.arcs[usize::from(arc)].features.iter().enumerate();
        features.filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, feature)| feature.name.clone()).collect()
    }

    /// The nodes of those features of the arc that are in `mask`, in the order in which they run.
    pub(super) fn nodes(&self, arc: u8, mask: u64) -> Vec<String> {
        let features = self.arcs[usize::from(arc)].features.iter().enumerate();
        features.filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, feature)| feature.node.clone()).collect()
    }

    /// The arc's table.
    pub(super) fn table(&self, arc: u8) -> &ArcTable {
        // SAFETY: the index was handed out by `add`; tables are written under `&mut self` only.
        unsafe { &*self.tables.add(usize::from(arc)) }
    }
}

/// The mask of an interface on an arc.
fn mask_cell<'a>(masks: *mut AtomicU64, arc: usize, interface: usize) -> &'a AtomicU64 {
    debug_assert!(arc < MAX_ARCS, "an arc of the harness");
    // SAFETY: `arc` is below `MAX_ARCS`, the remainder below `MAX_INTERFACES`: within the harness's masks, which are
    // there as long as its arcs are used.
    unsafe { &*masks.add(arc * MAX_INTERFACES + interface % MAX_INTERFACES) }
}
