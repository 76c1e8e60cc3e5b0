//! The kernel's routes of one prefix, those with the lowest metric first.

use std::sync::Arc;

use super::kernel_route::{Hop, KernelRoute, KernelTarget};
use crate::netlink::Edit;

/// Mostly there is one, which takes no memory of its own.
#[derive(Clone, Debug, Default)]
pub enum PrefixRoutes {
    /// None.
    #[default]
    None,
    /// One.
    One(KernelRoute),
    /// More than one.
    Several(Vec<KernelRoute>),
}

/// What became of an edit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edited {
    /// The routes are others now.
    pub is_different: bool,
    /// Which of them was meant is not certain: they are to be read again.
    pub is_guess: bool,
}

impl PrefixRoutes {
    /// All of them.
    pub fn as_slice(&self) -> &[KernelRoute] {
        match self {
            Self::None => &[],
            Self::One(route) => std::slice::from_ref(route),
            Self::Several(routes) => routes,
        }
    }

    /// Takes up what the kernel tells. What it told before the routes were last read comes out as nothing: a route is there once, and
    /// only itself is removed.
    pub fn edit(&mut self, is_ip6: bool, route: KernelRoute, edit: Edit) -> Edited {
        match (&*self, edit) {
            (Self::None, Edit::Remove) => return Edited::default(),
            (Self::None, _) => {
                *self = Self::One(route);
                return Edited { is_different: true, is_guess: false };
            }
            (Self::One(known), Edit::Remove) if *known == route => {
                *self = Self::None;
                return Edited { is_different: true, is_guess: false };
            }
            _ => {}
        }
        let before = self.as_slice();
        if !is_ip6 && edit != Edit::Remove && before.contains(&route) {
            return Edited::default();
        }
        let (mut routes, mut is_guess) = (before.to_vec(), false);
        let same = routes.iter().position(|known| known.metric == route.metric);
        match (edit, same) {
            (Edit::Remove, None) => {}
            (Edit::Remove, Some(_)) => is_guess = remove(&mut routes, &route, is_ip6),
            (Edit::Replace, Some(at)) if is_ip6 => {
                // There is one of a metric, with all its next hops.
                routes.retain(|known| known.metric != route.metric);
                routes.insert(at.min(routes.len()), route);
            }
            (Edit::Replace, Some(at)) => routes[at] = route,
            (Edit::Append | Edit::Prepend, Some(at)) if is_ip6 => join(&mut routes[at], route),
            (Edit::Append, Some(_)) => {
                let end = routes.iter().rposition(|known| known.metric == route.metric);
                routes.insert(end.map_or(0, |end| end + 1), route);
            }
            (Edit::Prepend, Some(at)) => routes.insert(at, route),
            (Edit::Replace | Edit::Append | Edit::Prepend, None) => {
                let at = routes.partition_point(|known| known.metric < route.metric);
                routes.insert(at, route);
            }
        }
        let is_different = before != routes;
        *self = routes.into();
        Edited { is_different, is_guess }
    }
}

impl From<Vec<KernelRoute>> for PrefixRoutes {
    fn from(mut routes: Vec<KernelRoute>) -> Self {
        match routes.len() {
            0 => Self::None,
            1 => routes.pop().map_or(Self::None, Self::One),
            _ => Self::Several(routes),
        }
    }
}

fn is_same_way(a: &Hop, b: &Hop) -> bool {
    a.gateway == b.gateway && a.device == b.device
}

/// Takes a route away, or of one of IPv6 the next hops that are named: so the kernel tells of it. Returns whether it is a guess: of what
/// is known and what is named, one leaves out next hops that were dead.
fn remove(routes: &mut Vec<KernelRoute>, route: &KernelRoute, is_ip6: bool) -> bool {
    if let Some(at) = routes.iter().position(|known| known == route) {
        routes.remove(at);
        return false;
    }
    let is_like = |known: &KernelRoute| {
        known.metric == route.metric
            && match (&*known.target, &*route.target) {
                (KernelTarget::Hops(known), KernelTarget::Hops(gone)) => {
                    known.is_empty()
                        || gone.is_empty()
                        || known.iter().any(|hop| gone.iter().any(|gone| is_same_way(gone, hop)))
                }
                (known, gone) => known == gone,
            }
    };
    let Some(at) = routes.iter().position(is_like) else { return false };
    if let (true, KernelTarget::Hops(known), KernelTarget::Hops(gone)) =
        (is_ip6, &*routes[at].target, &*route.target)
        && !gone.is_empty()
    {
        let left: Vec<Hop> =
            known.iter().filter(|hop| !gone.iter().any(|gone| is_same_way(gone, hop))).copied().collect();
        if left.is_empty() {
            routes.remove(at);
        } else {
            routes[at].target = Arc::new(KernelTarget::Hops(left));
        }
        return false;
    }
    routes.remove(at);
    true
}

/// One more next hop of an IPv6 route, or all of them again.
fn join(known: &mut KernelRoute, route: KernelRoute) {
    let (KernelTarget::Hops(hops), KernelTarget::Hops(more)) = (&*known.target, &*route.target) else {
        known.target = route.target;
        return;
    };
    let mut hops = hops.clone();
    for hop in more {
        match hops.iter_mut().find(|known| is_same_way(known, hop)) {
            Some(same) => *same = *hop,
            None => hops.push(*hop),
        }
    }
    known.target = Arc::new(KernelTarget::Hops(hops));
}
