//! Commands for routing tables.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::route::TableKey;
use serde::Deserialize;

use super::addresses::Addresses;
use super::routes::{Routes, TableInfo};

command! {
    "table add <name:word> <id:u32:1..4294967294>",
    "makes a routing table (a VRF) for both families",
    add_table
}
command! { "table del <table:word>", "takes a routing table away that is not in use", remove_table }
command! {
    "set interface table <interface> <table:word>",
    "binds an interface to a routing table: what it receives is looked up there, and its addresses belong there",
    bind
}
command! { "show table", "shows the routing tables", show_tables }

#[derive(Deserialize)]
struct NewTable {
    name: String,
    id: u32,
}

fn add_table(control: &mut Control<'_>, arguments: NewTable) -> Result<(), Failure> {
    control.resource::<Routes>()?.add_table(control, &arguments.name, arguments.id)
}

#[derive(Deserialize)]
struct OneTable {
    table: String,
}

impl OneTable {
    fn key(&self) -> TableKey {
        // Any text names a table, whether there is one or not.
        self.table.parse().unwrap_or_default()
    }
}

fn remove_table(control: &mut Control<'_>, arguments: OneTable) -> Result<(), Failure> {
    control.resource::<Routes>()?.remove_table(control, &arguments.key())
}

#[derive(Deserialize)]
struct Binding {
    interface: String,
    #[serde(flatten)]
    table: OneTable,
}

fn bind(control: &mut Control<'_>, arguments: Binding) -> Result<(), Failure> {
    let interface = control.interface(&arguments.interface)?.index;
    control.resource::<Addresses>()?.set_table(control, interface, &arguments.table.key())
}

fn show_tables(control: &mut Control<'_>, _: NoArguments) -> Result<Vec<TableInfo>, Failure> {
    Ok(control.resource::<Routes>()?.tables())
}
