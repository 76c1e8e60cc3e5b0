//! The arcs as the main thread keeps them, and the tables that the workers read.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

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
    /// `false` once its owner is gone: its number waits for an arc of this name.
    alive: bool,
    /// In the order in which they run: position is bit, as soon as the masks were moved.
    features: Vec<Feature>,
    /// Names of the features whose bits the masks have, in their order.
    placed: Vec<String>,
    masks: Box<[AtomicU64]>,
}

impl Arc {
    /// Where each bit of the masks goes; `None` if all stay.
    fn moves(&self) -> Option<Vec<Option<usize>>> {
        let place = |old: &String| self.features.iter().position(|new| new.name == *old);
        let places: Vec<Option<usize>> = self.placed.iter().map(place).collect();
        let stay = places.iter().enumerate().all(|(old, &new)| new == Some(old));
        (!stay || places.len() != self.features.len()).then_some(places)
    }
}

/// What changes for the workers, made ready while they run.
pub struct Prepared {
    /// Of each arc: where it ends, and its features' nodes.
    tables: Vec<(u16, [u16; FEATURES_PER_ARC])>,
    moves: Vec<Move>,
}

/// Of an arc whose features have other places.
struct Move {
    arc: usize,
    /// Where each bit goes, if anywhere.
    places: Vec<Option<usize>>,
    /// The names in their new order; once moved, in the old one.
    names: Vec<String>,
}

/// All arcs.
pub struct FeatureArcs {
    arcs: Vec<Arc>,
    tables: Box<[ArcTable]>,
    nothing: Box<[AtomicU64]>,
    /// Interfaces from this one on have never had a feature.
    reach: AtomicUsize,
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
        Self {
            arcs: Vec::new(),
            tables: (0..MAX_ARCS).map(|_| empty()).collect(),
            nothing,
            reach: AtomicUsize::new(0),
        }
    }
}

impl FeatureArcs {
    /// The tables, [`MAX_ARCS`] of them, at an address that stays.
    pub fn tables(&self) -> *const ArcTable {
        self.tables.as_ptr()
    }

    /// Adds an arc that ends at node `end`. One of this name that is gone gets its number back; one of the image that
    /// `owner` `replaces` stays that image's until [`FeatureArcs::change`].
    ///
    /// # Errors
    /// The name is taken, or there are too many.
    pub fn add_arc(
        &mut self,
        owner: Owner,
        replaces: Option<Owner>,
        name: &str,
        end: &str,
    ) -> Result<(), FeatureError> {
        if let Some(arc) = self.arcs.iter_mut().find(|arc| arc.name == name) {
            if arc.alive && Some(arc.owner) != replaces {
                return Err(FeatureError::DuplicateArc(name.to_owned()));
            }
            if !arc.alive {
                (arc.alive, arc.owner, arc.end) = (true, owner, end.to_owned());
            }
            return Ok(());
        }
        if self.arcs.len() >= MAX_ARCS {
            return Err(FeatureError::TooManyArcs);
        }
        let (name, end) = (name.to_owned(), end.to_owned());
        let (features, placed) = (Vec::new(), Vec::new());
        self.arcs.push(Arc { name, end, owner, alive: true, features, placed, masks: masks() });
        Ok(())
    }

    /// Number of the arc with this name.
    pub fn find_arc(&self, name: &str) -> Option<usize> {
        self.arcs.iter().position(|arc| arc.alive && arc.name == name)
    }

    /// Puts features in the place of those of the image that is replaced. A feature that comes back under its name is on
    /// where it was on. All changes by [`FeatureArcs::put`], without which nothing may be asked.
    ///
    /// # Errors
    /// An arc is not there or full, or its features cannot be ordered: nothing has changed then.
    pub fn change(
        &mut self,
        replaces: Option<Owner>,
        features: Vec<(String, Feature)>,
    ) -> Result<(), FeatureError> {
        let stay = |arc: &Arc| {
            let stay = arc.features.iter().filter(|feature| Some(feature.owner) != replaces);
            stay.cloned().collect()
        };
        let mut lists: Vec<Vec<Feature>> = self.arcs.iter().map(stay).collect();
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
            arc.features = list;
        }
        Ok(())
    }

    /// Gives arcs of the image that is replaced to `owner`, with their new ends; the others of it go.
    pub fn take_over(&mut self, owner: Owner, replaces: Owner, arcs: &[(String, String)]) {
        for arc in self.arcs.iter_mut().filter(|arc| arc.alive && arc.owner == replaces) {
            match arcs.iter().find(|(name, _)| *name == arc.name) {
                Some((_, end)) => (arc.owner, arc.end) = (owner, end.clone()),
                None => arc.alive = false,
            }
        }
    }

    /// Takes the arcs and features of `owner` away, as [`FeatureArcs::change`] does.
    pub fn remove(&mut self, owner: Owner) {
        for arc in &mut self.arcs {
            arc.features.retain(|feature| feature.owner != owner);
            arc.alive &= arc.owner != owner;
        }
    }

    /// Masks of the interfaces that may have features.
    fn reached<'a>(&self, arc: &'a Arc) -> &'a [AtomicU64] {
        &arc.masks[..self.reach.load(Ordering::Relaxed)]
    }

    /// Features of other owners that stand on arcs of `owner`: feature and arc.
    pub fn guests(&self, owner: Owner) -> Vec<(&Feature, &str)> {
        let own = self.arcs.iter().filter(|arc| arc.alive && arc.owner == owner);
        own.flat_map(|arc| arc.features.iter().map(|feature| (feature, arc.name.as_str())))
            .filter(|(feature, _)| feature.owner != owner)
            .collect()
    }

    /// Interfaces on which a feature of `owner` is on, and its name.
    pub fn in_use(&self, owner: Owner) -> Vec<(u32, &str)> {
        let mut found = Vec::new();
        for arc in self.arcs.iter().filter(|arc| arc.features.iter().any(|feature| feature.owner == owner)) {
            for (interface, mask) in self.reached(arc).iter().enumerate() {
                let mask = mask.load(Ordering::Relaxed);
                let on = arc.features.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
                let own = on.filter(|(_, feature)| feature.owner == owner);
                found.extend(own.map(|(_, feature)| (interface as u32, feature.name.as_str())));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether a feature is of this owner, and is to drop rather than to be passed by when its owner fails.
    pub fn fails_closed(&self, owner: Owner, name: &str) -> bool {
        let mut features = self.arcs.iter().flat_map(|arc| &arc.features);
        features.any(|feature| feature.owner == owner && feature.name == name && feature.fail_closed)
    }

    /// Switches off the features of an owner that failed. Those that are to fail closed stay on: their nodes drop.
    pub fn quarantine(&self, owner: Owner, rows: &[InterfaceRow]) {
        for arc in &self.arcs {
            let open = |feature: &Feature| feature.owner == owner && !feature.fail_closed;
            let off = (arc.features.iter().enumerate())
                .filter(|(_, feature)| open(feature))
                .fold(0_u64, |off, (bit, _)| off | 1 << bit);
            for mask in self.reached(arc) {
                mask.fetch_and(!off, Ordering::Relaxed);
            }
        }
        self.mirror_output(rows);
    }

    /// Makes ready what was added or removed, while the workers run.
    ///
    /// # Errors
    /// A node is not in the graph.
    pub fn prepare(&self, graph: &Graph) -> Result<Prepared, FeatureError> {
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
            tables.push((if arc.alive { find(&arc.end)? } else { DROP_NODE }, nodes));
        }
        Ok(Prepared { tables, moves: self.moves() })
    }

    /// What leaves the tables as they are; bits still go to their places.
    pub fn prepare_nothing(&self) -> Prepared {
        Prepared { tables: Vec::new(), moves: self.moves() }
    }

    fn moves(&self) -> Vec<Move> {
        let names = |arc: &Arc| arc.features.iter().map(|feature| feature.name.clone()).collect();
        let moved =
            |(index, arc): (usize, &Arc)| Some(Move { arc: index, places: arc.moves()?, names: names(arc) });
        self.arcs.iter().enumerate().filter_map(moved).collect()
    }

    /// Puts what was made ready into the tables. Only while the workers stand: nothing is looked up here or allocated.
    pub fn put(&mut self, prepared: &mut Prepared, rows: &[InterfaceRow]) {
        for ((arc, table), (end_node, nodes)) in self.arcs.iter().zip(&mut self.tables).zip(&prepared.tables)
        {
            let changed = table.nodes != *nodes;
            table.masks = arc.masks.as_ptr();
            table.end_node = *end_node;
            table.nodes = *nodes;
            table.epoch = table.epoch.wrapping_add(u8::from(changed));
        }
        self.move_masks(&mut prepared.moves);
        if prepared.moves.iter().any(|moved| self.arcs[moved.arc].name == OUTPUT_ARC) {
            self.mirror_output(rows);
        }
        debug_assert!(self.nothing.iter().all(|mask| mask.load(Ordering::Relaxed) == 0));
    }

    /// Moves the bits of features to their new places.
    fn move_masks(&mut self, moves: &mut [Move]) {
        for Move { arc, places, names } in moves {
            for mask in self.reached(&self.arcs[*arc]) {
                let old = mask.load(Ordering::Relaxed);
                let new = places.iter().enumerate().filter(|(bit, _)| old >> bit & 1 == 1);
                let new = new.filter_map(|(_, &place)| place).fold(0_u64, |new, place| new | 1 << place);
                mask.store(new, Ordering::Relaxed);
            }
            std::mem::swap(&mut self.arcs[*arc].placed, names);
        }
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
            let interface = interface as usize % MAX_INTERFACES;
            self.reach.fetch_max(interface + 1, Ordering::Relaxed);
            let mask = &arc.masks[interface];
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
        for (row, mask) in rows.iter().zip(self.reached(arc)) {
            let mask = mask.load(Ordering::Relaxed);
            if row.output_features.load(Ordering::Relaxed) != mask {
                row.output_features.store(mask, Ordering::Relaxed);
            }
        }
    }

    /// Each arc's name, its end, and its features in order.
    pub fn list(&self) -> impl Iterator<Item = (&str, &str, &[Feature])> {
        let alive = self.arcs.iter().filter(|arc| arc.alive);
        alive.map(|arc| (arc.name.as_str(), arc.end.as_str(), arc.features.as_slice()))
    }

    /// Names of the features that are on for an interface, by arc.
    pub fn enabled(&self, interface: u32) -> Vec<(&str, Vec<&str>)> {
        self.arcs
            .iter()
            .filter(|arc| arc.alive)
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

    /// Changes features, as the workers see it in the end.
    fn change(
        arcs: &mut FeatureArcs,
        replaces: Option<Owner>,
        features: Vec<(String, Feature)>,
    ) -> Result<(), FeatureError> {
        arcs.change(replaces, features)?;
        let mut moves = arcs.moves();
        arcs.move_masks(&mut moves);
        Ok(())
    }

    fn add(arcs: &mut FeatureArcs, features: Vec<(String, Feature)>) -> Result<(), FeatureError> {
        change(arcs, None, features)
    }

    fn arcs() -> FeatureArcs {
        let mut arcs = FeatureArcs::default();
        arcs.add_arc(Owner::CORE, None, "arc", "end").expect("a new arc");
        arcs
    }

    #[test]
    fn a_feature_that_comes_between_moves_the_bits_of_those_behind() {
        let mut arcs = arcs();
        add(&mut arcs, vec![feature("a", &[]), feature("z", &["m"])]).expect("in order");
        arcs.set(&[], 3, "z", true).expect("known");
        add(&mut arcs, vec![feature("m", &["a"])]).expect("in order");
        assert_eq!(arcs.enabled(3), [("arc", vec!["z"])]);
        arcs.set(&[], 3, "m", true).expect("known");
        assert_eq!(arcs.enabled(3), [("arc", vec!["m", "z"])]);
        assert_eq!(arcs.enabled(4), [("arc", vec![])]);
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        let mut arcs = arcs();
        add(&mut arcs, vec![feature("flow-count", &[])]).expect("in order");
        let error = arcs.set(&[], 0, "flow-cuont", true).expect_err("unknown");
        assert!(error.to_string().ends_with("did you mean `flow-count`?"), "{error}");
        let mut elsewhere = feature("x", &[]);
        elsewhere.0 = "ghost".to_owned();
        assert!(matches!(add(&mut arcs, vec![elsewhere]), Err(FeatureError::UnknownArc { .. })));
    }

    #[test]
    fn a_failed_owner_keeps_only_what_fails_closed() {
        let mut arcs = arcs();
        add(&mut arcs, vec![feature("guard", &[]), feature("count", &[])]).expect("in order");
        for name in ["guard", "count"] {
            arcs.set(&[], 0, name, true).expect("known");
        }
        arcs.quarantine(Owner(1), &[]);
        assert_eq!(arcs.enabled(0), [("arc", vec!["guard"])]);
    }

    #[test]
    fn a_feature_that_is_replaced_is_on_where_it_was_on() {
        let mut arcs = arcs();
        add(&mut arcs, vec![feature("a", &[]), feature("old", &[])]).expect("in order");
        for name in ["a", "old"] {
            arcs.set(&[], 3, name, true).expect("known");
        }
        let of = |owner: Owner, (arc, new): (String, Feature)| (arc, Feature { owner, ..new });
        let circular = vec![of(Owner(2), feature("a", &["b"])), of(Owner(2), feature("b", &["a"]))];
        assert!(change(&mut arcs, Some(Owner(1)), circular).is_err());
        assert_eq!(arcs.enabled(3), [("arc", vec!["a", "old"])], "a failed change changes nothing");
        change(
            &mut arcs,
            Some(Owner(1)),
            vec![of(Owner(2), feature("0-new", &[])), of(Owner(2), feature("a", &["0-new"]))],
        )
        .expect("in order");
        assert_eq!(arcs.enabled(3), [("arc", vec!["a"])]);
        assert_eq!((arcs.in_use(Owner(2)), arcs.in_use(Owner(1))), (vec![(3, "a")], vec![]));
    }

    #[test]
    fn an_arc_that_comes_back_has_its_number() {
        let mut arcs = arcs();
        arcs.add_arc(Owner(1), None, "own", "here").expect("a new arc");
        arcs.add_arc(Owner(2), None, "other", "there").expect("a new arc");
        let number = arcs.find_arc("own");
        let mut guest = feature("guest", &[]);
        (guest.0, guest.1.owner) = ("own".to_owned(), Owner(2));
        add(&mut arcs, vec![guest]).expect("in order");
        assert_eq!(arcs.guests(Owner(1)).len(), 1);
        arcs.remove(Owner(2));
        arcs.remove(Owner(1));
        assert_eq!((arcs.find_arc("own"), arcs.list().count()), (None, 1));
        arcs.add_arc(Owner(3), None, "own", "elsewhere").expect("free again");
        assert_eq!(arcs.find_arc("own"), number);
        arcs.add_arc(Owner(4), Some(Owner(3)), "own", "home").expect("replaced");
        arcs.take_over(Owner(4), Owner(3), &[("own".to_owned(), "home".to_owned())]);
        assert_eq!((arcs.find_arc("own"), arcs.arc_owner("own")), (number, Some(Owner(4))));
    }

    #[test]
    fn nothing_is_added_when_one_of_several_does_not_fit() {
        let mut arcs = arcs();
        let circular = vec![feature("a", &["b"]), feature("b", &["a"])];
        assert!(matches!(add(&mut arcs, circular), Err(FeatureError::Order { .. })));
        assert!(arcs.list().all(|(_, _, features)| features.is_empty()));
    }
}
