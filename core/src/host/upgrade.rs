//! `plugin upgrade`: another version in the place of one that runs, with its configuration and its state.
//!
//! The new library is brought in beside the old one, which goes on with the traffic. Only when all of the new one is
//! made do its nodes and features take the places of the old ones, behind one barrier; until then any failure takes the
//! new one back and leaves the old one as it was.

use std::collections::BTreeMap;
use std::ffi::c_void;

use raddle_plugin_api::abi::{StateRegistration, Status, Text, sink_into, sink_into_bytes};
use raddle_plugin_api::{Failure, bail, failure};

use super::bring_in::Entry;
use super::engine::Engine;
use super::images::{ImageParts, ImageState, elements, text};
use super::withdraw::gone;
use crate::graph::Owner;

/// State that a plugin has handed out: its version and its bytes, by name.
type Exported = BTreeMap<String, (u32, Vec<u8>)>;

/// What an upgrade did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// The version that went.
    pub from: String,
    /// The version that came.
    pub to: String,
    /// Names of the states that were handed over.
    pub states: Vec<String>,
}

impl Engine {
    /// Puts a plugin in the place of the one of its name.
    ///
    /// # Errors
    /// Why not; the old one goes on as if nothing had happened.
    pub fn upgrade(&self, parts: ImageParts) -> Result<Upgraded, Failure> {
        let name = parts.name.clone();
        let (old, state) = self.find_plugin(&name)?;
        self.refuse_from_within(old, &name)?;
        for (dependent, requirement) in self.dependents(&name) {
            let fits = requirement.parse().is_ok_and(|requirement: semver::VersionReq| {
                parts.version.parse().is_ok_and(|version| requirement.matches(&version))
            });
            if !fits {
                bail!(
                    "plugin `{dependent}` needs `{name}` {requirement}, and the new version is {}; upgrade \
                     `{dependent}` first",
                    parts.version
                );
            }
        }
        let users = self.driver_users(old);
        if !users.is_empty() {
            bail!("a driver cannot be upgraded under its interfaces: {}", users.join("; "));
        }
        let (from, instance, exports) = {
            let images = self.images.borrow();
            let image = images.iter().find(|image| image.owner == old).ok_or_else(|| gone(&name))?;
            let exports = elements::<StateRegistration>(&image.parts.registrations.states);
            (image.parts.version.clone(), image.instance, exports)
        };
        let to = parts.version.clone();
        let mut handed = Vec::new();
        if state != ImageState::Active {
            self.kept.borrow_mut().forsake(old);
        }
        let entry = self.register(parts, Some(old));
        self.comes_in.set(Some(entry.owner));
        let mut outcomes = self.bring_in(vec![entry], |entries| {
            for entry in entries.iter_mut().filter(|entry| entry.failure.is_none()) {
                // What a plugin that failed would say of itself is not to be relied on.
                let exports = if state == ImageState::Active { exports.as_slice() } else { &[] };
                match self.hand_over(entry, old, instance, exports) {
                    Ok(names) => handed = names,
                    Err(failure) => entry.failure = Some(failure),
                }
            }
        });
        self.comes_in.set(None);
        let deferred = std::mem::take(&mut *self.deferred_calls.borrow_mut());
        match outcomes.pop() {
            Some((_, Ok(()))) => {}
            Some((_, Err(failure))) => return Err(failure),
            None => bail!("the plugin went nowhere"),
        }
        deferred.into_iter().for_each(|call| call(self));
        if state == ImageState::Active {
            self.replaced.set(Some(old));
            self.run_exits_of(old);
            self.replaced.set(None);
        }
        self.forget_owner(old);
        self.drain(old, &format!("replaced by version {to}"));
        Ok(Upgraded { from, to, states: handed })
    }

    /// Has the new image import what the old one exports; returns the names of the states.
    fn hand_over(
        &self,
        entry: &mut Entry,
        old: Owner,
        old_instance: *mut c_void,
        exports: &[StateRegistration],
    ) -> Result<Vec<String>, Failure> {
        let imports = elements::<StateRegistration>(&entry.parts.registrations.states);
        if imports.is_empty() || exports.is_empty() {
            return Ok(Vec::new());
        }
        let wanted =
            |export: &&StateRegistration| imports.iter().any(|import| text(import.name) == text(export.name));
        let mut exported = Exported::new();
        for export in exports.iter().filter(wanted) {
            let name = text(export.name);
            let ((status, error), bytes) = sink_into_bytes(|state| {
                self.enter(old, "export", || {
                    // SAFETY: the old instance is alive; the sinks live until the call returns; main thread.
                    sink_into(|error| unsafe { (export.export_state)(old_instance, state, error) })
                })
            });
            if status != Status::OK {
                bail!("the old version cannot export its state `{name}`: {error}");
            }
            exported.insert(name.to_owned(), (export.version, bytes));
        }
        let mut names = Vec::new();
        for import in imports {
            let name = text(import.name);
            let Some((version, bytes)) = exported.get(name) else { continue };
            if !(import.oldest..=import.version).contains(version) {
                bail!(
                    "it imports versions {} to {} of the state `{name}`, and the old one exports version {version}",
                    import.oldest,
                    import.version
                );
            }
            let instance = entry.instance;
            let (status, error) = self.enter(entry.owner, "import", || {
                // SAFETY: the new instance is alive; bytes and sink live until the call returns; main thread.
                sink_into(|error| unsafe {
                    (import.import_state)(instance, *version, Text::bytes(bytes), error)
                })
            });
            if status != Status::OK {
                entry.panicked = status == Status::PANICKED;
                let what = if entry.panicked { "panicked at" } else { "does not import" };
                return Err(failure!("it {what} the state `{name}`: {error}"));
            }
            names.push(name.to_owned());
        }
        Ok(names)
    }

    /// Whether the plugin in whose code the main thread is makes room for another version of itself.
    pub(super) fn is_being_replaced(&self) -> bool {
        self.replaced.get() == Some(self.current_owner.get())
    }
}
