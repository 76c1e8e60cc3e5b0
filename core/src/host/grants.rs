//! What plugins have been given of the network by the control plane, so that it is taken back when they go.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::engine::Engine;
use crate::graph::Owner;

/// Takes something back.
type Undo = Rc<dyn Fn(&Engine)>;
/// What waits until a plugin is in.
pub(super) type Deferred = Box<dyn FnOnce(&Engine)>;

/// What plugins have.
#[derive(Default)]
pub struct Grants {
    /// References that an instance holds, by what they are to: how many, and how one is given up.
    held: BTreeMap<(Owner, String), (u32, Undo)>,
    /// What is the plugin's whichever version of it is there.
    kept: BTreeMap<(String, String), Undo>,
}

impl Engine {
    /// Notes a reference that the plugin in whose code the main thread is has taken: it is given up with this instance of
    /// the plugin, at the latest. Another version has its own.
    pub fn note_held(&self, what: String, undo: impl Fn(&Self) + 'static) {
        let owner = self.current_owner.get();
        if owner != Owner::CORE {
            let mut grants = self.grants.borrow_mut();
            grants.held.entry((owner, what)).or_insert_with(|| (0, Rc::new(undo))).0 += 1;
        }
    }

    /// Notes that the plugin has given up a reference itself.
    pub fn note_given_up(&self, what: String) {
        let mut grants = self.grants.borrow_mut();
        let key = (self.current_owner.get(), what);
        if let Some((count, _)) = grants.held.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                grants.held.remove(&key);
            }
        }
    }

    /// Notes what is the plugin's in whose code the main thread is, over upgrades: it is taken back when no version of it
    /// is there any more, or when it is quarantined.
    pub fn note_kept(&self, what: String, undo: impl Fn(&Self) + 'static) {
        let owner = self.current_owner.get();
        if owner != Owner::CORE {
            self.grants.borrow_mut().kept.insert((self.owner_name(owner), what), Rc::new(undo));
        }
    }

    /// Notes that what was kept is gone, whoever had it.
    pub fn note_gone(&self, what: &str) {
        self.grants.borrow_mut().kept.retain(|(_, kept), _| kept != what);
    }

    /// The plugin in whose code the main thread is; `core` for the core.
    pub fn current_plugin(&self) -> String {
        self.owner_name(self.current_owner.get())
    }

    /// Whether what a plugin asks for is not done: it makes room for another version, whose the network is by now.
    pub fn is_overruled(&self) -> bool {
        self.is_being_replaced()
    }

    /// Has `call` run, in the name of the plugin in whose code the main thread is, when that has taken the place of another
    /// version. If it never does the other one goes on as it was.
    pub fn put_off(&self, call: impl FnOnce(&Self) + 'static) {
        let owner = self.current_owner.get();
        let call = move |engine: &Self| engine.enter(owner, "init function", || call(engine));
        self.deferred_calls.borrow_mut().push(Box::new(call));
    }

    /// Whether a plugin is about to take another version's place, and what it asks for is put off.
    pub fn is_put_off(&self) -> bool {
        self.comes_in.get() == Some(self.current_owner.get())
    }

    /// Takes back what an instance has; with `all` also what is kept for the next version.
    pub(super) fn take_back(&self, owner: Owner, all: bool) {
        let name = self.owner_name(owner);
        let undo: Vec<Undo> = {
            let mut grants = self.grants.borrow_mut();
            let held: Vec<_> = grants.held.keys().filter(|(of, _)| *of == owner).cloned().collect();
            let held = held.into_iter().filter_map(|key| grants.held.remove(&key));
            let mut undo: Vec<Undo> =
                held.flat_map(|(count, undo)| (0..count).map(move |_| Rc::clone(&undo))).collect();
            if all {
                let kept: Vec<_> = grants.kept.keys().filter(|(of, _)| *of == name).cloned().collect();
                undo.extend(kept.into_iter().filter_map(|key| grants.kept.remove(&key)));
            }
            undo
        };
        undo.into_iter().for_each(|undo| undo(self));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::engine::EngineConfig;
    use super::*;

    #[test]
    fn what_an_instance_holds_goes_with_it_and_what_a_plugin_keeps_with_the_plugin() {
        let engine = Engine::create(EngineConfig { buffers: 1024, ..EngineConfig::default() }).unwrap();
        let (old, new) = (Owner(71), Owner(72));
        for owner in [old, new] {
            engine.owner_names.borrow_mut().insert(owner, "plugin".to_owned());
        }
        let undone = Rc::new(RefCell::new(Vec::new()));
        let undo = |what: &'static str| {
            let undone = Rc::clone(&undone);
            move |_: &Engine| undone.borrow_mut().push(what)
        };
        engine.enter(old, "test", || {
            engine.note_held("group".into(), undo("group"));
            engine.note_held("group".into(), undo("group"));
            engine.note_held("mac".into(), undo("mac"));
            engine.note_given_up("group".into());
            engine.note_given_up("what it never had".into());
            engine.note_kept("route".into(), undo("route"));
            engine.note_kept("neighbor".into(), undo("neighbor"));
        });
        engine.note_held("the core's own".into(), undo("never"));
        engine.enter(new, "test", || engine.note_kept("route".into(), undo("route of the new")));
        engine.note_gone("neighbor");
        engine.take_back(old, false);
        assert_eq!(*undone.borrow(), ["group", "mac"]);
        engine.take_back(new, true);
        assert_eq!(*undone.borrow(), ["group", "mac", "route of the new"]);
        engine.take_back(new, true);
        assert_eq!(undone.borrow().len(), 3, "once");
    }
}
