//! The groups of all interfaces at work: joins and leaves, what queriers ask, and what is sent.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raddle_plugin_api::abi::LogLevel;
use raddle_plugin_api::task::{self, Remote};
use raddle_plugin_api::wire::{Ip4Address, Ip6Address, MacAddress};
use raddle_plugin_api::{Control, Failure, InterfaceIndex, Worker, bail};
use serde::Serialize;

use super::group_table::GroupTable;
use super::membership::{Compatibility, Membership, Query};
use super::report::Report;
use crate::net::local::{LocalNext, LocalOutput, OwnTable};
use crate::net::mac_filter::{Holder, MacFilters};
use crate::net::port_policy::PortPolicies;
use crate::net::{igmp, mld};

/// Groups of one interface and family at most.
pub const MAX_GROUPS: usize = 1024;

/// What was heard on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// An IGMP query.
    Query4(Query<Ipv4Addr>),
    /// An MLD query.
    Query6(Query<Ipv6Addr>),
    /// Another host is in a group.
    Report(IpAddr),
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (group, sources, delay_ns) = match self {
            Self::Query4(query) => (query.group.map(IpAddr::V4), query.sources.len(), query.max_delay_ns),
            Self::Query6(query) => (query.group.map(IpAddr::V6), query.sources.len(), query.max_delay_ns),
            Self::Report(group) => return write!(f, "report of {group}"),
        };
        match group {
            Some(group) => write!(f, "query of {group}")?,
            None => f.write_str("query of all groups")?,
        }
        if sources > 0 {
            write!(f, " from {sources} sources")?;
        }
        write!(f, ", to be answered within {} ms", delay_ns / 1_000_000)
    }
}

/// The groups of all interfaces. A resource of the core: the main thread's alone, but for what workers hear.
pub struct Groups {
    remote: Remote,
    output: Arc<LocalOutput>,
    own: Arc<OwnTable>,
    policies: Arc<PortPolicies>,
    table: Arc<GroupTable>,
    filters: Arc<MacFilters>,
    chance: RandomState,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    links: BTreeMap<InterfaceIndex, Link>,
    /// For when a task is set that does what is due.
    armed_ns: Option<u64>,
    rolls: u64,
}

#[derive(Default)]
struct Link {
    ip4: Membership<Ipv4Addr>,
    ip6: Membership<Ipv6Addr>,
}

/// A group, for `show multicast groups`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GroupInfo {
    interface: String,
    group: IpAddr,
    joined: u32,
    reported: &'static str,
}

impl Groups {
    /// No groups yet.
    ///
    /// # Errors
    /// What it stands on is not there.
    pub fn new(control: &Control<'_>) -> Result<Self, Failure> {
        Ok(Self {
            remote: control.remote(),
            output: control.resource()?,
            own: control.resource()?,
            policies: control.resource()?,
            table: control.resource()?,
            filters: control.resource()?,
            chance: RandomState::new(),
            state: Mutex::default(),
        })
    }

    /// Joins a group on an interface: packets to it are taken, and the link's routers are told. Each call is undone by one of
    /// [`Self::leave`].
    ///
    /// # Errors
    /// The address is no group's, or the interface is in too many.
    pub fn join(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        group: IpAddr,
    ) -> Result<(), Failure> {
        check(group)?;
        let now_ns = control.now_ns();
        let mut state = self.state();
        let link = state.links.entry(interface).or_default();
        let count = if group.is_ipv4() { link.ip4.len() } else { link.ip6.len() };
        if count >= MAX_GROUPS && !link.contains(group) {
            bail!("interface {interface} is in {MAX_GROUPS} groups already");
        }
        match group {
            IpAddr::V4(group) => link.ip4.join(now_ns, group, group == Ipv4Addr::new(224, 0, 0, 1)),
            IpAddr::V6(group) => link.ip6.join(now_ns, group, is_silent6(group)),
        }
        drop(state);
        self.publish(control);
        self.filter(control, interface);
        self.expire(control);
        Ok(())
    }

    /// Leaves a group that was joined by [`Self::join`].
    ///
    /// # Errors
    /// It was not.
    pub fn leave(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        group: IpAddr,
    ) -> Result<(), Failure> {
        let now_ns = control.now_ns();
        let mut state = self.state();
        let left = state.links.get_mut(&interface).is_some_and(|link| match group {
            IpAddr::V4(group) => link.ip4.leave(now_ns, group),
            IpAddr::V6(group) => link.ip6.leave(now_ns, group),
        });
        drop(state);
        if !left {
            bail!("interface {interface} is not in group {group}");
        }
        self.publish(control);
        self.filter(control, interface);
        self.expire(control);
        Ok(())
    }

    /// All groups that are joined, by interface and address. `name` tells an interface's name.
    pub fn list(
        &self,
        control: &Control<'_>,
        only: Option<InterfaceIndex>,
        name: impl Fn(InterfaceIndex) -> String,
    ) -> Vec<GroupInfo> {
        let now_ns = control.now_ns();
        let state = self.state();
        let mut list = Vec::new();
        for (&interface, link) in
            state.links.iter().filter(|(index, _)| only.is_none_or(|only| only == **index))
        {
            let policy = self.policies.get(interface);
            let version4 = match link.ip4.compatibility(now_ns) {
                Compatibility::Oldest => "igmp-v1",
                Compatibility::Older => "igmp-v2",
                Compatibility::Current => "igmp-v3",
            };
            let version6 =
                if link.ip6.compatibility(now_ns) == Compatibility::Current { "mld-v2" } else { "mld-v1" };
            let joined4 =
                link.ip4.groups().map(|(group, state)| (group.into(), state.references, state.is_silent));
            let joined6 =
                link.ip6.groups().map(|(group, state)| (group.into(), state.references, state.is_silent));
            for (group, joined, is_silent) in joined4.chain(joined6).filter(|(_, joined, _)| *joined > 0) {
                let group: IpAddr = group;
                let (version, spoken) =
                    if group.is_ipv4() { (version4, policy.igmp) } else { (version6, policy.mld) };
                let reported = if is_silent || !spoken { "no" } else { version };
                list.push(GroupInfo { interface: name(interface), group, joined, reported });
            }
        }
        list
    }

    /// The interface has come up: its link's routers hear of all groups anew.
    pub(super) fn restart(&self, control: &Control<'_>, interface: InterfaceIndex) {
        let now_ns = control.now_ns();
        if let Some(link) = self.state().links.get_mut(&interface) {
            link.ip4.restart(now_ns);
            link.ip6.restart(now_ns);
        }
        self.expire(control);
    }

    /// The interface is gone, and its groups with it.
    pub(super) fn forget(&self, control: &Control<'_>, interface: InterfaceIndex) {
        if self.state().links.remove(&interface).is_some() {
            self.publish(control);
        }
    }

    /// Something was heard on the link of an interface. Any thread.
    pub fn report_heard(&self, interface: InterfaceIndex, heard: Heard) {
        self.remote.run(move |control| {
            // It was provided before any worker ran.
            if let Ok(groups) = control.resource::<Self>() {
                groups.heard(control, interface, heard);
            }
        });
    }

    fn heard(&self, control: &Control<'_>, interface: InterfaceIndex, heard: Heard) {
        let now_ns = control.now_ns();
        let mut state = self.state();
        let State { links, rolls, .. } = &mut *state;
        let Some(link) = links.get_mut(&interface) else { return };
        let chance = |below| self.roll(rolls, below);
        match heard {
            Heard::Query4(query) => link.ip4.query(now_ns, &query, chance),
            Heard::Query6(query) => link.ip6.query(now_ns, &query, chance),
            Heard::Report(IpAddr::V4(group)) => link.ip4.heard_report(now_ns, group),
            Heard::Report(IpAddr::V6(group)) => link.ip6.heard_report(now_ns, group),
        }
        drop(state);
        self.expire(control);
    }

    /// Tells what is due, and sets a task for what will be.
    fn expire(&self, control: &Control<'_>) {
        let now_ns = control.now_ns();
        let mut state = self.state();
        let State { links, rolls, armed_ns } = &mut *state;
        let mut next_ns: Option<u64> = None;
        for (&interface, link) in links {
            let told4 = link.ip4.expire(now_ns, |below| self.roll(rolls, below));
            let told6 = link.ip6.expire(now_ns, |below| self.roll(rolls, below));
            self.send(control, interface, told4, told6);
            for due_ns in [link.ip4.next_deadline_ns(), link.ip6.next_deadline_ns()].into_iter().flatten() {
                next_ns = Some(next_ns.map_or(due_ns, |next_ns| next_ns.min(due_ns)));
            }
        }
        let Some(next_ns) = next_ns.filter(|next_ns| armed_ns.is_none_or(|armed_ns| *next_ns < armed_ns))
        else {
            return;
        };
        *armed_ns = Some(next_ns);
        drop(state);
        control.spawn("multicast-groups", |task| async move {
            task::sleep(Duration::from_nanos(next_ns.saturating_sub(now_ns))).await;
            task.with(|control| {
                // It is what has set this task.
                if let Ok(groups) = control.resource::<Self>() {
                    groups.wake(control, next_ns);
                }
            });
        });
    }

    /// The task for that time has come to its end.
    fn wake(&self, control: &Control<'_>, due_ns: u64) {
        let mut state = self.state();
        if state.armed_ns == Some(due_ns) {
            state.armed_ns = None;
        }
        drop(state);
        self.expire(control);
    }

    fn send(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        told4: Vec<Report<Ipv4Addr>>,
        told6: Vec<Report<Ipv6Addr>>,
    ) {
        if told4.is_empty() && told6.is_empty() {
            return;
        }
        let (own, policy) = (self.own.get(control), self.policies.get(interface));
        if policy.igmp {
            // RFC 3376 §4.2.13: who has no address yet speaks from 0.0.0.0.
            let all_hosts = Ip4Address([224, 0, 0, 1]);
            let source = own.source4(interface, all_hosts).unwrap_or(Ip4Address([0; 4]));
            for packet in told4.iter().flat_map(|report| igmp::packets(source, report)) {
                let Some(group) = packet.first_chunk::<20>().map(|header| &header[16..20]) else { continue };
                let group = Ipv4Addr::new(group[0], group[1], group[2], group[3]);
                self.send_packet(interface, MacAddress::from_ip4_multicast(group), packet);
            }
        }
        if policy.mld {
            // RFC 3810 §5.2.13: a link-local address, or the unspecified one before there is any.
            let source =
                own.source6(interface, Ip6Address::ALL_NODES).filter(|source| source.is_link_local());
            let source = source.unwrap_or(Ip6Address::UNSPECIFIED);
            for packet in told6.iter().flat_map(|report| mld::packets(source, report)) {
                let Some(group) = packet.get(24..40).and_then(|bytes| bytes.first_chunk::<16>()) else {
                    continue;
                };
                let group = Ipv6Addr::from(*group);
                self.send_packet(interface, MacAddress::from_ip6_multicast(group), packet);
            }
        }
    }

    fn send_packet(&self, interface: InterfaceIndex, to: MacAddress, packet: Vec<u8>) {
        self.output.make(LocalNext::Interface, move |worker: &Worker<'_>, made| {
            let Some(row) = worker.interface(interface).filter(|row| row.is_up()) else { return false };
            made.set_tx_interface(interface);
            let frame = if row.has_ethernet() { igmp::framed(to, row.mac(), &packet) } else { packet };
            made.append(&frame)
        });
    }

    fn publish(&self, control: &Control<'_>) {
        let state = self.state();
        let groups = state.links.iter().flat_map(|(&interface, link)| {
            let joined4 = link.ip4.groups().map(|(group, state)| (IpAddr::V4(group), state.references));
            let joined6 = link.ip6.groups().map(|(group, state)| (IpAddr::V6(group), state.references));
            let joined = joined4.chain(joined6).filter(|(_, references)| *references > 0);
            joined.map(move |(group, _)| (interface, group))
        });
        self.table.replace(control, groups.collect::<HashSet<_>>());
    }

    /// Has the interface take frames for the groups that it is in.
    fn filter(&self, control: &Control<'_>, interface: InterfaceIndex) {
        let macs = self.state().links.get(&interface).map(Link::macs).unwrap_or_default();
        if let Err(failure) = self.filters.set(control, interface, Holder::Group, macs) {
            control.log(LogLevel::WARN, format_args!("groups of interface {interface}: {failure}"));
        }
    }

    /// A number below `below` that nobody can tell in advance.
    fn roll(&self, rolls: &mut u64, below: u64) -> u64 {
        *rolls = rolls.wrapping_add(1);
        self.chance.hash_one(*rolls) % below.max(1)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn contains(&self, group: IpAddr) -> bool {
        match group {
            IpAddr::V4(group) => self.ip4.contains(group),
            IpAddr::V6(group) => self.ip6.contains(group),
        }
    }

    /// Where packets to the groups are sent.
    fn macs(&self) -> BTreeSet<MacAddress> {
        let joined4 = self.ip4.groups().filter(|(_, state)| state.references > 0);
        let joined6 = self.ip6.groups().filter(|(_, state)| state.references > 0);
        let macs4 = joined4.map(|(group, _)| MacAddress::from_ip4_multicast(group));
        macs4.chain(joined6.map(|(group, _)| MacAddress::from_ip6_multicast(group))).collect()
    }
}

fn check(group: IpAddr) -> Result<(), Failure> {
    if !group.is_multicast() {
        bail!("{group} is no multicast group");
    }
    Ok(())
}

/// The group of all nodes, and those that never leave their node (RFC 3810 §6).
fn is_silent6(group: Ipv6Addr) -> bool {
    Ip6Address::from(group) == Ip6Address::ALL_NODES || group.octets()[1] & 0xf <= 1
}
