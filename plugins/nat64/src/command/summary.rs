//! `show nat64 summary`, and the same as metrics.

use raddle_plugin_api::metric::{Metric, MetricKind, Report};
use raddle_plugin_api::prelude::*;
use serde::Serialize;

use crate::service::{Count, Nat64};
use crate::state::{PoolRange, Protocol};

command! { "show nat64 summary", "shows how much of the NAT64 is in use, and what it has done", show }

/// What the NAT64 does.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    prefixes: Vec<String>,
    pool_addresses: u64,
    sessions: ByProtocol,
    sessions_most: u32,
    bindings: ByProtocol,
    subscribers: i64,
    packets_to_ip4: u64,
    packets_to_ip6: u64,
    sessions_opened: u64,
    sessions_ended: u64,
    udp_checksums_computed: u64,
    handed_off: u64,
    log_lost: u64,
}

#[derive(Debug, Default, Serialize)]
struct ByProtocol {
    tcp: i64,
    udp: i64,
    icmp: i64,
}

impl ByProtocol {
    fn of(gauges: &raddle_plugin_api::metric::Gauges) -> Self {
        let of = |protocol: Protocol| gauges.sum(protocol as usize);
        Self { tcp: of(Protocol::Tcp), udp: of(Protocol::Udp), icmp: of(Protocol::Icmp) }
    }
}

impl CommandOutput for Summary {
    fn text(&self) -> Option<String> {
        let by = |ByProtocol { tcp, udp, icmp }: &ByProtocol| {
            format!("{} (TCP {tcp}, UDP {udp}, ICMP {icmp})", tcp + udp + icmp)
        };
        Some(format!(
            "prefixes        {}\npool            {} addresses\nsessions        {} of {}\nbindings        {}\n\
             subscribers     {}\npackets         {} to IPv4, {} to IPv6, {} handed to another worker\n\
             sessions ever   {} opened, {} ended\nUDP checksums   {} computed\nlog             {} events lost\n",
            self.prefixes.join(", "),
            self.pool_addresses,
            by(&self.sessions),
            self.sessions_most,
            by(&self.bindings),
            self.subscribers,
            self.packets_to_ip4,
            self.packets_to_ip6,
            self.handed_off,
            self.sessions_opened,
            self.sessions_ended,
            self.udp_checksums_computed,
            self.log_lost,
        ))
    }
}

fn show(control: &mut Control<'_>, _: NoArguments) -> Result<Summary, Failure> {
    let nat = control.resource::<Nat64>()?;
    let rules = nat.rules.get(control);
    let count = |what: Count| nat.counters.sum(what as usize);
    let pools = rules.tenants.iter().flat_map(|tenant| &tenant.pool);
    Ok(Summary {
        prefixes: rules.active().map(|found| rules.prefix(found.number).to_string()).collect(),
        pool_addresses: pools.map(PoolRange::count).sum(),
        sessions: ByProtocol::of(&nat.level.sessions),
        sessions_most: nat.most_sessions,
        bindings: ByProtocol::of(&nat.level.bindings),
        subscribers: nat.level.subscribers.sum(0),
        packets_to_ip4: count(Count::To4),
        packets_to_ip6: count(Count::To6),
        sessions_opened: count(Count::Opened),
        sessions_ended: count(Count::Ended),
        udp_checksums_computed: count(Count::ChecksumsComputed),
        handed_off: count(Count::HandedOff),
        log_lost: count(Count::LogLost),
    })
}

/// Tells who scrapes what was counted; how much there is at present is told as it changes.
///
/// # Errors
/// The host does not take it.
pub fn report_metrics(control: &mut Control<'_>, _: serde::de::IgnoredAny) -> Result<(), Failure> {
    let nat = control.resource::<Nat64>()?;
    let count = |what: Count| nat.counters.sum(what as usize) as f64;
    let counter = |metric: Metric, values: Vec<f64>| {
        control.report_metric(&Report { metric, kind: MetricKind::Counter, values })
    };
    counter(
        Metric::new("packets", "Packets that were translated").label("to", ["ip4", "ip6"]),
        vec![count(Count::To4), count(Count::To6)],
    )?;
    counter(Metric::new("sessions_opened", "Sessions that began"), vec![count(Count::Opened)])?;
    counter(Metric::new("sessions_ended", "Sessions that are over"), vec![count(Count::Ended)])?;
    counter(
        Metric::new("handed_off", "Packets that another worker had to take"),
        vec![count(Count::HandedOff)],
    )?;
    counter(
        Metric::new("udp_checksums_computed", "UDP checksums that were made"),
        vec![count(Count::ChecksumsComputed)],
    )?;
    counter(
        Metric::new("log_lost", "Events of the session log that were lost"),
        vec![count(Count::LogLost)],
    )?;
    let gauge = |metric: Metric, value: f64| {
        control.report_metric(&Report { metric, kind: MetricKind::Gauge, values: vec![value] })
    };
    let rules = nat.rules.get(control);
    let pools = rules.tenants.iter().flat_map(|tenant| &tenant.pool);
    gauge(Metric::new("sessions_most", "Sessions that there is room for"), nat.most_sessions.into())?;
    gauge(Metric::new("pool_addresses", "Pool addresses"), pools.map(PoolRange::count).sum::<u64>() as f64)
}
