//! Features of interfaces: switched on by the operator, held by other features.

use raddle_plugin_api::{Failure, bail};

use super::Engine;
use crate::graph::Owner;

/// A feature to be switched when its node is in the graph.
pub struct Deferred {
    /// Who asked for it.
    pub(super) asked_by: Owner,
    pub(super) interface: u32,
    pub(super) feature: String,
    pub(super) enabled: bool,
}

impl Engine {
    /// Switches a feature on or off on an interface.
    ///
    /// # Errors
    /// No such feature.
    pub fn set_feature(&self, index: u32, feature: &str, enabled: bool) -> Result<(), Failure> {
        let before = self.holds.borrow().is_set(index, feature);
        let is_on = self.holds.borrow_mut().set(index, feature, enabled);
        match self.switch_feature(index, feature, is_on) {
            // It was wanted of a plugin that is not there.
            Err(_) if before && !enabled => Ok(()),
            outcome => outcome.inspect_err(|_| {
                self.holds.borrow_mut().set(index, feature, before);
            }),
        }
    }

    /// Switches a feature on, and keeps that in mind if its plugin is not there: it will be on when the plugin comes.
    ///
    /// # Errors
    /// No such feature at present.
    pub fn want_feature(&self, index: u32, feature: &str) -> Result<(), Failure> {
        self.holds.borrow_mut().set(index, feature, true);
        self.switch_feature(index, feature, true)
    }

    /// Has a feature on for as long as the plugin in whose code the main thread is holds it, or lets go of it.
    ///
    /// # Errors
    /// No such feature, or it is not held.
    pub fn hold_feature(&self, index: u32, feature: &str, held: bool) -> Result<(), Failure> {
        let holder = self.current_owner.get();
        if held {
            self.switch_feature(index, feature, true)?;
            self.holds.borrow_mut().hold(index, feature, holder);
            return Ok(());
        }
        let is_on = self.holds.borrow_mut().release(index, feature, holder);
        match is_on {
            Some(is_on) => self.switch_feature(index, feature, is_on),
            None => bail!("feature `{feature}` is not held on the interface with index {index}"),
        }
    }

    /// Whether a feature was switched on, and is not only held by others.
    pub fn is_feature_set(&self, index: u32, feature: &str) -> bool {
        self.holds.borrow().is_set(index, feature)
    }

    pub(super) fn switch_feature(&self, index: u32, feature: &str, enabled: bool) -> Result<(), Failure> {
        if let Some(deferred) = self.deferred_features.borrow_mut().as_mut() {
            let asked_by = self.current_owner.get();
            deferred.push(Deferred { asked_by, interface: index, feature: feature.to_owned(), enabled });
            return Ok(());
        }
        let interfaces = self.interfaces.borrow();
        if interfaces.get(index).is_none() {
            bail!("there is no interface with index {index}");
        }
        self.features.borrow().set(interfaces.rows(), index, feature, enabled)?;
        Ok(())
    }
}
