//! Commands.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use raddle_plugin_api::config::InRange;
use raddle_plugin_api::prelude::*;
use serde::{Deserialize, Serialize};

use crate::algorithm::{Encryption, Integrity, Suite};
use crate::config::{Direction, SaConfig, UdpConfig};
use crate::engine::{Engine, left_out};
use crate::policies::PolicyAction;
use crate::sa::{DontFragment, Lifetime, Mode};
use crate::service::Ipsec;
use crate::store::{Sa, SaState};

command! { "show ipsec sa [<sa:word>]", "shows security associations and what went by them", show_sas }
command! { "show ipsec tunnels", "shows tunnels and the SAs that they send and receive by", show_tunnels }
command! { "show ipsec spd", "shows the policies in their order, and how many packets each was found for", show_spd }
command! { "show ipsec engines", "shows the crypto engines that there are, and which algorithms each knows", show_engines }
command! {
    "ipsec sa add <name:word> direction <direction:word> spi <spi:u32> interface <interface:word> local <local:ip> remote <remote:ip> encryption <encryption:word> [integrity <integrity:word>] [key-file <key-file:path>] [integrity-key-file <integrity-key-file:path>] [transport] [esn] [replay-window <replay-window:u32>] [sequence <sequence:u64>] [udp-port <udp-port:u16>]",
    "adds a security association; of several that send for a tunnel the last one is used", add
}
command! { "ipsec sa delete <sa:word>", "takes a security association away; its tunnel goes on by the one before, if there is one", delete }

/// An SA.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SaRow {
    name: String,
    direction: Direction,
    spi: u32,
    interface: Option<String>,
    local: String,
    remote: String,
    mode: Mode,
    algorithms: String,
    engine: &'static str,
    state: &'static str,
    packets: u64,
    bytes: u64,
    /// Of SAs that send the next, of others the highest that came.
    sequence: u64,
    /// Of SAs that receive: packets that did not come.
    lost: Option<u64>,
    replay_window: Option<u64>,
    udp: Option<String>,
    esn: bool,
    age_seconds: u64,
}

#[derive(Debug, Deserialize)]
struct Wanted {
    sa: Option<String>,
}

fn row(name: &str, sa: &Sa, now_ns: u64) -> SaRow {
    let (description, usage) = (sa.state.description(), sa.state.usage());
    let packets = usage.packets.load(Ordering::Relaxed);
    let (sequence, lost, replay_window) = match &sa.state {
        SaState::Out(out) => (out.next(), None, None),
        SaState::In(inbound) => match &inbound.replay {
            Some(window) => (window.top(), Some(window.missing(packets)), Some(window.size())),
            None => (0, None, None),
        },
    };
    let state = match &sa.state {
        _ if usage.ended.load(Ordering::Relaxed) => "ended",
        SaState::Out(out) if out.next() > out.last() => "cycled",
        _ => "active",
    };
    SaRow {
        name: name.to_owned(),
        direction: sa.config.direction,
        spi: description.spi,
        interface: sa.config.interface.clone(),
        local: description.local.to_string(),
        remote: description.remote.to_string(),
        mode: description.mode,
        algorithms: description.suite.to_string(),
        engine: sa.state.engine(),
        state,
        packets,
        bytes: usage.bytes.load(Ordering::Relaxed),
        sequence,
        lost,
        replay_window,
        udp: description.udp.map(|ports| format!("{} to {}", ports.local, ports.remote)),
        esn: description.esn,
        age_seconds: now_ns.saturating_sub(sa.added_ns) / 1_000_000_000,
    }
}

fn show_sas(control: &mut Control<'_>, wanted: Wanted) -> Result<Vec<impl Serialize + use<>>, Failure> {
    let ipsec = control.resource::<Ipsec>()?;
    let (store, now_ns) = (ipsec.store(), control.now_ns());
    let is_wanted = |name: &str| wanted.sa.as_ref().is_none_or(|wanted| wanted == name);
    let rows: Vec<_> =
        store.sas().filter(|(name, _)| is_wanted(name)).map(|(name, sa)| row(name, sa, now_ns)).collect();
    if let (Some(name), true) = (wanted.sa, rows.is_empty()) {
        bail!("there is no SA `{name}`");
    }
    Ok(rows)
}

/// A tunnel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct TunnelRow {
    tunnel: String,
    is_up: bool,
    mtu: u32,
    sends_by: Option<String>,
    receives_by: Vec<String>,
    fault: Option<String>,
}

fn show_tunnels(control: &mut Control<'_>, _: NoArguments) -> Result<Vec<impl Serialize + use<>>, Failure> {
    let ipsec = control.resource::<Ipsec>()?;
    let interfaces = control.interfaces()?;
    let store = ipsec.store();
    let tunnels = interfaces.into_iter().filter(|info| info.driver == "ipsec");
    let row = |info: raddle_plugin_api::InterfaceInfo| {
        let of_tunnel = |sa: &Sa| sa.config.interface.as_deref() == Some(info.name.as_str());
        let receiving = store.sas().filter(|(_, sa)| matches!(sa.state, SaState::In(_)) && of_tunnel(sa));
        TunnelRow {
            receives_by: receiving.map(|(name, _)| name.to_owned()).collect(),
            sends_by: store.sends_by(&info.name).map(|sa| sa.description.name.clone()),
            is_up: info.admin_up && info.link_up,
            mtu: info.mtu,
            fault: info.fault,
            tunnel: info.name,
        }
    };
    Ok(tunnels.map(row).collect())
}

/// A policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PolicyRow {
    direction: Direction,
    place: usize,
    action: String,
    source: String,
    destination: String,
    protocol: String,
    source_ports: String,
    destination_ports: String,
    packets: u64,
}

fn show_spd(control: &mut Control<'_>, _: NoArguments) -> Result<Vec<impl Serialize + use<>>, Failure> {
    let ipsec = control.resource::<Ipsec>()?;
    let tables = ipsec.tables.get(control);
    let store = ipsec.store();
    let configs = [(Direction::Out, &store.policies().out), (Direction::In, &store.policies().inbound)];
    let mut rows = Vec::new();
    for ((direction, configs), spd) in
        configs.into_iter().zip([&tables.policies.out, &tables.policies.inbound])
    {
        for (place, (config, (policy, packets))) in configs.iter().zip(spd.iter()).enumerate() {
            let any = || "any".to_owned();
            let ports = |range: Option<(u16, u16)>| {
                range.map_or_else(any, |(first, last)| match first == last {
                    true => first.to_string(),
                    false => format!("{first}-{last}"),
                })
            };
            let selector = &policy.selector;
            rows.push(PolicyRow {
                direction,
                place: place + 1,
                action: match (config.action, &config.tunnel) {
                    (_, Some(tunnel)) => format!("protect by {tunnel}"),
                    (PolicyAction::Discard, _) => "discard".to_owned(),
                    _ => "bypass".to_owned(),
                },
                source: selector.source.map_or_else(any, |prefix| prefix.to_string()),
                destination: selector.destination.map_or_else(any, |prefix| prefix.to_string()),
                protocol: selector.protocol.map_or_else(any, |protocol| protocol.to_string()),
                source_ports: ports(selector.source_ports),
                destination_ports: ports(selector.destination_ports),
                packets,
            });
        }
    }
    Ok(rows)
}

/// An engine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct EngineRow {
    engine: String,
    state: String,
    algorithms: Vec<String>,
}

fn show_engines(control: &mut Control<'_>, _: NoArguments) -> Result<Vec<impl Serialize + use<>>, Failure> {
    let ipsec = control.resource::<Ipsec>()?;
    let mut names: Vec<(String, String)> = Vec::new();
    for (place, engine) in ipsec.store().engines().enumerate() {
        let order = if place == 0 { "asked first" } else { "for what others do not know" };
        names.push((engine.name().to_owned(), format!("{order}: {}", engine.details())));
    }
    let mut rows: Vec<EngineRow> = Vec::new();
    for mut engine in crate::engine::engines() {
        let state = names.iter().position(|(name, _)| name == engine.name());
        let algorithms = Suite::all().filter(|&suite| knows(&mut *engine, suite));
        let algorithms = algorithms.map(|suite| suite.to_string()).collect();
        rows.push(EngineRow {
            engine: engine.name().to_owned(),
            algorithms,
            state: state.map_or_else(String::new, |place| names[place].1.clone()),
        });
    }
    rows.sort_by_key(|row| names.iter().position(|(name, _)| *name == row.engine));
    rows.extend(left_out().into_iter().map(|(engine, why)| EngineRow {
        engine: engine.to_owned(),
        state: why.to_owned(),
        algorithms: Vec::new(),
    }));
    Ok(rows)
}

/// Whether an engine knows a suite: it is asked with keys of nobody.
fn knows(engine: &mut dyn Engine, suite: Suite) -> bool {
    use crate::key::{Keys, Secret};
    let integrity = Secret::new(vec![0; suite.integrity.map_or(0, |integrity| integrity.key_bytes())]);
    let keys = Keys::new(suite, &Secret::new(vec![0; suite.key_bytes()]), &integrity);
    keys.is_ok_and(|keys| engine.prepare(suite, &keys).is_some())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct New {
    name: String,
    direction: Direction,
    spi: InRange<256, 4_294_967_295>,
    interface: String,
    local: IpAddr,
    remote: IpAddr,
    encryption: Encryption,
    integrity: Option<Integrity>,
    key_file: Option<PathBuf>,
    integrity_key_file: Option<PathBuf>,
    #[serde(default)]
    transport: bool,
    #[serde(default)]
    esn: bool,
    replay_window: Option<InRange<0, { crate::replay::MOST_WINDOW as u64 }>>,
    sequence: Option<InRange<1, { u64::MAX / 2 }>>,
    udp_port: Option<u16>,
}

fn add(control: &mut Control<'_>, new: New) -> Result<(), Failure> {
    let ipsec = control.resource::<Ipsec>()?;
    let config = SaConfig {
        direction: new.direction,
        spi: new.spi,
        interface: Some(new.interface),
        local: new.local,
        remote: new.remote,
        mode: if new.transport { Mode::Transport } else { Mode::Tunnel },
        encryption: new.encryption,
        integrity: new.integrity,
        key_file: new.key_file,
        integrity_key_file: new.integrity_key_file,
        esn: new.esn,
        udp_encapsulation: new.udp_port.map(|port| UdpConfig { local_port: port, remote_port: port }),
        replay_window: new.replay_window,
        sequence: new.sequence,
        allow_key_reuse: false,
        dscp: None,
        ecn: true,
        dont_fragment: DontFragment::Copy,
        pad_to: None,
        lifetime: Lifetime::default(),
    };
    let now_ns = control.now_ns();
    ipsec.change(control, |store| store.add(&new.name, config, now_ns))
}

#[derive(Debug, Deserialize)]
struct Gone {
    sa: String,
}

fn delete(control: &mut Control<'_>, gone: Gone) -> Result<(), Failure> {
    let ipsec = control.resource::<Ipsec>()?;
    ipsec.change(control, |store| store.delete(&gone.sa))
}
