//! Monitors: one for each namespace that something is in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use raddle_plugin_api::namespace::NamespaceId;
use raddle_plugin_api::prelude::*;

use super::{Mirror, NamespaceName, State, Tap, Tun};
use crate::netlink::{Command, MirrorSpec, Monitor, Role, Snapshot, Status, Table};
use crate::sync::WORK;

/// A monitor, and what it was told.
#[derive(Default)]
pub(super) struct Watched {
    monitor: Option<Monitor>,
    /// Namespaces that had the name before.
    pub(super) replaced: u64,
    /// Nothing has the name at present.
    is_nameless: bool,
    roles: BTreeMap<String, Role>,
    /// The mirrors that it fills, by their places in memory: those of another configuration are others.
    mirrors: Vec<(Table, usize)>,
    /// Why there is none.
    pub(super) fault: Option<String>,
}

impl Watched {
    /// What there was when it last looked.
    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.monitor.as_ref()?.snapshot()
    }

    /// Tells it something; returns the number of the command.
    pub(super) fn tell(&mut self, command: Command) -> u64 {
        self.monitor.as_mut().map_or(0, |monitor| monitor.tell(command))
    }

    /// Has it read everything again; `false`: there is none.
    pub(super) fn resync(&mut self) -> bool {
        self.tell(Command::Resync) > 0
    }

    /// How it fares.
    pub(super) fn status(&self) -> Status {
        let status = self.monitor.as_ref().map(Monitor::status).unwrap_or_default();
        let nameless = || self.is_nameless.then(|| NAMELESS.to_owned());
        Status { fault: self.fault.clone().or_else(nameless).or(status.fault.clone()), ..status }
    }

    /// Looks whether its namespace is still the one of that name; `true`: another one is.
    fn is_replaced(&mut self, name: &NamespaceName) -> bool {
        let Some(watched) = self.monitor.as_ref().and_then(Monitor::namespace) else { return false };
        let named = NamespaceId::of_name(name.as_deref());
        self.is_nameless = named.is_none();
        named.is_some_and(|named| named != watched)
    }
}

/// What is said while a namespace that is in use has no name.
const NAMELESS: &str = "the namespace was removed: what is in it goes on until another one has the name";

impl State {
    /// Starts the monitors that are wanted, and tells each what it is to look after.
    pub(super) fn bring_monitors(&mut self, control: &Control<'_>) {
        let mut wanted: BTreeSet<NamespaceName> = BTreeSet::new();
        wanted.extend(self.taps.values().map(|tap| tap.namespace.clone()));
        wanted.extend(self.tuns.values().map(|tun| tun.namespace.clone()));
        wanted.extend(self.mirrors.iter().map(|mirror| mirror.namespace.clone()));
        self.monitors.retain(|namespace, _| wanted.contains(namespace));
        for namespace in wanted {
            let roles = self.roles(&namespace);
            let mirrors: Vec<_> =
                self.mirrors.iter().filter(|mirror| mirror.namespace == namespace).cloned().collect();
            let watched = self.monitors.entry(namespace.clone()).or_default();
            let is_replaced = watched.is_replaced(&namespace);
            if is_replaced || watched.monitor.as_ref().is_none_or(Monitor::has_ended) {
                let replaced = watched.replaced + u64::from(is_replaced);
                *watched = Watched { replaced, ..Watched::default() };
                let taps = self.taps.values_mut().filter(|tap| tap.namespace == namespace);
                let tuns = self.tuns.values_mut().filter(|tun| tun.namespace == namespace);
                if is_replaced {
                    let name = namespace.as_deref().unwrap_or_default();
                    log_warn!(
                        control,
                        "tuntap: namespace {name} is another one now: all is set up anew in it"
                    );
                    taps.for_each(Tap::start_over);
                    tuns.for_each(Tun::start_over);
                } else {
                    // Commands are counted anew.
                    taps.for_each(|tap| tap.told = 0);
                    tuns.for_each(|tun| tun.told = 0);
                }
                let remote = control.remote();
                let tell = move || {
                    remote.run(|control| {
                        // Where nobody waits, nobody looks.
                        let _ = control.signal(WORK, &());
                    });
                };
                match Monitor::start(namespace.as_deref(), tell) {
                    Ok(monitor) => watched.monitor = Some(monitor),
                    Err(error) => watched.fault = Some(error.to_string()),
                }
            }
            if watched.roles != roles {
                watched.roles.clone_from(&roles);
                watched.tell(Command::Roles(roles));
            }
            let places: Vec<_> =
                mirrors.iter().map(|mirror| (mirror.kernel_table(), Arc::as_ptr(mirror) as usize)).collect();
            if watched.mirrors != places {
                watched.mirrors = places;
                let specs = mirrors
                    .iter()
                    .map(|mirror| MirrorSpec { table: mirror.kernel_table(), routes: mirror.shared() })
                    .collect();
                watched.tell(Command::Mirrors(specs));
            }
            let fault = watched.status().fault;
            let name = namespace.as_deref().unwrap_or("raddle's own").to_owned();
            self.say(control, &format!("namespace {name}"), fault);
            for mirror in mirrors {
                let fault = self.fault_of(&mirror);
                self.say(control, &format!("table {} of namespace {name}", mirror.kernel_table()), fault);
            }
        }
    }

    /// Why a mirror has no table to follow.
    pub(super) fn fault_of(&self, mirror: &Mirror) -> Option<String> {
        let snapshot = self.monitors.get(&mirror.namespace)?.snapshot()?;
        let Table::Vrf(name) = mirror.kernel_table() else { return None };
        let is_there = mirror.kernel_table().number(&snapshot).is_some();
        (!is_there).then(|| format!("there is no VRF device {name}"))
    }

    fn roles(&self, namespace: &NamespaceName) -> BTreeMap<String, Role> {
        let taps = self.taps.values().filter(|tap| tap.namespace == *namespace);
        let tuns = self.tuns.values().filter(|tun| tun.namespace == *namespace);
        let taps = taps.map(|tap| (tap.device.clone(), Role::Interface(tap.of)));
        taps.chain(tuns.map(|tun| (tun.device.clone(), Role::Tun))).collect()
    }

    /// Brings the addresses and neighbours of both sides together, as the monitors see them.
    pub(super) fn follow_hosts(&mut self, control: &Control<'_>) {
        let mut faults = Vec::new();
        for (name, tap) in &mut self.taps {
            let Some(watched) = self.monitors.get_mut(&tap.namespace) else { continue };
            let fault = tap.follow(control, watched).err().map(|failure| failure.to_string());
            if tap.fault.is_none() {
                tap.fault.clone_from(&fault);
            }
            faults.push((format!("addresses of {name}"), fault));
        }
        let users = &self.users_of_tuns;
        for (table, tun) in &mut self.tuns {
            let Some(watched) = self.monitors.get_mut(&tun.namespace) else { continue };
            let networks = users
                .iter()
                .filter(|(_, of)| of == table)
                .filter_map(|(user, _)| control.network(*user).ok());
            let all = networks.flat_map(|network| network.addresses).map(|info| info.address);
            // Those of one link mean nothing on another.
            let wanted = all
                .filter(|address| !matches!(address.address(), IpAddr::V6(ip) if ip.is_unicast_link_local()));
            tun.follow(wanted.collect(), watched);
        }
        for (what, fault) in faults {
            self.say(control, &what, fault);
        }
    }
}
