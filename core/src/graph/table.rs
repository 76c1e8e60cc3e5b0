//! The table of nodes: names, arcs, errors, owners. Main thread only.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use raddle_plugin_api::abi::{NodeKind, NodeRegistration};

/// Nodes that a graph can have.
pub const MAX_NODES: usize = 1024;
/// Errors that all nodes can have together.
pub const MAX_ERRORS: usize = 8192;
/// The node that every graph starts with: it counts packets by reason, and gives them back.
pub const DROP_NODE: u16 = 0;
/// Index of `file-poll`.
pub const FILE_POLL_NODE: u16 = 1;
/// The reason of drops of packets for a node whose plugin is gone.
pub const GONE_ERROR: u16 = 1;
/// The reason of drops of packets in the hands of a node that failed.
pub const FAULT_ERROR: u16 = 2;

/// Who registered a node: 0 is the core, plugins count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(pub u32);

impl Owner {
    /// The core itself.
    pub const CORE: Self = Self(0);
}

/// A node of the graph.
#[derive(Clone)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// Who registered it.
    pub owner: Owner,
    /// When it runs.
    pub kind: NodeKind,
    /// Names of its nexts; slot 0 is `drop`.
    pub next_names: Vec<String>,
    /// The node behind each slot; shared with the threads, which read it as a plain array.
    pub nexts: Arc<[u16]>,
    /// Its first error in the global list.
    pub error_base: u32,
    /// Number of its errors.
    pub error_count: u32,
    /// What it registered.
    pub registration: NodeRegistration,
    /// `false` once its owner is gone: packets that still come are dropped, and the index waits for a node of this name.
    pub alive: bool,
}

/// A reason to drop packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorInfo {
    /// The node that drops.
    pub node: String,
    /// Name of the reason.
    pub name: String,
    /// What it means.
    pub text: String,
}

/// Why the graph cannot be as asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// The name is taken.
    #[error("node `{name}` exists already")]
    DuplicateNode {
        /// The name.
        name: String,
    },
    /// A next names no node.
    #[error("node `{node}` sends to node `{next}`, which does not exist")]
    MissingNext {
        /// The node.
        node: String,
        /// What it names.
        next: String,
    },
    /// The table is full.
    #[error("the graph has its {MAX_NODES} nodes already")]
    TooManyNodes,
    /// The list of errors is full.
    #[error("node `{node}` brings the number of errors above {MAX_ERRORS}")]
    TooManyErrors {
        /// The node.
        node: String,
    },
}

/// The graph on paper.
///
/// A name has one index for good, so whoever keeps an index (an arc, a table, a packet under way) finds the node of that
/// name behind it also when its plugin was loaded again or upgraded. A node is added in two steps: staged by
/// [`Graph::add`], when it is found by name already, and put in its place by [`Graph::commit`] while the workers stand.
#[derive(Default)]
pub struct Graph {
    nodes: Vec<NodeInfo>,
    /// Index of every name that ever was.
    places: HashMap<String, u16>,
    staged: BTreeMap<u16, NodeInfo>,
    errors: Vec<ErrorInfo>,
}

impl Graph {
    /// A graph whose first errors are the host's own. The first node added must be `drop`.
    pub fn new() -> Self {
        let own =
            |name: &str, text: &str| ErrorInfo { node: "drop".into(), name: name.into(), text: text.into() };
        let errors = vec![
            own("unspecified", "dropped without a reason"),
            own("plugin-gone", "sent to a node whose plugin is quarantined, disabled or unloaded"),
            own("plugin-fault", "in the hands of a node that panicked, or did not send its packets on"),
        ];
        debug_assert_eq!(errors.len(), usize::from(FAULT_ERROR) + 1);
        Self { errors, ..Self::default() }
    }

    /// Stages a node; its nexts are found later, by [`Graph::resolve_nodes`]. It may have the name of a node of the image
    /// that it `replaces`.
    ///
    /// # Errors
    /// Name taken, or a table full; nothing is added then.
    pub fn add(
        &mut self,
        owner: Owner,
        replaces: Option<Owner>,
        registration: NodeRegistration,
        names: NodeNames,
    ) -> Result<u16, GraphError> {
        let NodeNames { name, nexts, errors } = names;
        let place = self.places.get(&name).copied();
        if let Some(place) = place {
            let there = &self.nodes[usize::from(place)];
            if self.staged.contains_key(&place) || (there.alive && Some(there.owner) != replaces) {
                return Err(GraphError::DuplicateNode { name });
            }
        } else if self.nodes.len() >= MAX_NODES {
            return Err(GraphError::TooManyNodes);
        }
        let error_base = self.add_errors(&name, &errors)?;
        let info = NodeInfo {
            name: name.clone(),
            owner,
            kind: registration.kind,
            next_names: std::iter::once("drop".to_owned()).chain(nexts).collect(),
            nexts: Arc::new([]),
            error_base,
            error_count: errors.len() as u32,
            registration,
            alive: true,
        };
        let index = place.unwrap_or_else(|| {
            let index = self.nodes.len() as u16;
            self.places.insert(name, index);
            self.nodes.push(NodeInfo { alive: false, ..info.clone() });
            index
        });
        self.staged.insert(index, info);
        Ok(index)
    }

    /// The first of a node's errors. One that comes back with those that it once had finds them again, so that loading
    /// over and over uses up nothing.
    fn add_errors(&mut self, node: &str, errors: &[(String, String)]) -> Result<u32, GraphError> {
        let same = |known: &ErrorInfo, name: &String| known.node == node && known.name == *name;
        let known = (0..self.errors.len()).find(|&base| {
            self.errors[base..].len() >= errors.len()
                && self.errors[base..].iter().zip(errors).all(|(known, (name, _))| same(known, name))
        });
        if let Some(base) = known {
            return Ok(base as u32);
        }
        if self.errors.len() + errors.len() > MAX_ERRORS {
            return Err(GraphError::TooManyErrors { node: node.to_owned() });
        }
        let base = self.errors.len() as u32;
        self.errors.extend(errors.iter().map(|(name, text)| ErrorInfo {
            node: node.to_owned(),
            name: name.clone(),
            text: text.clone(),
        }));
        Ok(base)
    }

    /// Finds the nexts of these staged nodes, as the graph will be when the image that they `replaces` is gone.
    ///
    /// # Errors
    /// A next names no node.
    pub fn resolve_nodes(&mut self, nodes: &[u16], replaces: Option<Owner>) -> Result<(), GraphError> {
        for index in nodes {
            let Some(node) = self.staged.get(index) else { continue };
            let stays = |place: &u16| {
                let there = &self.nodes[usize::from(*place)];
                self.staged.contains_key(place) || (there.alive && Some(there.owner) != replaces)
            };
            let missing =
                |next: &String| GraphError::MissingNext { node: node.name.clone(), next: next.clone() };
            let find =
                |next: &String| self.places.get(next).copied().filter(stays).ok_or_else(|| missing(next));
            let nexts: Vec<u16> = node.next_names.iter().map(find).collect::<Result<_, _>>()?;
            if let Some(node) = self.staged.get_mut(index) {
                node.nexts = nexts.into();
            }
        }
        Ok(())
    }

    /// A node that is staged.
    pub fn staged(&self, index: u16) -> Option<&NodeInfo> {
        self.staged.get(&index)
    }

    /// Puts staged nodes in their places.
    pub fn commit(&mut self, nodes: &[u16]) {
        for index in nodes {
            if let Some(info) = self.staged.remove(index) {
                self.nodes[usize::from(*index)] = info;
            }
        }
    }

    /// Forgets the nodes that an owner has staged.
    pub fn unstage(&mut self, owner: Owner) {
        self.staged.retain(|_, node| node.owner != owner);
    }

    /// Marks the nodes of `owner` as gone.
    pub fn retire(&mut self, owner: Owner) -> Vec<u16> {
        let mut gone = Vec::new();
        let own = self.nodes.iter_mut().enumerate().filter(|(_, node)| node.owner == owner && node.alive);
        for (index, node) in own {
            node.alive = false;
            gone.push(index as u16);
        }
        gone
    }

    /// The nodes, by index.
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// The node with this name, one that is staged among them.
    pub fn find(&self, name: &str) -> Option<u16> {
        let place = self.places.get(name).copied()?;
        (self.nodes[usize::from(place)].alive || self.staged.contains_key(&place)).then_some(place)
    }

    /// Name of a node, for people.
    pub fn name(&self, index: u16) -> &str {
        self.nodes.get(usize::from(index)).map_or("?", |node| &node.name)
    }

    /// All errors, by index.
    pub fn errors(&self) -> &[ErrorInfo] {
        &self.errors
    }

    /// The nodes that send to `index`.
    pub fn previous(&self, index: u16) -> Vec<&str> {
        self.nodes
            .iter()
            .filter(|node| node.alive && node.nexts.contains(&index) && index != DROP_NODE)
            .map(|node| node.name.as_str())
            .collect()
    }
}

/// The names that a node registers.
#[derive(Clone, Debug, Default)]
pub struct NodeNames {
    /// Its own.
    pub name: String,
    /// Of its nexts, without `drop`.
    pub nexts: Vec<String>,
    /// Of its errors, with what they mean.
    pub errors: Vec<(String, String)>,
}

impl NodeNames {
    /// The names in a registration.
    ///
    /// # Safety
    /// The registration's texts are alive.
    pub unsafe fn of(registration: &NodeRegistration) -> Self {
        let own = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect::<Vec<_>>();
        // SAFETY: as the caller vouches.
        let (name, nexts, errors, mut texts) = unsafe {
            (
                registration.name.as_str().unwrap_or_default().to_owned(),
                own(registration.nexts.texts()),
                own(registration.errors.texts()),
                own(registration.error_texts.texts()),
            )
        };
        texts.resize(errors.len(), String::new());
        Self { name, nexts, errors: errors.into_iter().zip(texts).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{drop_node, gone_node};

    const ONE: Owner = Owner(1);
    const TWO: Owner = Owner(2);

    fn named(name: &str, nexts: &[&str], errors: &[&str]) -> NodeNames {
        NodeNames {
            name: name.to_owned(),
            nexts: nexts.iter().map(|&next| next.to_owned()).collect(),
            errors: errors.iter().map(|&error| (error.to_owned(), String::new())).collect(),
        }
    }

    fn graph() -> Graph {
        let mut graph = Graph::new();
        let drop = graph.add(Owner::CORE, None, drop_node(), named("drop", &[], &[])).expect("the first");
        graph.commit(&[drop]);
        graph
    }

    fn load(graph: &mut Graph, owner: Owner, replaces: Option<Owner>, names: NodeNames) -> u16 {
        let index = graph.add(owner, replaces, gone_node(), names).expect("a free name");
        graph.resolve_nodes(&[index], replaces).expect("its nexts are there");
        if let Some(old) = replaces {
            graph.retire(old);
        }
        graph.commit(&[index]);
        index
    }

    #[test]
    fn a_name_keeps_its_index_and_its_errors_over_loads() {
        let mut graph = graph();
        let first = load(&mut graph, ONE, None, named("a", &[], &["x", "y"]));
        assert_eq!(graph.retire(ONE), [first]);
        assert_eq!(graph.find("a"), None);
        let other = load(&mut graph, TWO, None, named("b", &[], &[]));
        assert_ne!(other, first);
        let base = graph.nodes()[usize::from(first)].error_base;
        let count = |graph: &Graph| graph.errors().len();
        let before = count(&graph);
        assert_eq!(load(&mut graph, Owner(3), None, named("a", &[], &["z"])), first);
        graph.retire(Owner(3));
        assert_eq!(load(&mut graph, Owner(4), None, named("a", &[], &["x", "y"])), first);
        assert_eq!((graph.nodes()[usize::from(first)].error_base, count(&graph)), (base, before + 1));
    }

    #[test]
    fn a_name_can_be_taken_over_only_from_the_image_that_is_replaced() {
        let mut graph = graph();
        let a = load(&mut graph, ONE, None, named("a", &[], &[]));
        let duplicate = graph.add(TWO, None, gone_node(), named("a", &[], &[]));
        assert_eq!(duplicate, Err(GraphError::DuplicateNode { name: "a".to_owned() }));
        assert_eq!(graph.add(TWO, Some(ONE), gone_node(), named("a", &["gone"], &[])), Ok(a));
        assert!(graph.resolve_nodes(&[a], Some(ONE)).is_err());
        graph.unstage(TWO);
        assert_eq!(graph.nodes()[usize::from(a)].owner, ONE, "the old node is as it was");
        assert_eq!(load(&mut graph, TWO, Some(ONE), named("a", &[], &[])), a);
        assert_eq!(graph.nodes()[usize::from(a)].owner, TWO);
    }

    #[test]
    fn a_next_that_goes_with_the_replaced_image_is_missing() {
        let mut graph = graph();
        load(&mut graph, ONE, None, named("a", &[], &[]));
        load(&mut graph, ONE, None, named("b", &[], &[]));
        let a = graph.add(TWO, Some(ONE), gone_node(), named("a", &["b"], &[])).expect("taken over");
        assert!(matches!(graph.resolve_nodes(&[a], Some(ONE)), Err(GraphError::MissingNext { .. })));
    }
}
