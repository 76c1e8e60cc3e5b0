//! Sets of paths that a caller holds, so that many routes are given them without saying each time what they are.

use super::address::{Address, Prefix};
use super::path::{Action, Source};
use super::route::SetId;
use super::table::{Fib, FibError, Resolver, checked};

/// A set of paths of one table that is held beside the routes that use it. Given back by [`Fib::unpin`].
#[derive(Debug)]
#[must_use = "a pinned set is given back by `Fib::unpin`"]
pub struct Pinned(SetId);

impl<A: Address> Fib<A> {
    /// Holds the set of paths of an action, which is made if there is none yet. `prefix` is the first that
    /// it is meant for.
    ///
    /// # Errors
    /// When the action makes no sense or cannot be resolved.
    pub fn pin(
        &mut self,
        prefix: Prefix<A>,
        source: Source,
        action: Action,
        resolver: &mut impl Resolver,
    ) -> Result<Pinned, FibError> {
        let action = checked::<A>(prefix, action)?;
        let set = match self.sets.find(&action) {
            Some(set) => set,
            None => {
                let standing = self.standing(prefix, source);
                self.make_set(prefix, action, standing, resolver)?
            }
        };
        self.sets.acquire(set);
        Ok(Pinned(set))
    }

    /// Gives a set back.
    pub fn unpin(&mut self, pinned: Pinned) {
        self.release(pinned.0);
    }

    /// As [`Fib::add`], with a set of this table that is held already.
    ///
    /// # Errors
    /// When the route would be reached through itself, or memory has run out.
    pub fn add_pinned(
        &mut self,
        prefix: Prefix<A>,
        source: Source,
        pinned: &Pinned,
        resolver: &mut impl Resolver,
    ) -> Result<(), FibError> {
        let standing = self.standing(prefix, source);
        if standing.becomes_best && self.may_loop(prefix) {
            self.refuse_loop(prefix, &self.sets.set(pinned.0).action, Some(pinned.0))?;
        }
        self.attach(prefix, source, pinned.0, standing, resolver)
    }

    /// Gives a prefix the action at a place of a list, or takes its route out. `pins` has a place for each action, and is filled
    /// as they are used.
    ///
    /// # Errors
    /// As [`Fib::pin`] and [`Fib::add_pinned`], or there is no such place. A route that is to go and is not there is no error.
    pub fn change_pinned(
        &mut self,
        prefix: Prefix<A>,
        source: Source,
        actions: &[Action],
        pins: &mut [Option<Pinned>],
        place: Option<usize>,
        resolver: &mut impl Resolver,
    ) -> Result<(), FibError> {
        let Some(place) = place else {
            return match self.remove(prefix, source, resolver) {
                Ok(()) | Err(FibError::NoRoute { .. }) => Ok(()),
                Err(error) => Err(error),
            };
        };
        let (Some(action), Some(pin)) = (actions.get(place), pins.get_mut(place)) else {
            return Err(FibError::NoNextHop { prefix: prefix.to_string() });
        };
        let pinned = match pin {
            Some(pinned) => pinned,
            None => pin.insert(self.pin(prefix, source, action.clone(), resolver)?),
        };
        self.add_pinned(prefix, source, pinned, resolver)
    }
}
