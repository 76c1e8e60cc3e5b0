//! Routes in pages, so that a table of any size is read in short turns.
#![forbid(unsafe_code)]

use raddle_plugin_api::Failure;
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::IpPrefix;

use super::Routes;
use crate::net::adjacency::Family;
use crate::net::fib::Prefix;
use crate::net::route_view::{Names, RouteInfo};

/// Routes of one answer of `show fib`: so many take less than a millisecond.
pub const PAGE_ROUTES: usize = 1000;

/// A part of a table's routes in the order of prefixes.
#[derive(Clone, Debug, Default)]
pub struct RoutePage {
    /// The routes.
    pub routes: Vec<RouteInfo>,
    /// The last one's prefix, if more follow.
    pub more_after: Option<IpPrefix>,
}

impl Routes {
    /// Up to `most` routes of a table, of one family or both, in order; those behind `after` if it is given, which need not be
    /// a route's prefix any more.
    ///
    /// # Errors
    /// There is no such table.
    pub fn page(
        &self,
        table: &TableKey,
        family: Option<Family>,
        after: Option<IpPrefix>,
        most: usize,
    ) -> Result<RoutePage, Failure> {
        let state = self.state();
        let (_, fib) = state.find_table(table)?;
        let Some(table) = state.table(fib) else { return Ok(RoutePage::default()) };
        let names = Names { links: &state.links, tables: &state.index, owners: &state.owners };
        let (mut after4, mut after6) = (None, None);
        match after {
            Some(IpPrefix::V4(after)) => {
                after4 = Some(Prefix::containing(after.network().to_bits(), after.length()));
            }
            Some(IpPrefix::V6(after)) => {
                after6 = Some(Prefix::containing(after.network().to_bits(), after.length()));
            }
            None => {}
        }
        let ip4 = (family != Some(Family::Ip6) && after6.is_none()).then(|| table.ip4.routes_after(after4));
        let ip6 = (family != Some(Family::Ip4)).then(|| table.ip6.routes_after(after6));
        let ip4 = ip4.into_iter().flatten().map(|view| RouteInfo::of(&view, names));
        let ip6 = ip6.into_iter().flatten().map(|view| RouteInfo::of(&view, names));
        let mut all = ip4.chain(ip6);
        let routes: Vec<_> = all.by_ref().take(most).collect();
        let has_more = all.next().is_some();
        let last = routes.last().and_then(|route| route.prefix.parse().ok());
        Ok(RoutePage { routes, more_after: last.filter(|_| has_more) })
    }
}
