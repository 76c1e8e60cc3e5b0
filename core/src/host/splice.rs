//! The nodes and features of images, into the graph behind the barrier.

use raddle_plugin_api::abi::{FeatureRegistration, Sink, sink_into};
use raddle_plugin_api::failure;

use super::bring_in::{Entry, arcs_of};
use super::engine::Engine;
use super::images::{elements, text, texts};
use crate::crash;
use crate::feature::Feature;
use crate::graph::{DROP_NODE, FILE_POLL_NODE, Graph, Owner};
use crate::runtime::{NodeSlot, Threads, drop_node, file_poll_node, gone_node};

impl Engine {
    /// Resolves nexts and makes the nodes' states for each thread.
    pub(super) fn make_nodes(&self, entries: &mut [Entry]) {
        let threads = self.threads.borrow().count() as u32;
        for entry in entries.iter_mut().filter(|entry| entry.failure.is_none()) {
            if let Err(error) = self.graph.borrow_mut().resolve_nodes(&entry.nodes, entry.replaces) {
                entry.failure = Some(error.into());
                continue;
            }
            for &index in &entry.nodes.clone() {
                let Some(info) = self.graph.borrow().staged(index).cloned() else { continue };
                for thread in 0..threads {
                    let instance = entry.instance;
                    let (state, error) = self.enter(entry.owner, "create of a node", || {
                        // SAFETY: as in `run_inits`.
                        sink_into(|sink| unsafe { (info.registration.create)(instance, thread, sink) })
                    });
                    if state.is_null() {
                        entry.failure = Some(failure!("node `{}`: {error}", info.name));
                        break;
                    }
                    // SAFETY: the state was just made for this thread.
                    let slot = unsafe { NodeSlot::new(&info, index, state) };
                    self.made.borrow_mut().push((index, thread, slot));
                }
                if entry.failure.is_some() {
                    break;
                }
            }
        }
        self.fail_dependents(entries);
    }

    /// Puts the nodes into the threads and the features into the arcs, behind the barrier. What an image replaces goes
    /// out at the same moment. All is looked up and made before, and dropped afterwards, so that the workers stand for no
    /// more than the swap.
    pub(super) fn splice(&self, entries: &mut [Entry]) {
        let cause = if entries.iter().any(|entry| entry.replaces.is_some()) { "upgrade" } else { "splice" };
        let mut threads = self.threads.borrow_mut();
        let mut features = self.features.borrow_mut();
        let mut graph = self.graph.borrow_mut();
        let mut labels = Vec::new();
        let mut out = Vec::new();
        for entry in entries.iter_mut().filter(|entry| entry.failure.is_none()) {
            let list = elements::<FeatureRegistration>(&entry.parts.registrations.features);
            let list: Vec<_> = list.iter().map(|feature| named_feature(entry.owner, feature)).collect();
            let arcs = arcs_of(&entry.parts.registrations);
            let places = list.iter().map(|(arc, feature)| (arc, &feature.node));
            let places = places.chain(arcs.iter().map(|(arc, end)| (arc, end)));
            let mut missing = places.filter(|(_, node)| graph.find(node).is_none());
            if let Some((arc, node)) = missing.next() {
                entry.failure = Some(failure!("arc `{arc}` names node `{node}`, which does not exist"));
                continue;
            }
            if let Err(error) = features.change(entry.replaces, list) {
                entry.failure = Some(error.into());
                continue;
            }
            if let Some(old) = entry.replaces {
                features.take_over(entry.owner, old, &arcs);
                out.extend(graph.retire(old));
            }
            graph.commit(&entry.nodes);
            if let Some(label) = self.owner_labels.borrow().get(&entry.owner) {
                let nodes = entry.nodes.iter();
                labels.extend(nodes.map(|&node| (node, crash::make_label(graph.name(node), label))));
            }
        }
        let (mut slots, mut old) = self.slots_to_put(entries, &threads, &graph, &out);
        old.reserve(slots.len());
        let mut prepared = features.prepare(&graph).unwrap_or_else(|error| {
            // All names were looked up above: what is missing was taken away by somebody else before.
            tracing::error!("{error}");
            features.prepare_nothing()
        });
        let rows = self.interfaces.borrow();
        let mut held = threads.hold(cause);
        for (node, label) in labels {
            crash::set_label(node, label);
        }
        for (thread, slot) in slots.drain(..) {
            old.extend(held.thread(thread).put_node(slot));
        }
        features.put(&mut prepared, rows.rows());
        drop(held);
        drop((threads, features, graph, rows));
        // States of nodes that did not make it, or have had their time, are dropped here, with nothing borrowed.
        drop(old);
    }

    /// The slots that are put in, in an order in which each place is there when it is due: those that were made, those of
    /// nodes that go and do not come back, and what stands in new places whose nodes did not make it. And those that were
    /// made in vain.
    fn slots_to_put(
        &self,
        entries: &[Entry],
        threads: &Threads,
        graph: &Graph,
        out: &[u16],
    ) -> (Vec<(usize, NodeSlot)>, Vec<NodeSlot>) {
        let made = std::mem::take(&mut *self.made.borrow_mut());
        let has_failed =
            |index| entries.iter().any(|entry| entry.failure.is_some() && entry.nodes.contains(&index));
        let (mut slots, mut in_vain) = (Vec::new(), Vec::new());
        for (index, thread, slot) in made {
            if has_failed(index) {
                in_vain.push(slot);
            } else {
                slots.push((index, thread as usize, slot));
            }
        }
        let places: std::collections::BTreeSet<u16> = slots.iter().map(|(index, ..)| *index).collect();
        let new = (threads.node_count()..graph.nodes().len()).map(|index| index as u16);
        let gone = out.iter().copied().filter(|&index| !graph.nodes()[usize::from(index)].alive);
        for index in new.chain(gone).filter(|index| !places.contains(index)) {
            slots.extend((0..threads.count()).map(|thread| (index, thread, host_slot(index))));
        }
        slots.sort_by_key(|(index, thread, _)| (*index, *thread));
        (slots.into_iter().map(|(_, thread, slot)| (thread, slot)).collect(), in_vain)
    }
}

fn named_feature(owner: Owner, feature: &FeatureRegistration) -> (String, Feature) {
    let made = Feature {
        name: text(feature.name).to_owned(),
        node: text(feature.node).to_owned(),
        owner,
        runs_before: texts(feature.runs_before),
        runs_after: texts(feature.runs_after),
        fail_closed: feature.fail_closed != 0,
    };
    (text(feature.arc).to_owned(), made)
}

/// What stands at an index whose node is the host's own, `drop`, or is not there.
pub(super) fn host_slot(index: u16) -> NodeSlot {
    let registration = match index {
        DROP_NODE => drop_node(),
        FILE_POLL_NODE => file_poll_node(),
        _ => gone_node(),
    };
    let info = crate::graph::NodeInfo {
        name: String::new(),
        owner: Owner::CORE,
        kind: registration.kind,
        next_names: Vec::new(),
        nexts: std::sync::Arc::new([DROP_NODE]),
        error_base: 0,
        error_count: 0,
        registration,
        alive: false,
    };
    // SAFETY: the host's own node, whose state is nothing.
    unsafe {
        let state = (registration.create)(std::ptr::null_mut(), 0, Sink::NONE);
        NodeSlot::new(&info, index, state)
    }
}
