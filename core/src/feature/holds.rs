//! Who wants a feature on an interface: its operator, and other features that stand on it.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::Owner;

/// Who wants a feature on an interface.
#[derive(Debug, Default)]
struct Wish {
    /// It was switched on.
    set: bool,
    /// Images that hold it, and how many times.
    held: BTreeMap<u32, u32>,
}

impl Wish {
    fn is_on(&self) -> bool {
        self.set || !self.held.is_empty()
    }
}

/// Who wants which features: a feature is on while anyone wants it.
#[derive(Debug, Default)]
pub struct FeatureHolds {
    wishes: BTreeMap<(u32, String), Wish>,
}

impl FeatureHolds {
    /// Switches a feature on or off; whether it is to be on, which it is while it is held.
    pub fn set(&mut self, interface: u32, feature: &str, on: bool) -> bool {
        self.change(interface, feature, |wish| wish.set = on)
    }

    /// One more holds the feature.
    pub fn hold(&mut self, interface: u32, feature: &str, holder: Owner) {
        self.change(interface, feature, |wish| *wish.held.entry(holder.0).or_default() += 1);
    }

    /// One less holds the feature; whether it is to be on still. `None` if this holder does not hold it.
    pub fn release(&mut self, interface: u32, feature: &str, holder: Owner) -> Option<bool> {
        let wish = self.wishes.get(&(interface, feature.to_owned()))?;
        wish.held.contains_key(&holder.0).then(|| {
            self.change(interface, feature, |wish| {
                if let Some(count) = wish.held.get_mut(&holder.0) {
                    *count -= 1;
                }
                wish.held.retain(|_, count| *count > 0);
            })
        })
    }

    /// Whether the feature was switched on, and is not only held.
    pub fn is_set(&self, interface: u32, feature: &str) -> bool {
        self.wishes.get(&(interface, feature.to_owned())).is_some_and(|wish| wish.set)
    }

    /// Whether anyone but `holder` wants the feature.
    pub fn is_wanted_besides(&self, interface: u32, feature: &str, holder: Owner) -> bool {
        let wish = self.wishes.get(&(interface, feature.to_owned()));
        wish.is_some_and(|wish| wish.set || wish.held.keys().any(|&held| held != holder.0))
    }

    /// Features that are to be on, among those that `of` takes, with their interfaces.
    pub fn wanted(&self, of: impl Fn(&str) -> bool) -> Vec<(u32, String)> {
        let on = self.wishes.iter().filter(|((_, feature), wish)| wish.is_on() && of(feature));
        on.map(|(key, _)| key.clone()).collect()
    }

    /// The interface goes, and all wishes with it.
    pub fn forget_interface(&mut self, interface: u32) {
        self.wishes.retain(|(of, _), _| *of != interface);
    }

    /// The holder goes: the features that nobody wants any more.
    pub fn forget_holder(&mut self, holder: Owner) -> BTreeSet<(u32, String)> {
        let mut unwanted = BTreeSet::new();
        self.wishes.retain(|key, wish| {
            if wish.held.remove(&holder.0).is_some() && !wish.is_on() {
                unwanted.insert(key.clone());
            }
            wish.is_on()
        });
        unwanted
    }

    fn change(&mut self, interface: u32, feature: &str, change: impl FnOnce(&mut Wish)) -> bool {
        let key = (interface, feature.to_owned());
        let wish = self.wishes.entry(key.clone()).or_default();
        change(wish);
        let is_on = wish.is_on();
        if !is_on {
            self.wishes.remove(&key);
        }
        is_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACL: Owner = Owner(1);
    const NAT: Owner = Owner(2);

    #[test]
    fn a_feature_is_on_while_anyone_wants_it() {
        let mut holds = FeatureHolds::default();
        holds.hold(3, "f", ACL);
        holds.hold(3, "f", ACL);
        assert!(!holds.is_wanted_besides(3, "f", ACL));
        holds.hold(3, "f", NAT);
        assert!(holds.is_wanted_besides(3, "f", ACL) && !holds.is_wanted_besides(3, "g", ACL));
        assert!(holds.set(3, "f", false), "who switches it off does not take it from others");
        assert_eq!(holds.release(3, "f", ACL), Some(true));
        assert_eq!(holds.release(3, "f", NAT), Some(true));
        assert_eq!(holds.release(3, "f", NAT), None);
        assert_eq!(holds.release(3, "f", ACL), Some(false));
        assert!(holds.wishes.is_empty());
    }

    #[test]
    fn holders_and_interfaces_that_go_leave_nothing() {
        let mut holds = FeatureHolds::default();
        holds.hold(3, "f", ACL);
        holds.hold(3, "g", ACL);
        holds.hold(4, "f", NAT);
        assert!(holds.set(3, "g", true) && holds.is_set(3, "g") && !holds.is_set(3, "f"));
        assert_eq!(holds.forget_holder(ACL), [(3, "f".to_owned())].into());
        holds.forget_interface(3);
        assert!(!holds.is_set(3, "g"));
        assert_eq!(holds.forget_holder(NAT), [(4, "f".to_owned())].into());
        assert!(holds.wishes.is_empty());
    }
}
