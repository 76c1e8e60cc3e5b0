//! Whether a new route's next hop can be reached.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;

use super::edit::Edit;
use super::state::is_link_local;
use crate::net::fib::Forwarding;
use crate::net::static_route::{RouteHop, RouteSpec, RouteTarget};

impl Edit<'_> {
    /// The next hop must be on a network of an interface, or be reached by a route.
    ///
    /// # Errors
    /// It is not; or its interface is not there.
    pub(super) fn check_reachable(&self, fib: u32, spec: &RouteSpec) -> Result<(), Failure> {
        let RouteTarget::Hop(RouteHop { via, interface, .. }) = &spec.target else {
            return Ok(());
        };
        let prefix = spec.prefix;
        let state = &*self.state;
        if let Some(name) = interface
            && state.links.find(name).is_none()
        {
            // Its error names the nearest interface.
            self.control.interface(name)?;
            bail!("interface {name} of route {prefix} carries no packets");
        }
        let Some(via) = *via else {
            return Ok(());
        };
        // By an interface of another table, it is that one's addresses that count.
        let table =
            interface.as_deref().and_then(|name| state.links.find(name)).map(|link| state.fib_of(link));
        if state.owns(table.unwrap_or(fib), via) {
            bail!("next hop {via} of route {prefix} is an own address");
        }
        // What makes no sense at all is refused with a better reason when the route is made.
        let is_link_local = is_link_local(via) || via.is_ipv4() != prefix.network().is_ipv4();
        let no_router = via.is_unspecified() || via.is_multicast() || via.is_loopback();
        if interface.is_some()
            || is_link_local
            || no_router
            || state.networks_of(fib).containing(via).is_some()
        {
            return Ok(());
        }
        let forwarding = state.table(fib).and_then(|table| table.forwarding(via));
        if !matches!(forwarding, Some(Forwarding::Paths(_) | Forwarding::Glean { .. })) {
            bail!("next hop {via} of route {prefix} is on no connected network, and no route leads to it");
        }
        Ok(())
    }
}
