//! The command `ping`.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::task;
use serde::Deserialize;

use super::Pings;
use super::report::Report;
use super::request::{MAX_SIZE, echo_request};
use super::sessions::{Event, Running};
use crate::net::forwarding::ForwardingTables;
use crate::net::local::{LocalNext, LocalOutput, OwnTable};
use crate::net::routes::Routes;

command! {
    "ping <address:ip> [count <count:u32:1..1000>] [size <size:u32:0..9000>] [interval <interval:duration>] [interface <interface>] [table <table:word>]",
    "sends echo requests and shows what answers", async ping
}
init! { "ping", start }

/// As other pings do.
const DEFAULT_COUNT: u32 = 5;
const DEFAULT_SIZE: u32 = 56;
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);
/// How long the last answers are waited for: longer than it takes to give a neighbour up.
const PATIENCE: Duration = Duration::from_millis(3500);

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Arguments {
    address: IpAddr,
    count: Option<u32>,
    size: Option<u32>,
    /// In ns.
    interval: Option<u64>,
    interface: Option<String>,
    table: Option<String>,
}

/// What is sent, and how.
struct Plan {
    source: IpAddr,
    destination: IpAddr,
    interface: Option<InterfaceIndex>,
    /// FIB index of the table that requests are looked up in.
    fib: u32,
    count: u32,
    size: u32,
    interval: Duration,
}

fn start(control: &mut Control<'_>) -> Result<(), Failure> {
    control.provide(Arc::new(Pings::new(control)))
}

fn ping(
    control: &mut Control<'_>,
    arguments: Arguments,
) -> Result<impl Future<Output = Result<Report, Failure>> + use<>, Failure> {
    let plan = plan(control, arguments)?;
    let output = control.resource::<LocalOutput>()?;
    let running = control.resource::<Pings>()?.start();
    let running = running.ok_or_else(|| failure!("too many pings are under way"))?;
    Ok(run(plan, output, running))
}

fn plan(control: &Control<'_>, arguments: Arguments) -> Result<Plan, Failure> {
    let Arguments { address, count, size, interval, interface, table } = arguments;
    if address.is_multicast() || address.is_unspecified() {
        bail!("{address} is no address of a host");
    }
    let interface = match &interface {
        Some(name) => Some(control.interface(name)?.index),
        None => None,
    };
    let routes = control.resource::<Routes>()?;
    let fib = match (table, interface) {
        (Some(table), _) => routes.find_table(&table.parse().unwrap_or_default())?.1,
        (None, Some(interface)) => routes.fib_of(interface),
        (None, None) => 0,
    };
    let out = interface.or_else(|| interface_towards(control, fib, address)).unwrap_or(InterfaceIndex::NONE);
    let own = control.resource::<OwnTable>()?;
    let own = own.get(control);
    let source = match address {
        // To ourselves from ourselves.
        address if own.is_own_in(fib, address) => Some(address),
        IpAddr::V4(ip) => own.source4_in(fib, out, ip.into()).map(|ip| ip.to_std().into()),
        IpAddr::V6(ip) if ip.is_unicast_link_local() && interface.is_none() => {
            bail!("{address} is link-local: say on which interface it is")
        }
        IpAddr::V6(ip) => own.source6_in(fib, out, ip.into()).map(|ip| ip.to_std().into()),
    };
    let source = source.ok_or_else(|| failure!("there is no own address to send to {address} from"))?;
    Ok(Plan {
        source,
        destination: address,
        interface,
        fib,
        count: count.unwrap_or(DEFAULT_COUNT),
        size: size.unwrap_or(DEFAULT_SIZE).min(MAX_SIZE),
        interval: interval.map_or(DEFAULT_INTERVAL, Duration::from_nanos).max(SHORTEST_INTERVAL),
    })
}

/// The interface by which packets to the address leave that are looked up in the table of a FIB index.
fn interface_towards(control: &Control<'_>, fib: u32, address: IpAddr) -> Option<InterfaceIndex> {
    let tables = control.resource::<ForwardingTables>().ok()?;
    let leaf = match address {
        IpAddr::V4(ip) => tables.ip4.get(control).readers.get(fib as usize)?.lookup(ip.to_bits()),
        IpAddr::V6(ip) => tables.ip6.get(control).readers.get(fib as usize)?.lookup(ip.to_bits()),
    };
    let adjacency = tables.leaves.adjacency(leaf, || 0);
    Some(tables.adjacencies.get(adjacency).interface())
}

async fn run(plan: Plan, output: Arc<LocalOutput>, running: Running) -> Result<Report, Failure> {
    let mut report = Report::new(plan.source, plan.destination, plan.size);
    for number in 1..=plan.count {
        // At most 1,000 of them.
        let sequence = number as u16;
        report.expect(sequence);
        send(&plan, &output, &running, sequence);
        let patience = if number == plan.count { PATIENCE } else { plan.interval };
        let is_last = number == plan.count;
        // That the time is over is how it usually ends.
        let _ = task::timeout(patience, async {
            while !(is_last && report.is_complete()) {
                report.take(running.session.next().await);
            }
        })
        .await;
    }
    Ok(report.finish())
}

fn send(plan: &Plan, output: &LocalOutput, running: &Running, sequence: u16) {
    let Plan { source, destination, interface, fib, size, .. } = *plan;
    let (identifier, session) = (running.identifier, Arc::clone(&running.session));
    let next = if destination.is_ipv4() { LocalNext::Ip4Lookup } else { LocalNext::Ip6Lookup };
    output.make(next, move |worker, packet| {
        let Some(bytes) = echo_request(source, destination, identifier, sequence, size as usize) else {
            return false;
        };
        if let Some(interface) = interface {
            packet.set_tx_interface(interface);
        }
        packet.set_fib_index(fib);
        session.push(Event::Sent { sequence, at_ns: worker.now_ns() });
        worker.append(packet, &bytes)
    });
}
