//! What the configuration says of IP besides addresses and routes, and of MAC addresses, put into the network and read back
//! from it.

use std::sync::Arc;

use raddle_plugin_api::{Control, Failure, InterfaceIndex};

use crate::control::config::Config;
use crate::control::config::ip_sections::{
    IcmpConfig, Ip4Config, Ip4Options, MartiansConfig, SourceRoute, Urpf, UrpfConfig,
};
use crate::control::config::sections::InterfaceConfig;
use crate::host::Engine;
use crate::net::icmp_limits::{IcmpLimits, IcmpRates};
use crate::net::ip4_options::{Ip4OptionsMode, Ip4OptionsPolicy, SourceRoutes};
use crate::net::ip6_off::IP6_OFF;
use crate::net::mac_filter::{Holder, MacFilters};
use crate::net::martians::{MartianLists, Martians};
use crate::net::neighbor::NdProxy;
use crate::net::port_policy::{FEATURES, PortPolicies, PortPolicy, UrpfMode};

/// Puts `[icmp]`, `[ip4]` and `[martians]` in force.
///
/// # Errors
/// A number or list is beyond its bounds.
pub fn apply_sections(engine: &Engine, config: &Config) -> Result<(), Failure> {
    engine.with_core(|control| {
        let limits = control.resource::<IcmpLimits>()?;
        limits.set_threads(config.runtime.workers);
        let IcmpConfig { rate, burst, redirect_rate, reset_rate } = config.icmp;
        limits.set(IcmpRates { rate, burst, redirect_rate, reset_rate })?;
        let options = match config.ip4.options {
            Ip4Options::Ignore => Ip4OptionsMode::Ignore,
            Ip4Options::Process => Ip4OptionsMode::Process,
            Ip4Options::Drop => Ip4OptionsMode::Drop,
        };
        let source_route = match config.ip4.source_route {
            SourceRoute::Reject => SourceRoutes::Reject,
            SourceRoute::Drop => SourceRoutes::Drop,
        };
        control.resource::<Ip4OptionsPolicy>()?.set(options, source_route);
        let MartiansConfig { check, allow, deny } = &config.martians;
        let lists =
            MartianLists { allow: allow.iter().copied().collect(), deny: deny.iter().copied().collect() };
        control.resource::<Martians>()?.set_lists(control, lists)?;
        control.resource::<PortPolicies>()?.check_martians(control, *check)
    })
}

/// Puts the policy of an interface in force, and what frames it takes.
///
/// # Errors
/// There is no such interface.
pub fn apply_interface(engine: &Engine, interface: u32, config: &InterfaceConfig) -> Result<(), Failure> {
    let urpf = config.urpf.clone().unwrap_or_default();
    let usual = PortPolicy::default();
    let policy = PortPolicy {
        ip4_urpf: mode(urpf.ip4),
        ip6_urpf: mode(urpf.ip6),
        urpf_allow_default: urpf.allow_default,
        urpf_notify: urpf.notify,
        redirects: config.redirects.unwrap_or(usual.redirects),
        martians: config.martians,
        igmp: config.igmp.unwrap_or(usual.igmp),
        mld: config.mld.unwrap_or(usual.mld),
    };
    engine.with_core(|control| {
        let policies: Arc<PortPolicies> = control.resource()?;
        policies.change(control, InterfaceIndex(interface), |present| *present = policy)?;
        let filters = control.resource::<MacFilters>()?;
        filters.set_filters_groups(control, InterfaceIndex(interface), config.multicast_filter)?;
        let macs = config.mac_addresses.iter().copied().collect();
        filters.set(control, InterfaceIndex(interface), Holder::Operator, macs)
    })
}

/// The sections that make what is in force.
///
/// # Errors
/// The network is not there.
pub fn sections(control: &Control<'_>) -> Result<(IcmpConfig, Ip4Config, MartiansConfig), Failure> {
    let IcmpRates { rate, burst, redirect_rate, reset_rate } = control.resource::<IcmpLimits>()?.rates();
    let policy = control.resource::<Ip4OptionsPolicy>()?;
    let options = match policy.mode() {
        Ip4OptionsMode::Ignore => Ip4Options::Ignore,
        Ip4OptionsMode::Process => Ip4Options::Process,
        Ip4OptionsMode::Drop => Ip4Options::Drop,
    };
    let source_route = match policy.source_routes() {
        SourceRoutes::Reject => SourceRoute::Reject,
        SourceRoutes::Drop => SourceRoute::Drop,
    };
    let lists = control.resource::<Martians>()?.lists();
    let martians = MartiansConfig {
        check: control.resource::<PortPolicies>()?.checks_martians(),
        allow: lists.allow.into_iter().collect(),
        deny: lists.deny.into_iter().collect(),
    };
    Ok((IcmpConfig { rate, burst, redirect_rate, reset_rate }, Ip4Config { options, source_route }, martians))
}

/// Sets the keys of `[interface.NAME]` that make the policy in force; what is as usual is left out.
///
/// # Errors
/// The network is not there.
pub fn read_interface(
    control: &Control<'_>,
    interface: u32,
    config: &mut InterfaceConfig,
) -> Result<(), Failure> {
    let policy = control.resource::<PortPolicies>()?.get(InterfaceIndex(interface));
    let usual = PortPolicy::default();
    let urpf = UrpfConfig {
        ip4: urpf(policy.ip4_urpf),
        ip6: urpf(policy.ip6_urpf),
        allow_default: policy.urpf_allow_default,
        notify: policy.urpf_notify,
    };
    config.urpf = (urpf != UrpfConfig::default()).then_some(urpf);
    config.redirects = (policy.redirects != usual.redirects).then_some(policy.redirects);
    config.martians = policy.martians;
    config.igmp = (policy.igmp != usual.igmp).then_some(policy.igmp);
    config.mld = (policy.mld != usual.mld).then_some(policy.mld);
    let filters = control.resource::<MacFilters>()?;
    config.mac_addresses = filters.given(InterfaceIndex(interface)).into_iter().collect();
    config.multicast_filter = filters.filters_groups(InterfaceIndex(interface));
    // They follow from the policy, from `neighbor`, and from what the link says.
    let follows =
        |feature: &str| FEATURES.contains(&feature) || [NdProxy::FEATURE, IP6_OFF].contains(&feature);
    config.features.retain(|feature| !follows(feature));
    Ok(())
}

fn mode(urpf: Urpf) -> UrpfMode {
    match urpf {
        Urpf::Off => UrpfMode::Off,
        Urpf::Loose => UrpfMode::Loose,
        Urpf::Strict => UrpfMode::Strict,
    }
}

fn urpf(mode: UrpfMode) -> Urpf {
    match mode {
        UrpfMode::Off => Urpf::Off,
        UrpfMode::Loose => Urpf::Loose,
        UrpfMode::Strict => Urpf::Strict,
    }
}
