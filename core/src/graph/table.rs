//! The table of nodes: names, arcs, errors, owners. Main thread only.

use std::collections::HashMap;
use std::sync::Arc;

use raddle_plugin_api::abi::{NodeKind, NodeRegistration};

/// Nodes that a graph can have.
pub const MAX_NODES: usize = 1024;
/// Errors that all nodes can have together.
pub const MAX_ERRORS: usize = 8192;
/// The node that every graph starts with: it counts packets by reason, and gives them back.
pub const DROP_NODE: u16 = 0;

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
    /// `false` once its owner is gone: the index is not used again, packets that still come are dropped.
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
#[derive(Default)]
pub struct Graph {
    nodes: Vec<NodeInfo>,
    by_name: HashMap<String, u16>,
    errors: Vec<ErrorInfo>,
}

impl Graph {
    /// A graph whose first error is the one without a reason. The first node added must be `drop`.
    pub fn new() -> Self {
        let unspecified = ErrorInfo {
            node: "drop".into(),
            name: "unspecified".into(),
            text: "dropped without a reason".into(),
        };
        Self { errors: vec![unspecified], ..Self::default() }
    }

    /// Adds a node; its nexts are found later, by [`Graph::resolve_nodes`].
    ///
    /// # Errors
    /// Name taken, or a table full; nothing is added then.
    pub fn add(
        &mut self,
        owner: Owner,
        registration: NodeRegistration,
        names: NodeNames,
    ) -> Result<u16, GraphError> {
        let NodeNames { name, nexts, errors } = names;
        if self.by_name.contains_key(&name) {
            return Err(GraphError::DuplicateNode { name });
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(GraphError::TooManyNodes);
        }
        // A node that comes back under its name finds its old errors, so that loading again and again uses up nothing.
        let known = self.errors.iter().position(|error| error.node == name);
        let same = known.filter(|&base| {
            let old = self.errors[base..].iter().take_while(|error| error.node == name);
            old.map(|error| &error.name).eq(errors.iter().map(|(name, _)| name))
        });
        let error_base = same.unwrap_or(self.errors.len());
        if same.is_none() {
            if self.errors.len() + errors.len() > MAX_ERRORS {
                return Err(GraphError::TooManyErrors { node: name });
            }
            self.errors.extend(errors.iter().map(|(error, text)| ErrorInfo {
                node: name.clone(),
                name: error.clone(),
                text: text.clone(),
            }));
        }
        let index = self.nodes.len() as u16;
        self.by_name.insert(name.clone(), index);
        let next_names = std::iter::once("drop".to_owned()).chain(nexts).collect();
        self.nodes.push(NodeInfo {
            name,
            owner,
            kind: registration.kind,
            next_names,
            nexts: Arc::new([]),
            error_base: error_base as u32,
            error_count: errors.len() as u32,
            registration,
            alive: true,
        });
        Ok(index)
    }

    /// Finds the nexts of these nodes.
    ///
    /// # Errors
    /// A next names no node.
    pub fn resolve_nodes(&mut self, nodes: &[u16]) -> Result<(), GraphError> {
        for &index in nodes {
            let node = &self.nodes[usize::from(index)];
            let missing =
                |next: &String| GraphError::MissingNext { node: node.name.clone(), next: next.clone() };
            let find = |next: &String| self.by_name.get(next).copied().ok_or_else(|| missing(next));
            let nexts: Result<Vec<u16>, _> = node.next_names.iter().map(find).collect();
            self.nodes[usize::from(index)].nexts = nexts?.into();
        }
        Ok(())
    }

    /// Marks the nodes of `owner` as gone and frees their names.
    pub fn retire(&mut self, owner: Owner) -> Vec<u16> {
        let mut gone = Vec::new();
        for (index, node) in
            self.nodes.iter_mut().enumerate().filter(|(_, node)| node.owner == owner && node.alive)
        {
            node.alive = false;
            self.by_name.remove(&node.name);
            gone.push(index as u16);
        }
        gone
    }

    /// The nodes, by index.
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// The node with this name.
    pub fn find(&self, name: &str) -> Option<u16> {
        self.by_name.get(name).copied()
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
