//! `show acl sessions`, `clear acl sessions`: the workers stand for a moment for each portion, so that a million sessions are
//! shown without a gap in the traffic.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use raddle_plugin_api::metric::{Metric, MetricKind, Report};
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::table::{Kept, SessionTable, TableKey};
use raddle_plugin_api::task::yield_now;
use raddle_plugin_api::wire::IpProtocol;
use serde::{Deserialize, Serialize};

use crate::acl::{Acl, acl};
use crate::family::ordered;
use crate::session::{Flow, FlowKey4, FlowKey6, Sessions, interface4, interface6, open4, open6};

command! {
    "show acl sessions [interface <interface>] [address <address:ip>] [protocol <protocol>] [port <port:u16>] [after <after>]",
    "shows sessions: those of an interface, with this address or port at either end, of this protocol", show
}
command! {
    "clear acl sessions [interface <interface>] [address <address:ip>] [protocol <protocol>] [port <port:u16>]",
    "ends sessions, all or those that `show acl sessions` shows", async clear
}

/// Numbers of sessions that are looked at while the workers stand once.
const PORTION: u32 = 2048;
/// Portions that one part of an answer looks at.
const PORTIONS: usize = 16;

/// Which sessions are meant.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Filter {
    interface: Option<String>,
    address: Option<IpAddr>,
    protocol: Option<String>,
    port: Option<u16>,
    after: Option<String>,
}

/// A filter, with names looked up.
#[derive(Clone, Copy, Debug, Default)]
struct Wanted {
    interface: Option<InterfaceIndex>,
    address: Option<IpAddr>,
    protocol: Option<u8>,
    port: Option<u16>,
}

impl Filter {
    fn wanted(&self, control: &Control<'_>) -> Result<Wanted, Failure> {
        let interface = self.interface.as_ref().map(|name| control.interface(name)).transpose()?;
        let protocol = self.protocol.as_ref().map(|name| protocol(name)).transpose()?;
        let interface = interface.map(|interface| interface.index);
        Ok(Wanted { interface, address: self.address, protocol, port: self.port })
    }

    /// The command that goes on behind a place.
    fn command_after(&self, place: &Place) -> String {
        let mut text = "show acl sessions".to_owned();
        if let Some(interface) = &self.interface {
            text += &format!(" interface \"{interface}\"");
        }
        if let Some(address) = self.address {
            text += &format!(" address {address}");
        }
        if let Some(protocol) = &self.protocol {
            text += &format!(" protocol {protocol}");
        }
        if let Some(port) = self.port {
            text += &format!(" port {port}");
        }
        text + &format!(" after {}.{}.{}", place.thread, u8::from(place.is_ip6), place.number)
    }
}

fn protocol(name: &str) -> Result<u8, Failure> {
    let known = [("icmp", IpProtocol::ICMP4), ("icmp6", IpProtocol::ICMP6)];
    let named = known.iter().chain(&crate::rule::PROTOCOLS).find(|(known, _)| *known == name);
    match named {
        Some((_, protocol)) => Ok(protocol.0),
        None => name.parse().map_err(|_| failure!("`{name}` is not a protocol")),
    }
}

/// Where a look at the sessions stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    thread: u32,
    is_ip6: bool,
    number: u32,
}

impl Place {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut number = || parts.next()?.parse::<u32>().ok();
        Some(Self { thread: number()?, is_ip6: number()? != 0, number: number()? })
    }

    /// The place behind a portion of a table whose numbers are below `numbers`; `None` at the end of all.
    fn next(self, numbers: u32, threads: u32) -> Option<Self> {
        let number = self.number.saturating_add(PORTION);
        if number < numbers {
            return Some(Self { number, ..self });
        }
        if !self.is_ip6 {
            return Some(Self { is_ip6: true, number: 0, ..self });
        }
        (self.thread + 1 < threads).then_some(Self { thread: self.thread + 1, is_ip6: false, number: 0 })
    }
}

/// A session, apart from its key's form.
#[derive(Clone, Copy)]
struct Look {
    interface: InterfaceIndex,
    protocol: u8,
    ends: [(IpAddr, u16); 2],
    flow: Flow,
    ends_ns: u64,
}

impl Look {
    fn new(
        addresses: [IpAddr; 2],
        ports: [u16; 2],
        protocol: u8,
        interface: InterfaceIndex,
        flow: Flow,
        ends_ns: u64,
    ) -> Self {
        let ([source, destination], [from, to]) = ordered(&flow, addresses, ports);
        Self { interface, protocol, ends: [(source, from), (destination, to)], flow, ends_ns }
    }
}

fn look4(key: &FlowKey4, flow: Flow, ends_ns: u64) -> Look {
    let (addresses, ports, protocol) = open4(key);
    let addresses = addresses.map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
    Look::new(addresses, ports, protocol, interface4(key), flow, ends_ns)
}

fn look6(key: &FlowKey6, flow: Flow, ends_ns: u64) -> Look {
    let (addresses, ports, protocol) = open6(key);
    let address =
        |[high, low]: [u64; 2]| IpAddr::V6(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)));
    Look::new(addresses.map(address), ports, protocol, interface6(key), flow, ends_ns)
}

impl Wanted {
    fn wants(&self, look: &Look) -> bool {
        self.interface.is_none_or(|interface| interface == look.interface)
            && self.protocol.is_none_or(|protocol| protocol == look.protocol)
            && self.address.is_none_or(|address| look.ends.iter().any(|end| end.0 == address))
            && self.port.is_none_or(|port| look.ends.iter().any(|end| end.1 == port))
    }
}

/// The sessions of a portion that are wanted, with their numbers; and how many numbers there are.
fn portion(sessions: &Sessions<'_>, place: Place, wanted: &Wanted) -> (Vec<(u32, Look)>, u32) {
    fn of_table<K: TableKey>(
        table: &SessionTable<K, Flow, Kept<'_>>,
        from: u32,
        look: fn(&K, Flow, u64) -> Look,
        wanted: &Wanted,
    ) -> (Vec<(u32, Look)>, u32) {
        let to = from.saturating_add(PORTION).min(table.numbers());
        let looks = table
            .page(from..to)
            .map(|(number, session)| (number, look(&session.key, session.value, session.ends_ns())));
        (looks.filter(|(_, look)| wanted.wants(look)).collect(), table.numbers())
    }
    if place.is_ip6 {
        of_table(&sessions.ip6, place.number, look6, wanted)
    } else {
        of_table(&sessions.ip4, place.number, look4, wanted)
    }
}

/// A session, as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SessionReport {
    interface: String,
    direction: &'static str,
    protocol: String,
    source: IpAddr,
    source_port: u16,
    destination: IpAddr,
    destination_port: u16,
    state: &'static str,
    packets: u32,
    bytes: u64,
    /// Seconds until it ends if it is not used.
    ends_in_s: u64,
    list: Option<String>,
    rule: u32,
    thread: u32,
}

/// Sessions, and how to see more.
struct SessionList {
    sessions: Vec<SessionReport>,
    rest: Option<String>,
}

impl Serialize for SessionList {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.sessions.serialize(serializer)
    }
}

impl CommandOutput for SessionList {
    fn text(&self) -> Option<String> {
        let line = |session: &SessionReport| {
            let SessionReport {
                interface,
                direction,
                protocol,
                source,
                source_port,
                destination,
                destination_port,
                state,
                packets,
                bytes,
                ends_in_s,
                list,
                rule,
                ..
            } = session;
            format!(
                "{interface} {direction} {protocol} {source} port {source_port} > {destination} port {destination_port} \
                 {state}, {packets} packets, {bytes} bytes, ends in {ends_in_s} s, list {} rule {rule}",
                list.as_deref().unwrap_or("(gone)")
            )
        };
        Some(self.sessions.iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    fn rest(&self) -> Option<String> {
        self.rest.clone()
    }
}

fn show(control: &mut Control<'_>, filter: Filter) -> Result<SessionList, Failure> {
    let wanted = filter.wanted(control)?;
    let acl = acl(control)?;
    let names: BTreeMap<_, _> =
        control.interfaces()?.into_iter().map(|interface| (interface.index, interface.name)).collect();
    let threads = control.thread_count();
    let place = match &filter.after {
        Some(text) => {
            Place::read(text).ok_or_else(|| failure!("`{text}` is not a place among the sessions"))?
        }
        None => Place::default(),
    };
    let (mut place, mut sessions, now_ns) = (Some(place), Vec::new(), control.now_ns());
    for _ in 0..PORTIONS {
        let Some(at) = place else { break };
        let (mut found, mut numbers) = (Vec::new(), 0);
        {
            let mut guard = control.barrier("show acl sessions");
            acl.sessions.each(&mut guard, |thread, sessions| {
                if thread == at.thread {
                    (found, numbers) = portion(sessions, at, &wanted);
                }
            });
        }
        let store = acl.store();
        sessions.extend(found.into_iter().filter(|(_, look)| look.ends_ns > now_ns).map(|(_, look)| {
            SessionReport {
                interface: names.get(&look.interface).cloned().unwrap_or_else(|| "(gone)".into()),
                direction: look.flow.direction().word(),
                protocol: IpProtocol(look.protocol).to_string(),
                source: look.ends[0].0,
                source_port: look.ends[0].1,
                destination: look.ends[1].0,
                destination_port: look.ends[1].1,
                state: look.flow.state().name(),
                packets: look.flow.packets,
                bytes: look.flow.bytes,
                ends_in_s: look.ends_ns.saturating_sub(now_ns).div_ceil(1_000_000_000),
                list: store.list_name(look.flow.list).map(str::to_owned),
                rule: u32::from(look.flow.rule) + 1,
                thread: at.thread,
            }
        }));
        place = at.next(numbers, threads);
    }
    Ok(SessionList { rest: place.map(|place| filter.command_after(&place)), sessions })
}

/// Ends the sessions of a portion that are wanted; returns how many, and how many numbers there are.
fn end_portion(control: &mut Control<'_>, acl: &Acl, at: Place, wanted: &Wanted) -> (u64, u32) {
    let (mut ended, mut numbers) = (0, 0);
    let counts = &acl.counts;
    let mut guard = control.barrier("clear acl sessions");
    acl.sessions.each(&mut guard, |thread, sessions| {
        if thread != at.thread {
            return;
        }
        let found;
        (found, numbers) = portion(sessions, at, wanted);
        for (number, look) in found {
            if at.is_ip6 {
                sessions.ip6.remove(number);
            } else {
                sessions.ip4.remove(number);
            }
            sessions.count(thread, counts, look.interface, -1);
            ended += 1;
        }
    });
    (ended, numbers)
}

/// How many sessions were ended.
#[derive(Debug, Serialize)]
struct Ended {
    ended: u64,
}

impl CommandOutput for Ended {
    fn text(&self) -> Option<String> {
        Some(format!("{} sessions ended", self.ended))
    }
}

fn clear(
    control: &mut Control<'_>,
    filter: Filter,
) -> Result<impl Future<Output = Result<Ended, Failure>> + use<>, Failure> {
    let wanted = filter.wanted(control)?;
    let (acl, task, threads) = (acl(control)?, control.for_task(), control.thread_count());
    Ok(async move {
        let (mut place, mut ended) = (Some(Place::default()), 0);
        while let Some(at) = place {
            let (count, numbers) = task.with(|control| end_portion(control, &acl, at, &wanted));
            ended += count;
            place = at.next(numbers, threads);
            yield_now().await;
        }
        Ok(Ended { ended })
    })
}

/// Has the sessions of an interface end, which goes.
pub fn end_sessions_later(control: &Control<'_>, interface: InterfaceIndex) {
    let Ok(acl) = acl(control) else { return };
    let (threads, wanted) =
        (control.thread_count(), Wanted { interface: Some(interface), ..Wanted::default() });
    control.spawn("acl-sessions", |task| async move {
        let mut place = Some(Place::default());
        while let Some(at) = place {
            let (_, numbers) = task.with(|control| end_portion(control, &acl, at, &wanted));
            place = at.next(numbers, threads);
            yield_now().await;
        }
    });
}

/// Tells who scrapes how many sessions there are, and what rules have matched.
pub fn report_metrics(control: &mut Control<'_>, _: serde::de::IgnoredAny) -> Result<(), Failure> {
    let acl: Arc<Acl> = acl(control)?;
    let (store, interfaces) = (acl.store(), control.interfaces()?);
    let of_rules =
        |interface: &&raddle_plugin_api::InterfaceInfo| store.interfaces().contains_key(&interface.name);
    let interfaces: Vec<_> = interfaces.iter().filter(of_rules).collect();
    if !interfaces.is_empty() {
        let names = interfaces.iter().map(|interface| interface.name.as_str());
        let metric = Metric::new("sessions", "Sessions by interface").label("interface", names);
        let values = interfaces.iter().map(|interface| f64::from(acl.counts.of(interface.index))).collect();
        control.report_metric(&Report { metric, kind: MetricKind::Gauge, values })?;
    }
    let lists: Vec<_> = store.lists().values().collect();
    if !lists.is_empty() {
        let metric = Metric::new("list_packets", "Packets that the rules of a list have matched")
            .label("list", lists.iter().map(|list| list.name.as_str()));
        let sum = |list: &&Arc<crate::policy::List>| {
            (0..list.rules.len()).map(|rule| list.hits.of(rule).packets as f64).sum()
        };
        let values = lists.iter().map(sum).collect();
        control.report_metric(&Report { metric, kind: MetricKind::Counter, values })?;
    }
    Ok(())
}
