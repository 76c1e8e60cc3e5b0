//! The arcs as the main thread keeps them, and the tables that the workers read.

use std::sync::atomic::{AtomicU64, Ordering};

use raddle_plugin_api::abi::{ArcTable, FEATURES_PER_ARC, InterfaceRow, MAX_ARCS, MAX_INTERFACES};

use crate::graph::{DROP_NODE, Graph, OrderError, Ordered, Owner, order};

/// The arc whose features each interface's row carries too, so that output reads one line.
const OUTPUT_ARC: &str = "interface-output";

/// Why an arc cannot be as asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    /// No arc of this name.
    #[error("feature `{feature}` is for the arc `{arc}`, which does not exist")]
    UnknownArc {
        /// The feature.
        feature: String,
        /// What it names.
        arc: String,
    },
    /// No feature of this name.
    #[error("there is no feature `{feature}`{}", nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    UnknownFeature {
        /// What was asked for.
        feature: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// The arc's end, or a feature's node, is not in the graph.
    #[error("arc `{arc}` names node `{node}`, which does not exist")]
    MissingNode {
        /// The arc.
        arc: String,
        /// What it names.
        node: String,
    },
    /// The arc is there already.
    #[error("arc `{0}` exists already")]
    DuplicateArc(String),
    /// All arcs are in use.
    #[error("there are {MAX_ARCS} feature arcs already")]
    TooManyArcs,
    /// The arc is full.
    #[error("arc `{0}` has its {FEATURES_PER_ARC} features already")]
    TooManyFeatures(String),
    /// The features cannot be ordered.
    #[error("features of arc `{arc}`: {source}")]
    Order {
        /// The arc.
        arc: String,
        /// Why.
        source: OrderError,
    },
}

/// A feature of an arc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name, by which it is switched on.
    pub name: String,
    /// Its node.
    pub node: String,
    /// Who registered it.
    pub owner: Owner,
    /// Features that come later.
    pub runs_before: Vec<String>,
    /// Features that come earlier.
    pub runs_after: Vec<String>,
    /// Whether packets are dropped when its plugin fails, rather than passed on.
    pub fail_closed: bool,
}

struct Arc {
    name: String,
    end: String,
    owner: Owner,
    /// In the order in which they run: position is bit.
    features: Vec<Feature>,
    masks: Box<[AtomicU64]>,
}

/// All arcs.
pub struct FeatureArcs {
    arcs: Vec<Arc>,
    tables: Box<[ArcTable]>,
    nothing: Box<[AtomicU64]>,
}

// SAFETY: the tables' pointers are to the arcs' own masks, which move with them (boxed) and are atomics.
unsafe impl Send for FeatureArcs {}

fn masks() -> Box<[AtomicU64]> {
    (0..MAX_INTERFACES).map(|_| AtomicU64::new(0)).collect()
}

impl Default for FeatureArcs {
    fn default() -> Self {
        let nothing = masks();
        let empty = || ArcTable {
            masks: nothing.as_ptr(),
            end_node: DROP_NODE,
            epoch: 0,
            reserved: [0; 5],
            nodes: [DROP_NODE; FEATURES_PER_ARC],
        };
        Self { arcs: Vec::new(), tables: (0..MAX_ARCS).map(|_| empty()).collect(), nothing }
    }
}

impl FeatureArcs {
    /// The tables, [`MAX_ARCS`] of them, at an address that stays.
    pub fn tables(&self) -> *const ArcTable {
        self.tables.as_ptr()
    }

    /// Adds an arc that ends at node `end`.
    ///
    /// # Errors
    /// The name is taken, or there are too many.
    pub fn add_arc(&mut self, owner: Owner, name: &str, end: &str) -> Result<(), FeatureError> {
        if self.find_arc(name).is_some() {
            return Err(FeatureError::DuplicateArc(name.to_owned()));
        }
        if self.arcs.len() >= MAX_ARCS {
            return Err(FeatureError::TooManyArcs);
        }
        let (name, end) = (name.to_owned(), end.to_owned());
        self.arcs.push(Arc { name, end, owner, features: Vec::new(), masks: masks() });
        Ok(())
    }

    /// Number of the arc with this name.
    pub fn find_arc(&self, name: &str) -> Option<usize> {
        self.arcs.iter().position(|arc| arc.name == name)
    }

    /// Adds features to their arcs. What the workers see changes by [`FeatureArcs::publish`].
    ///
    /// # Errors
    /// An arc is not there or full, or its features cannot be ordered: nothing is added then.
    pub fn add_features(&mut self, features: Vec<(String, Feature)>) -> Result<(), FeatureError> {
        let mut lists: Vec<Vec<Feature>> = self.arcs.iter().map(|arc| arc.features.clone()).collect();
        for (arc, feature) in features {
            let Some(index) = self.find_arc(&arc) else {
                return Err(FeatureError::UnknownArc { feature: feature.name, arc });
            };
            lists[index].push(feature);
        }
        for (arc, list) in self.arcs.iter().zip(&mut lists) {
            if list.len() > FEATURES_PER_ARC {
                return Err(FeatureError::TooManyFeatures(arc.name.clone()));
            }
            let items = std::mem::take(list).into_iter().map(|feature| Ordered {
                name: feature.name.clone(),
                runs_before: feature.runs_before.clone(),
                runs_after: feature.runs_after.clone(),
                item: feature,
            });
            let ordered = order(items.collect())
                .map_err(|source| FeatureError::Order { arc: arc.name.clone(), source })?;
            *list = ordered.into_iter().map(|ordered| ordered.item).collect();
        }
        for (arc, list) in self.arcs.iter_mut().zip(lists) {
            renumber(arc, list);
        }
        Ok(())
    }

    /// Takes the arcs and features of `owner` away.
    pub fn remove(&mut self, owner: Owner) {
        for arc in &mut self.arcs {
            let left = arc.features.iter().filter(|feature| feature.owner != owner).cloned().collect();
            renumber(arc, left);
        }
    }

    /// Switches off the features of an owner that failed. Those that are to fail closed stay on: their nodes drop.
    pub fn quarantine(&self, owner: Owner, rows: &[InterfaceRow]) {
        for arc in &self.arcs {
            let open = |feature: &Feature| feature.owner == owner && !feature.fail_closed;
            let off = (arc.features.iter().enumerate())
                .filter(|(_, feature)| open(feature))
                .fold(0_u64, |off, (bit, _)| off | 1 << bit);
            for mask in &arc.masks {
                mask.fetch_and(!off, Ordering::Relaxed);
            }
        }
        self.mirror_output(rows);
    }

    /// Puts what was added or removed into the tables. Only while the workers stand.
    ///
    /// # Errors
    /// A node is not in the graph; the tables are then as they were.
    pub fn publish(&mut self, graph: &Graph, rows: &[InterfaceRow]) -> Result<(), FeatureError> {
        let mut tables = Vec::with_capacity(self.arcs.len());
        for arc in &self.arcs {
            let find = |node: &str| {
                graph
                    .find(node)
                    .ok_or_else(|| FeatureError::MissingNode { arc: arc.name.clone(), node: node.to_owned() })
            };
            let mut nodes = [DROP_NODE; FEATURES_PER_ARC];
            for (slot, feature) in nodes.iter_mut().zip(&arc.features) {
                *slot = find(&feature.node)?;
            }
            tables.push((find(&arc.end)?, nodes));
        }
        for ((arc, table), (end_node, nodes)) in self.arcs.iter().zip(&mut self.tables).zip(tables) {
            let changed = table.nodes != nodes;
            table.masks = arc.masks.as_ptr();
            table.end_node = end_node;
            table.nodes = nodes;
            table.epoch = table.epoch.wrapping_add(u8::from(changed));
        }
        debug_assert!(self.nothing.iter().all(|mask| mask.load(Ordering::Relaxed) == 0));
        self.mirror_output(rows);
        Ok(())
    }

    /// Switches a feature on or off on an interface, on every arc that has one of this name.
    ///
    /// # Errors
    /// No arc has one.
    pub fn set(
        &self,
        rows: &[InterfaceRow],
        interface: u32,
        feature: &str,
        enabled: bool,
    ) -> Result<(), FeatureError> {
        let mut found = false;
        for arc in &self.arcs {
            let Some(bit) = arc.features.iter().position(|known| known.name == feature) else { continue };
            found = true;
            let mask = &arc.masks[interface as usize % MAX_INTERFACES];
            if enabled {
                mask.fetch_or(1 << bit, Ordering::Relaxed);
            } else {
                mask.fetch_and(!(1 << bit), Ordering::Relaxed);
            }
        }
        if !found {
            let names = self.arcs.iter().flat_map(|arc| &arc.features).map(|feature| feature.name.as_str());
            let nearest = raddle_plugin_api::config::nearest(feature, names).map(str::to_owned);
            return Err(FeatureError::UnknownFeature { feature: feature.to_owned(), nearest });
        }
        self.mirror_output(rows);
        Ok(())
    }

    /// Switches all features off on an interface that goes.
    pub fn clear(&self, rows: &[InterfaceRow], interface: u32) {
        for arc in &self.arcs {
            arc.masks[interface as usize % MAX_INTERFACES].store(0, Ordering::Relaxed);
        }
        self.mirror_output(rows);
    }

    fn mirror_output(&self, rows: &[InterfaceRow]) {
        let Some(arc) = self.arcs.iter().find(|arc| arc.name == OUTPUT_ARC) else { return };
        for (row, mask) in rows.iter().zip(&arc.masks) {
            let mask = mask.load(Ordering::Relaxed);
            if row.output_features.load(Ordering::Relaxed) != mask {
                row.output_features.store(mask, Ordering::Relaxed);
            }
        }
    }

    /// Each arc's name, its end, and its features in order.
    pub fn list(&self) -> impl Iterator<Item = (&str, &str, &[Feature])> {
        self.arcs.iter().map(|arc| (arc.name.as_str(), arc.end.as_str(), arc.features.as_slice()))
    }

    /// Names of the features that are on for an interface, by arc.
    pub fn enabled(&self, interface: u32) -> Vec<(&str, Vec<&str>)> {
        self.arcs
            .iter()
            .map(|arc| {
                let mask = arc.masks[interface as usize % MAX_INTERFACES].load(Ordering::Relaxed);
                let on = arc.features.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
                (arc.name.as_str(), on.map(|(_, feature)| feature.name.as_str()).collect())
            })
            .collect()
    }

    /// Owners of arcs: which one an arc belongs to.
    pub fn arc_owner(&self, name: &str) -> Option<Owner> {
        self.arcs.iter().find(|arc| arc.name == name).map(|arc| arc.owner)
    }
}

/// Gives an arc another list of features, and moves the bits of those that stay to their new places.
fn renumber(arc: &mut Arc, features: Vec<Feature>) {
    let places: Vec<Option<usize>> =
        arc.features.iter().map(|old| features.iter().position(|new| new.name == old.name)).collect();
    if places.iter().enumerate().any(|(old, &new)| new != Some(old)) {
        for mask in &arc.masks {
            let old = mask.load(Ordering::Relaxed);
            let new = places.iter().enumerate().filter(|(bit, _)| old >> bit & 1 == 1);
            let new = new.filter_map(|(_, &place)| place).fold(0_u64, |new, place| new | 1 << place);
            mask.store(new, Ordering::Relaxed);
        }
    }
    arc.features = features;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(name: &str, after: &[&str]) -> (String, Feature) {
        let feature = Feature {
            name: name.to_owned(),
            node: format!("{name}-node"),
            owner: Owner(1),
            runs_before: Vec::new(),
            runs_after: after.iter().map(|&name| name.to_owned()).collect(),
            fail_closed: name == "guard",
        };
        ("arc".to_owned(), feature)
    }

    fn arcs() -> FeatureArcs {
        let mut arcs = FeatureArcs::default();
        arcs.add_arc(Owner::CORE, "arc", "end").expect("a new arc");
        arcs
    }

    #[test]
    fn a_feature_that_comes_between_moves_the_bits_of_those_behind() {
        let mut arcs = arcs();
        arcs.add_features(vec![feature("a", &[]), feature("z", &["m"])]).expect("in order");
        arcs.set(&[], 3, "z", true).expect("known");
        arcs.add_features(vec![feature("m", &["a"])]).expect("in order");
        assert_eq!(arcs.enabled(3), [("arc", vec!["z"])]);
        arcs.set(&[], 3, "m", true).expect("known");
        assert_eq!(arcs.enabled(3), [("arc", vec!["m", "z"])]);
        assert_eq!(arcs.enabled(4), [("arc", vec![])]);
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        let mut arcs = arcs();
        arcs.add_features(vec![feature("flow-count", &[])]).expect("in order");
        let error = arcs.set(&[], 0, "flow-cuont", true).expect_err("unknown");
        assert!(error.to_string().ends_with("did you mean `flow-count`?"), "{error}");
        let mut elsewhere = feature("x", &[]);
        elsewhere.0 = "ghost".to_owned();
        assert!(matches!(arcs.add_features(vec![elsewhere]), Err(FeatureError::UnknownArc { .. })));
    }

    #[test]
    fn a_failed_owner_keeps_only_what_fails_closed() {
        let mut arcs = arcs();
        arcs.add_features(vec![feature("guard", &[]), feature("count", &[])]).expect("in order");
        for name in ["guard", "count"] {
            arcs.set(&[], 0, name, true).expect("known");
        }
        arcs.quarantine(Owner(1), &[]);
        assert_eq!(arcs.enabled(0), [("arc", vec!["guard"])]);
    }

    #[test]
    fn nothing_is_added_when_one_of_several_does_not_fit() {
        let mut arcs = arcs();
        let circular = vec![feature("a", &["b"]), feature("b", &["a"])];
        assert!(matches!(arcs.add_features(circular), Err(FeatureError::Order { .. })));
        assert!(arcs.list().all(|(_, _, features)| features.is_empty()));
    }
}
