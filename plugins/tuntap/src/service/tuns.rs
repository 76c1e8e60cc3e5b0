//! Tuns: one for each routing table whose interfaces reach the host without a tap of their own.

use std::collections::{BTreeMap, BTreeSet};

use raddle_plugin_api::InterfaceInfo;
use raddle_plugin_api::interface::NewInterface;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::route::TableKey;
use serde_json::json;

use super::monitors::Watched;
use super::{NamespaceName, State};
use crate::address_merge::Addresses;
use crate::config::{InterfaceConfig, Mode, TunConfig, TuntapConfig};
use crate::netlink::{Command, LinkChange};
use crate::{FROM_HOST, NAME};

/// A tun.
#[derive(Default)]
pub(super) struct Tun {
    /// The tun as an interface of raddle's; `None`: it cannot be made at present.
    pub(super) index: Option<InterfaceIndex>,
    /// Its name on the host.
    pub(super) device: String,
    /// Where that is.
    pub(super) namespace: NamespaceName,
    config: TunConfig,
    is_held: bool,
    /// Number of the last command about it.
    pub(super) told: u64,
    link: Option<u32>,
    /// Addresses that the host's side was given.
    given: Addresses,
    /// Addresses of the table that the host's side has not.
    pub(super) differ: Addresses,
    /// What is wrong with it.
    pub(super) fault: Option<String>,
}

fn name_of(table: u32) -> String {
    format!("tun-{table}")
}

impl State {
    /// Makes the tuns of the tables that interfaces in mode `tun` are bound to; others go.
    pub(super) fn bring_tuns<'i>(
        &mut self,
        control: &Control<'_>,
        config: &TuntapConfig,
        by_name: &impl Fn(&str) -> Option<&'i InterfaceInfo>,
    ) {
        let user = |(name, asked): (&String, &InterfaceConfig)| {
            let index = by_name(name).filter(|_| asked.mode == Mode::Tun)?.index;
            Some((index, control.network(index).ok()?.table))
        };
        self.users_of_tuns = config.interface.iter().filter_map(user).collect();
        let users: BTreeSet<u32> = self.users_of_tuns.iter().map(|(_, table)| *table).collect();
        let mut asked: BTreeMap<u32, (String, TunConfig)> = BTreeMap::new();
        for (name, tun) in &config.tun {
            // A name is never refused by its parser.
            let Ok(key) = name.parse::<TableKey>();
            match control.table(&key) {
                Ok(table) => drop(asked.insert(table, (name.clone(), tun.clone()))),
                Err(failure) => self.say(control, &format!("tun {name}"), Some(failure.to_string())),
            }
        }
        let wanted: BTreeMap<u32, (String, TunConfig)> = users
            .into_iter()
            .map(|table| {
                let usual = || {
                    (if table == 0 { "default".to_owned() } else { table.to_string() }, TunConfig::default())
                };
                (table, asked.remove(&table).unwrap_or_else(usual))
            })
            .collect();
        let is_wanted = |table: &u32, tun: &Tun| {
            wanted.get(table).is_some_and(|(_, config_of)| {
                tun.config == *config_of
                    && config.namespace_of(&config_of.namespace) == tun.namespace.as_deref()
            })
        };
        let unwanted: Vec<u32> =
            self.tuns.iter().filter(|(table, tun)| !is_wanted(table, tun)).map(|(table, _)| *table).collect();
        for table in unwanted {
            if let Some(index) = self.tuns.remove(&table).and_then(|tun| tun.index) {
                let _ = control.delete_interface(index);
            }
        }
        for (table, (name, asked)) in wanted {
            let mut tun = self.tuns.remove(&table).unwrap_or_else(|| Tun {
                device: asked.device.clone().unwrap_or_else(|| format!("raddle-{name}")),
                namespace: config.namespace_of(&asked.namespace).map(str::to_owned),
                config: asked.clone(),
                ..Tun::default()
            });
            let twin = by_name(&name_of(table));
            tun.index = twin.map(|twin| twin.index);
            let outcome = tun.bring(control, table, twin.is_some_and(|twin| twin.admin_up));
            tun.fault = outcome.err().map(|failure| failure.to_string()).or_else(|| twin?.fault.clone());
            self.say(control, &format!("tun of table {name}"), tun.fault.clone());
            self.tuns.insert(table, tun);
        }
    }
}

impl Tun {
    /// The namespace of its name is another one: it will be made there, and nothing is known of it.
    pub(super) fn start_over(&mut self) {
        (self.told, self.link, self.given) = (0, None, Addresses::new());
    }

    fn bring(&mut self, control: &Control<'_>, table: u32, is_up: bool) -> Result<(), Failure> {
        let index = match self.index {
            Some(index) => index,
            None => {
                self.is_held = false;
                let name = name_of(table);
                let index = control.create_interface(&NewInterface {
                    name: &name,
                    driver: "tun",
                    mac: None,
                    // Within 16 bits by its bounds.
                    mtu: Some(self.config.mtu.get() as u32),
                    options: json!({
                        "device": self.device,
                        "namespace": self.namespace,
                        "persist": self.config.persist,
                    }),
                    made_by: Some(NAME),
                })?;
                control.set_table(index, TableKey::Id(table))?;
                *self.index.insert(index)
            }
        };
        if !self.is_held {
            control.hold_feature(index, FROM_HOST)?;
            self.is_held = true;
        }
        if is_up { Ok(()) } else { control.set_interface_up(index, true) }
    }

    /// Gives the host's side the addresses of the table's interfaces.
    pub(super) fn follow(&mut self, wanted: Addresses, watched: &mut Watched) {
        let Some(snapshot) = watched.snapshot().filter(|snapshot| snapshot.done >= self.told) else { return };
        let Some(link) = snapshot.links.get(&self.device) else { return };
        if self.link != Some(link.index) {
            (self.link, self.given) = (Some(link.index), Addresses::new());
        }
        self.differ = wanted.difference(&link.addresses).copied().collect();
        let gone: Vec<_> =
            self.given.difference(&wanted).filter(|gone| link.addresses.contains(gone)).copied().collect();
        if self.differ.is_empty() && gone.is_empty() {
            self.given = wanted;
            return;
        }
        let add = self.differ.iter().copied().collect();
        let change = LinkChange { device: self.device.clone(), add, remove: gone, ..LinkChange::default() };
        self.given = wanted;
        self.told = watched.tell(Command::Change(change));
    }
}
