//! Commands for what the operator wants of interfaces: source checks, martians, redirects; and for the limits of ICMP.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;
use serde::{Deserialize, Serialize};

use super::icmp_limits::{IcmpLimits, IcmpRates};
use super::port_policy::{PortPolicies, UrpfMode};

command! {
    "set interface urpf <interface> ip4|ip6|both strict|loose|off",
    "checks sources by the way back to them: by the interface itself, by any, or not at all",
    set_urpf
}
command! {
    "set interface urpf-allow-default <interface> <allow:on-off>",
    "says whether the default route counts as a way back to a source",
    set_urpf_allow_default
}
command! {
    "set interface urpf-notify <interface> <notify:on-off>",
    "says whether senders are told that the check of their source failed",
    set_urpf_notify
}
command! {
    "set interface redirects <interface> <send:on-off>",
    "sends redirects to hosts on the interface's link, or none",
    set_redirects
}
command! {
    "set interface martians <interface> on|off|default",
    "checks special-purpose addresses on the interface, or does not, or as on all interfaces",
    set_martians
}
command! {
    "show interface policy [<interface>]",
    "shows source checks, martians and redirects of interfaces",
    show_policies
}
command! {
    "set icmp rate <rate:u32:1..1000000> burst <burst:u32:1..1000000>",
    "limits ICMP errors on account of one interface, a second and at once",
    set_rate
}
command! {
    "set icmp redirect-rate <rate:u32:1..1000000>",
    "limits redirects on account of one interface, a second",
    set_redirect_rate
}
command! {
    "set icmp reset-rate <rate:u32:1..1000000>",
    "limits TCP resets on account of one interface, a second",
    set_reset_rate
}
command! { "show icmp", "shows the limits of ICMP errors, redirects and TCP resets", show_icmp }

#[derive(Deserialize)]
struct SetUrpf {
    interface: String,
    #[serde(default)]
    ip4: bool,
    #[serde(default)]
    ip6: bool,
    #[serde(default)]
    both: bool,
    #[serde(default)]
    strict: bool,
    #[serde(default)]
    loose: bool,
}

fn set_urpf(control: &mut Control<'_>, arguments: SetUrpf) -> Result<(), Failure> {
    let SetUrpf { interface, ip4, ip6, both, strict, loose } = arguments;
    let mode = match (strict, loose) {
        (true, _) => UrpfMode::Strict,
        (_, true) => UrpfMode::Loose,
        _ => UrpfMode::Off,
    };
    let interface = control.interface(&interface)?.index;
    control.resource::<PortPolicies>()?.change(control, interface, |policy| {
        if ip4 || both {
            policy.ip4_urpf = mode;
        }
        if ip6 || both {
            policy.ip6_urpf = mode;
        }
    })
}

#[derive(Deserialize)]
struct AllowDefault {
    interface: String,
    allow: bool,
}

fn set_urpf_allow_default(control: &mut Control<'_>, arguments: AllowDefault) -> Result<(), Failure> {
    let interface = control.interface(&arguments.interface)?.index;
    let policies = control.resource::<PortPolicies>()?;
    policies.change(control, interface, |policy| policy.urpf_allow_default = arguments.allow)
}

#[derive(Deserialize)]
struct Notify {
    interface: String,
    notify: bool,
}

fn set_urpf_notify(control: &mut Control<'_>, arguments: Notify) -> Result<(), Failure> {
    let interface = control.interface(&arguments.interface)?.index;
    let policies = control.resource::<PortPolicies>()?;
    policies.change(control, interface, |policy| policy.urpf_notify = arguments.notify)
}

#[derive(Deserialize)]
struct Redirects {
    interface: String,
    send: bool,
}

fn set_redirects(control: &mut Control<'_>, arguments: Redirects) -> Result<(), Failure> {
    let interface = control.interface(&arguments.interface)?.index;
    let policies = control.resource::<PortPolicies>()?;
    policies.change(control, interface, |policy| policy.redirects = arguments.send)
}

#[derive(Deserialize)]
struct SetMartians {
    interface: String,
    #[serde(default)]
    on: bool,
    #[serde(default)]
    off: bool,
}

fn set_martians(control: &mut Control<'_>, arguments: SetMartians) -> Result<(), Failure> {
    let SetMartians { interface, on, off } = arguments;
    let interface = control.interface(&interface)?.index;
    let policies = control.resource::<PortPolicies>()?;
    policies.change(control, interface, |policy| policy.martians = (on || off).then_some(on))
}

#[derive(Deserialize)]
struct ShowPolicies {
    interface: Option<String>,
}

/// The policy of an interface.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PolicyInfo {
    interface: String,
    ip4_urpf: UrpfMode,
    ip6_urpf: UrpfMode,
    allow_default: bool,
    notify: bool,
    martians: bool,
    redirects: bool,
}

fn show_policies(control: &mut Control<'_>, arguments: ShowPolicies) -> Result<Vec<PolicyInfo>, Failure> {
    let policies = control.resource::<PortPolicies>()?;
    let interfaces = match arguments.interface {
        Some(name) => vec![control.interface(&name)?],
        None => control.interfaces()?,
    };
    let info = |interface: raddle_plugin_api::InterfaceInfo| {
        let policy = policies.get(interface.index);
        PolicyInfo {
            interface: interface.name,
            ip4_urpf: policy.ip4_urpf,
            ip6_urpf: policy.ip6_urpf,
            allow_default: policy.urpf_allow_default,
            notify: policy.urpf_notify,
            martians: policy.martians.unwrap_or_else(|| policies.checks_martians()),
            redirects: policy.redirects,
        }
    };
    Ok(interfaces.into_iter().map(info).collect())
}

#[derive(Deserialize)]
struct SetRate {
    rate: u32,
    burst: u32,
}

fn set_rate(control: &mut Control<'_>, arguments: SetRate) -> Result<(), Failure> {
    let SetRate { rate, burst } = arguments;
    let limits = control.resource::<IcmpLimits>()?;
    limits.set(IcmpRates { rate, burst, ..limits.rates() })
}

#[derive(Deserialize)]
struct OneRate {
    rate: u32,
}

fn set_redirect_rate(control: &mut Control<'_>, arguments: OneRate) -> Result<(), Failure> {
    let limits = control.resource::<IcmpLimits>()?;
    limits.set(IcmpRates { redirect_rate: arguments.rate, ..limits.rates() })
}

fn set_reset_rate(control: &mut Control<'_>, arguments: OneRate) -> Result<(), Failure> {
    let limits = control.resource::<IcmpLimits>()?;
    limits.set(IcmpRates { reset_rate: arguments.rate, ..limits.rates() })
}

fn show_icmp(control: &mut Control<'_>, _: NoArguments) -> Result<Data<IcmpRates>, Failure> {
    Ok(Data(control.resource::<IcmpLimits>()?.rates()))
}
