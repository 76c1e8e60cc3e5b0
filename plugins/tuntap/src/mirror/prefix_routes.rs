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

impl PrefixRoutes {
    /// All of them.
    pub fn as_slice(&self) -> &[KernelRoute] {
        match self {
            Self::None => &[],
            Self::One(route) => std::slice::from_ref(route),
            Self::Several(routes) => routes,
        }
    }

    /// Takes up what the kernel tells; `false`: nothing is different now.
    pub fn edit(&mut self, is_ip6: bool, route: KernelRoute, edit: Edit) -> bool {
        match (&*self, edit) {
            (Self::None, Edit::Remove) => return false,
            (Self::None, _) => {
                *self = Self::One(route);
                return true;
            }
            (Self::One(known), Edit::Remove)
                if known.metric == route.metric && known.target == route.target =>
            {
                *self = Self::None;
                return true;
            }
            _ => {}
        }
        let before = self.as_slice();
        let mut routes = before.to_vec();
        let same = routes.iter().position(|known| known.metric == route.metric);
        match (edit, same) {
            (Edit::Remove, None) => {}
            (Edit::Remove, Some(at)) => remove(&mut routes, &route, at),
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
        let changed = before != routes;
        *self = routes.into();
        changed
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

/// Takes a route away, or of one with several next hops those that are named: so the kernel tells of IPv6.
fn remove(routes: &mut Vec<KernelRoute>, route: &KernelRoute, first: usize) {
    let exact = routes.iter().position(|known| known.metric == route.metric && known.target == route.target);
    if let Some(at) = exact {
        routes.remove(at);
        return;
    }
    if let (KernelTarget::Hops(known), KernelTarget::Hops(gone)) = (&*routes[first].target, &*route.target) {
        let left: Vec<Hop> =
            known.iter().filter(|hop| !gone.iter().any(|gone| is_same_way(gone, hop))).copied().collect();
        if !left.is_empty() && left.len() < known.len() {
            routes[first].target = Arc::new(KernelTarget::Hops(left));
            return;
        }
    }
    routes.remove(first);
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
