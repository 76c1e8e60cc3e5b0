//! Numbers and names of the routing tables.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use raddle_plugin_api::config::nearest;
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::{Failure, bail};

use crate::net::leaf_resolver::LINK_LOCAL_TABLE;

/// Routing tables that can exist at a time.
pub const MAX_TABLES: usize = 1024;
/// Longest name of a table, in bytes.
const LONGEST_NAME: usize = 63;

/// The tables that there are: number, name, and the FIB index by which workers know each.
#[derive(Clone, Debug, Default)]
pub struct TableIndex {
    by_id: BTreeMap<u32, Named>,
}

#[derive(Clone, Debug)]
struct Named {
    fib: u32,
    name: String,
}

impl TableIndex {
    /// Takes a table in.
    pub fn insert(&mut self, id: u32, name: &str, fib: u32) {
        self.by_id.insert(id, Named { fib, name: name.to_owned() });
    }

    /// Forgets a table.
    pub fn remove(&mut self, id: u32) {
        self.by_id.remove(&id);
    }

    /// The FIB index of the table with this number.
    pub fn fib(&self, id: u32) -> Option<u32> {
        self.by_id.get(&id).map(|named| named.fib)
    }

    /// The name of the table with this number, or the number if it is gone.
    pub fn name(&self, id: u32) -> String {
        self.by_id.get(&id).map_or_else(|| format!("#{id}"), |named| named.name.clone())
    }

    /// Number and FIB index of a table.
    ///
    /// # Errors
    /// There is none; the message names the nearest one.
    pub fn find(&self, key: &TableKey) -> Result<(u32, u32), Failure> {
        let found = match key {
            TableKey::Id(id) => self.by_id.get_key_value(id),
            TableKey::Name(name) => self.by_id.iter().find(|(_, named)| named.name == *name),
        };
        if let Some((&id, named)) = found {
            return Ok((id, named.fib));
        }
        match key {
            TableKey::Id(id) => bail!("there is no routing table {id}"),
            TableKey::Name(name) => match nearest(name, self.names()) {
                Some(near) => bail!("there is no routing table `{name}`; did you mean `{near}`?"),
                None => bail!("there is no routing table `{name}`"),
            },
        }
    }

    /// Numbers, names and FIB indices, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str, u32)> {
        self.by_id.iter().map(|(&id, named)| (id, named.name.as_str(), named.fib))
    }

    /// Whether a new table may have this number and this name.
    ///
    /// # Errors
    /// It may not: taken, reserved or no name.
    pub fn check_new(&self, id: u32, name: &str) -> Result<(), Failure> {
        if self.by_id.len() >= MAX_TABLES {
            bail!("there are {MAX_TABLES} routing tables already");
        }
        if id == LINK_LOCAL_TABLE {
            bail!("a routing table's number is at most {}", LINK_LOCAL_TABLE - 1);
        }
        if let Some(named) = self.by_id.get(&id) {
            bail!("routing table {id} is there already, named `{}`", named.name);
        }
        check_name(name)?;
        if self.names().any(|known| known == name) {
            bail!("there is a routing table `{name}` already");
        }
        Ok(())
    }

    fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.by_id.values().map(|named| named.name.as_str())
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !(1..=LONGEST_NAME).contains(&name.len()) || !name.chars().all(fits) {
        bail!("`{name}` is no name of a routing table: 1 to {LONGEST_NAME} letters, digits and any of `-_.`");
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        bail!("`{name}` is no name of a routing table: it begins with a digit");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_found_by_number_and_name_and_told_apart() {
        let mut tables = TableIndex::default();
        tables.insert(0, "default", 0);
        tables.insert(10, "blue", 1);
        for key in ["10", "blue"] {
            assert_eq!(tables.find(&key.parse().unwrap()).unwrap(), (10, 1));
        }
        for (key, message) in [
            ("11", "there is no routing table 11"),
            ("blu", "there is no routing table `blu`; did you mean `blue`?"),
        ] {
            assert_eq!(tables.find(&key.parse().unwrap()).unwrap_err().to_string(), message);
        }
        for (id, name, message) in [
            (10, "red", "routing table 10 is there already, named `blue`"),
            (11, "blue", "there is a routing table `blue` already"),
            (u32::MAX, "red", "a routing table's number is at most 4294967294"),
            (11, "1red", "`1red` is no name of a routing table: it begins with a digit"),
            (11, "r d", "`r d` is no name of a routing table: 1 to 63 letters, digits and any of `-_.`"),
            (11, "", "`` is no name of a routing table: 1 to 63 letters, digits and any of `-_.`"),
        ] {
            assert_eq!(tables.check_new(id, name).unwrap_err().to_string(), message);
        }
        tables.check_new(11, "red").unwrap();
    }
}
