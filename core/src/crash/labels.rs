//! Whose code it is that runs: names that a signal handler, or another thread, can read without a lock.
//!
//! A label is made once for its names and stays for good.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::graph::MAX_NODES;

/// Copies of plugins' code that are told apart by their addresses.
const MOST_MAPPED: usize = 256;

/// A plugin, the core among them.
#[derive(Debug, PartialEq, Eq)]
pub struct PluginLabel {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A node.
#[derive(Debug, PartialEq, Eq)]
pub struct NodeLabel {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub plugin: &'static PluginLabel,
}

/// What a plugin is called for.
#[derive(Debug, PartialEq, Eq)]
pub struct CallLabel {
    /// Whose code it is.
    pub plugin: &'static PluginLabel,
    /// `command`, `task`, `init function` …
    pub doing: &'static str,
}

/// Code that is mapped.
pub(super) struct Mapped {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) plugin: &'static PluginLabel,
    pub(super) path: String,
}

type Labels<K, V> = Mutex<BTreeMap<K, &'static V>>;

static PLUGINS: Labels<(String, String), PluginLabel> = Mutex::new(BTreeMap::new());
static NODE_LABELS: Labels<(String, usize), NodeLabel> = Mutex::new(BTreeMap::new());
static NODES: [AtomicPtr<NodeLabel>; MAX_NODES] = [const { AtomicPtr::new(std::ptr::null_mut()) }; MAX_NODES];
static MAPPED: [AtomicPtr<Mapped>; MOST_MAPPED] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; MOST_MAPPED];

static CALL_LABELS: Labels<(usize, usize), CallLabel> = Mutex::new(BTreeMap::new());
/// Whose code the main thread is in, and for what.
static CALL: AtomicPtr<CallLabel> = AtomicPtr::new(std::ptr::null_mut());
static CALLS: AtomicU64 = AtomicU64::new(0);

/// The label of a plugin.
pub fn plugin_label(name: &str, version: &str) -> &'static PluginLabel {
    let mut plugins = PLUGINS.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || PluginLabel { name: name.to_owned(), version: version.to_owned() };
    let key = (name.to_owned(), version.to_owned());
    plugins.entry(key).or_insert_with(|| Box::leak(Box::new(make())))
}

/// The label of a node.
pub fn make_label(name: &str, plugin: &'static PluginLabel) -> &'static NodeLabel {
    let mut labels = NODE_LABELS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (name.to_owned(), std::ptr::from_ref(plugin).addr());
    let make = || NodeLabel { name: name.to_owned(), plugin };
    labels.entry(key).or_insert_with(|| Box::leak(Box::new(make())))
}

/// Says what stands at an index from now on.
pub fn set_label(index: u16, label: &'static NodeLabel) {
    if let Some(place) = NODES.get(usize::from(index)) {
        place.store(std::ptr::from_ref(label).cast_mut(), Ordering::Release);
    }
}

/// The node at an index. Any thread, and signal handlers.
pub fn node_label(index: u32) -> Option<&'static NodeLabel> {
    // SAFETY: only labels that stay for good are stored.
    unsafe { NODES.get(index as usize)?.load(Ordering::Acquire).as_ref() }
}

/// Says where the code of a plugin is mapped.
pub fn set_mapped((start, end): (usize, usize), plugin: &'static PluginLabel, path: String) {
    if start == end {
        return;
    }
    let is_free = |place: &&AtomicPtr<Mapped>| {
        // SAFETY: only what stays for good is stored.
        unsafe { place.load(Ordering::Acquire).as_ref() }.is_none_or(|known| known.start == start)
    };
    let Some(place) = MAPPED.iter().find(is_free) else { return };
    // SAFETY: as above.
    let known = unsafe { place.load(Ordering::Acquire).as_ref() };
    if known.is_none_or(|known| !std::ptr::eq(known.plugin, plugin) || known.path != path) {
        place.store(Box::leak(Box::new(Mapped { start, end, plugin, path })), Ordering::Release);
    }
}

/// All code of plugins that is mapped. Signal handlers too.
pub(super) fn mapped() -> impl Iterator<Item = &'static Mapped> {
    // SAFETY: as in `set_mapped`.
    MAPPED.iter().map_while(|place| unsafe { place.load(Ordering::Acquire).as_ref() })
}

/// A call into a plugin, to be said again when one within it has returned.
#[derive(Clone, Copy)]
pub struct Call(*mut CallLabel);

/// Says whose code the main thread goes into, and for what; returns what was said before.
pub fn call(plugin: &'static PluginLabel, doing: &'static str) -> Call {
    let mut labels = CALL_LABELS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (std::ptr::from_ref(plugin).addr(), doing.as_ptr().addr());
    let make = || Box::leak(Box::new(CallLabel { plugin, doing }));
    let label: &'static CallLabel = labels.entry(key).or_insert_with(|| make());
    return_to(Call(std::ptr::from_ref(label).cast_mut()))
}

/// Says again what was said before a call; returns what was said until now.
pub fn return_to(call: Call) -> Call {
    CALLS.fetch_add(1, Ordering::Relaxed);
    Call(CALL.swap(call.0, Ordering::AcqRel))
}

/// Whose code the main thread is in, and for what. Any thread, and signal handlers.
pub fn current_call() -> Option<&'static CallLabel> {
    // SAFETY: as in `node_label`.
    unsafe { CALL.load(Ordering::Acquire).as_ref() }
}

/// Counts the calls into plugins: a call goes on as long as it does not change.
pub fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_made_once_and_found_by_index() {
        let plugin = plugin_label("labelled", "1.0.0");
        assert!(std::ptr::eq(plugin, plugin_label("labelled", "1.0.0")));
        assert!(!std::ptr::eq(plugin, plugin_label("labelled", "1.0.1")));
        let index = MAX_NODES as u16 - 1;
        set_label(index, make_label("a-node", plugin));
        let first = node_label(index.into()).expect("a label");
        assert_eq!((first.name.as_str(), first.plugin), ("a-node", plugin));
        set_label(index, make_label("a-node", plugin));
        assert!(node_label(index.into()).is_some_and(|again| std::ptr::eq(first, again)));
        assert_eq!(node_label(u32::MAX), None);
    }

    #[test]
    fn code_is_listed_once_for_its_address() {
        let plugin = plugin_label("mapped", "1.0.0");
        for _ in 0..3 {
            set_mapped((0x10_0000, 0x20_0000), plugin, "/x".to_owned());
        }
        assert_eq!(mapped().filter(|mapped| std::ptr::eq(mapped.plugin, plugin)).count(), 1);
    }
}
