//! Routing tables made and taken away, and interfaces bound to them.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::route::TableKey;
use serde::Serialize;

use super::edit::Edit;
use super::state::State;
use super::table::{FIXED, Table};
use super::{MAX_TABLES, Routes};
use crate::net::adjacency::Family;
use crate::net::fib::{Action, Source};
use crate::net::table_cache::Tables;

/// A routing table as commands show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TableInfo {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// The number by which packets carry it.
    pub fib_index: u32,
    /// IPv4 prefixes.
    pub ip4_routes: usize,
    /// IPv6 prefixes.
    pub ip6_routes: usize,
    /// Sets of paths of both families, which routes share.
    pub path_sets: usize,
    /// Bytes of what workers search.
    pub lookup_bytes: usize,
    /// Interfaces whose packets it routes; of the default table, those that no other has.
    pub interfaces: Vec<String>,
}

/// The host's name for binding an interface's row.
#[derive(Serialize)]
struct SetFib {
    interface: InterfaceIndex,
    ip4: u32,
    ip6: u32,
}

impl Routes {
    /// Makes a table of both families.
    ///
    /// # Errors
    /// Number or name are taken or cannot be one, or there is no address space.
    pub fn add_table(&self, control: &Control<'_>, name: &str, id: u32) -> Result<(), Failure> {
        let mut edit = self.edit(control);
        edit.state.index.check_new(id, name)?;
        let table =
            Table::new(id).map_err(|error| failure!("there is no room for routing table {name}: {error}"))?;
        let fib = edit.free_fib()?;
        edit.state.slots[fib as usize] = Some(table);
        edit.state.index.insert(id, name, fib);
        if let Err(failure) = edit.fill(fib) {
            edit.take_table(id, fib);
            return Err(failure);
        }
        edit.publish_tables();
        Ok(())
    }

    /// Takes a table away that nobody uses and that has no routes.
    ///
    /// # Errors
    /// There is none, or somebody uses it: the message says who.
    pub fn remove_table(&self, control: &Control<'_>, key: &TableKey) -> Result<(), Failure> {
        let mut edit = self.edit(control);
        let (id, fib) = edit.state.find_table(key)?;
        edit.state.refuse_if_used(id, fib)?;
        for (prefix, _) in FIXED {
            edit.set(fib, prefix.parse()?, Source::INTERFACE, None)?;
        }
        edit.take_table(id, fib);
        edit.publish_tables();
        Ok(())
    }

    /// The tables, by number.
    pub fn tables(&self) -> Vec<TableInfo> {
        let state = self.state();
        let info = |(id, name, fib): (u32, &str, u32)| {
            let table = state.table(fib)?;
            Some(TableInfo {
                id,
                name: name.to_owned(),
                fib_index: fib,
                ip4_routes: table.len(Family::Ip4),
                ip6_routes: table.len(Family::Ip6),
                path_sets: table.ip4.path_sets() + table.ip6.path_sets(),
                lookup_bytes: table.ip4.lpm_bytes() + table.ip6.lpm_bytes(),
                interfaces: state.bound(fib),
            })
        };
        state.index.iter().filter_map(info).collect()
    }

    /// Number and FIB index of a table.
    ///
    /// # Errors
    /// There is none; the message names the nearest one.
    pub fn find_table(&self, key: &TableKey) -> Result<(u32, u32), Failure> {
        self.state().find_table(key)
    }

    /// Number and name of the table that an interface is bound to.
    pub fn table_of(&self, interface: InterfaceIndex) -> (u32, String) {
        let state = self.state();
        let fib = state.fib_of(interface);
        // An interface is bound to a table that there is.
        let id = state.table(fib).map_or(0, |table| table.id);
        (id, state.index.name(id))
    }

    /// The FIB index of the table that an interface is bound to.
    pub fn fib_of(&self, interface: InterfaceIndex) -> u32 {
        self.state().fib_of(interface)
    }

    /// Binds an interface to a table: what it receives is looked up there from now on, and the routes of its addresses move
    /// there. That the addresses fit the table is for the caller to see to.
    ///
    /// # Errors
    /// There is no such table, or the host refuses.
    pub fn bind(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        key: &TableKey,
    ) -> Result<(), Failure> {
        let mut edit = self.edit(control);
        let (_, fib) = edit.state.find_table(key)?;
        let old = edit.state.fib_of(interface);
        if old == fib {
            return Ok(());
        }
        let networks = edit.networks(interface);
        edit.state.bindings.insert(interface, fib);
        // At each moment the interface's routes are in the table that its packets are looked up in.
        let former = edit.sync_connected(interface);
        if let Err(failure) =
            control.call::<_, ()>("interface.set-fib", &SetFib { interface, ip4: fib, ip6: fib })
        {
            edit.state.bindings.insert(interface, old);
            let former = edit.sync_connected(interface);
            edit.remove_connected(former);
            return Err(failure);
        }
        if fib == 0 {
            edit.state.bindings.remove(&interface);
        }
        edit.remove_connected(former);
        for table in [old, fib] {
            edit.state.renew_networks(table);
            edit.sync_statics(None, table, &networks);
        }
        edit.sync_neighbors_on(interface);
        Ok(())
    }
}

impl Edit<'_> {
    /// Puts the routes into a new table that every table has.
    pub(super) fn fill(&mut self, fib: u32) -> Result<(), Failure> {
        for (prefix, action) in FIXED {
            self.set(fib, prefix.parse()?, Source::INTERFACE, Some(action))?;
        }
        Ok(())
    }

    /// A slot for a new table: one never used, or that of the table that is gone longest.
    fn free_fib(&mut self) -> Result<u32, Failure> {
        let state = &mut *self.state;
        if state.slots.len() < MAX_TABLES {
            state.slots.push(None);
            return Ok(state.slots.len() as u32 - 1);
        }
        state.free.pop_front().ok_or_else(|| {
            failure!("the {MAX_TABLES} routing tables are in use, or were until a moment ago; try again")
        })
    }

    fn take_table(&mut self, id: u32, fib: u32) {
        self.state.index.remove(id);
        self.state.networks.remove(&fib);
        if let Some(table) = self.state.slots.get_mut(fib as usize).and_then(Option::take) {
            self.state.leaving.push((fib, table));
            self.changed = true;
        }
    }

    /// Tells the workers which tables there are.
    fn publish_tables(&mut self) {
        let State { slots, nowhere, .. } = &*self.state;
        let ip4 =
            slots.iter().map(|slot| slot.as_ref().map_or(nowhere.0.reader(), |table| table.ip4.reader()));
        let ip6 =
            slots.iter().map(|slot| slot.as_ref().map_or(nowhere.1.reader(), |table| table.ip6.reader()));
        let (ip4, ip6) = (ip4.collect(), ip6.collect());
        let version = self.tables.ip4.get(self.control).version + 1;
        self.tables.ip4.publish(self.control, Tables { version, readers: ip4 });
        self.tables.ip6.publish(self.control, Tables { version, readers: ip6 });
    }
}

impl State {
    /// Names of the interfaces bound to a table.
    fn bound(&self, fib: u32) -> Vec<String> {
        let all = self.links.iter().filter(|(interface, _)| self.fib_of(*interface) == fib);
        all.map(|(_, link)| link.name.clone()).collect()
    }

    /// A table in use cannot go.
    fn refuse_if_used(&self, id: u32, fib: u32) -> Result<(), Failure> {
        let name = self.index.name(id);
        if fib == 0 {
            bail!("the default routing table cannot be removed");
        }
        let bound = self.bound(fib);
        if !bound.is_empty() {
            bail!("routing table {name} is in use by {}", list(&bound));
        }
        let statics = self.statics.iter().filter(|(_, route)| route.table() == Some(id));
        let users: Vec<_> = statics.map(|((_, prefix), _)| format!("route {prefix}")).collect();
        if !users.is_empty() {
            bail!("routing table {name} is in use by {}", list(&users));
        }
        let leads_here = |action: &Action| *action == Action::Table { table: id };
        if let Some((_, user)) = self.tables().find(|(_, table)| table.actions().any(leads_here)) {
            bail!("routing table {name} is in use by routes of table {}", self.index.name(user.id));
        }
        let left =
            self.table(fib).map_or(0, |table| table.len(Family::Ip4) + table.len(Family::Ip6) - FIXED.len());
        let configured = self.statics.of_table(fib).count();
        if left + configured > 0 {
            let count = left.max(configured);
            bail!("routing table {name} still has {count} routes; `route flush table {name}` removes them");
        }
        Ok(())
    }
}

/// The first few of them, and how many more there are.
fn list(names: &[String]) -> String {
    const MOST: usize = 3;
    let shown = names.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
