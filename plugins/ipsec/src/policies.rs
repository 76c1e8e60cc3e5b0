//! The policies as the operator writes them (`[ipsec.policies]`), and what is made of them.

use raddle_plugin_api::wire::{IpPrefix, IpProtocol};
use raddle_plugin_api::{Failure, InterfaceIndex, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::selector::{Flow, Selector, has_ports};
use crate::spd::{Action, Policy, Spd};

/// `[ipsec.policies]`: what leaves by some interfaces, and comes in by them, is protected, let go or dropped by selectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PoliciesConfig {
    /// The interfaces whose packets are judged: those that lead to where packets are not safe.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// What becomes of packets that leave and that no policy is for.
    #[serde(skip_serializing_if = "is_bypass")]
    pub default_out: DefaultAction,
    /// What becomes of packets that come in and that no policy is for.
    #[serde(skip_serializing_if = "is_bypass")]
    pub default_in: DefaultAction,
    /// Policies for what leaves; the first that matches counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub out: Vec<PolicyConfig>,
    /// Policies for what comes in: by `interfaces` as it is, or by a tunnel.
    #[serde(rename = "in", skip_serializing_if = "Vec::is_empty")]
    pub inbound: Vec<PolicyConfig>,
}

/// What becomes of packets that no policy is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultAction {
    /// They go as they are.
    #[default]
    Bypass,
    /// They are dropped.
    Discard,
}

fn is_bypass(action: &DefaultAction) -> bool {
    *action == DefaultAction::Bypass
}

/// What a policy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyAction {
    /// Packets go by the tunnel, or must have come by it.
    Protect,
    /// Packets go as they are.
    Bypass,
    /// Packets are dropped.
    Discard,
}

/// A policy. What it does not name matches any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PolicyConfig {
    /// What it does.
    pub action: PolicyAction,
    /// The tunnel of `protect`: an interface with the driver `ipsec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// Source of the packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpPrefix>,
    /// Destination of the packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpPrefix>,
    /// Transport protocol: its number, or `tcp`, `udp`, `icmp`, `icmp6`, `sctp`, `gre`, `ospf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolName>,
    /// First and last source port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ports: Option<[u16; 2]>,
    /// First and last destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_ports: Option<[u16; 2]>,
}

/// A transport protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ProtocolName {
    /// Its number.
    Number(u8),
    /// Its name.
    Name(String),
}

const NAMES: [(&str, IpProtocol); 7] = [
    ("tcp", IpProtocol::TCP),
    ("udp", IpProtocol::UDP),
    ("icmp", IpProtocol::ICMP4),
    ("icmp6", IpProtocol::ICMP6),
    ("sctp", IpProtocol::SCTP),
    ("gre", IpProtocol::GRE),
    ("ospf", IpProtocol::OSPF),
];

impl ProtocolName {
    fn protocol(&self) -> Option<IpProtocol> {
        match self {
            Self::Number(number) => Some(IpProtocol(*number)),
            Self::Name(name) => NAMES.iter().find(|(known, _)| known == name).map(|(_, protocol)| *protocol),
        }
    }
}

/// The policies of both directions, as workers see them.
#[derive(Default)]
pub struct Policies {
    /// For what leaves.
    pub out: Spd,
    /// For what comes in.
    pub inbound: Spd,
    /// The tunnels that policies name.
    pub tunnels: Vec<InterfaceIndex>,
    discards_out: bool,
    discards_in: bool,
}

impl Policies {
    /// What becomes of a packet that leaves; `None`: no policy is for it, and it is dropped.
    pub fn leaving(&self, flow: &Flow) -> Option<Action> {
        self.out.decide(flow).or((!self.discards_out).then_some(Action::Bypass))
    }

    /// What becomes of a packet that comes in by an interface that is not safe; `None`: no policy is for it, and it is dropped.
    pub fn coming(&self, flow: &Flow) -> Option<Action> {
        self.inbound.decide(flow).or((!self.discards_in).then_some(Action::Bypass))
    }
}

impl PoliciesConfig {
    /// The tunnels that policies name, with repetitions.
    pub fn tunnels(&self) -> impl Iterator<Item = &str> {
        self.out.iter().chain(&self.inbound).filter_map(|policy| policy.tunnel.as_deref())
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    /// One sentence, with the place of the policy.
    pub fn check(&self) -> Result<(), Failure> {
        if self.interfaces.is_empty() && !(self.out.is_empty() && self.inbound.is_empty()) {
            bail!("ipsec: there are policies and no `interfaces` for them");
        }
        for (direction, policies) in [("out", &self.out), ("in", &self.inbound)] {
            for (place, policy) in policies.iter().enumerate() {
                policy.check().map_err(|failure| {
                    failure.context(format_args!("policy {} of `{direction}`", place + 1))
                })?;
            }
        }
        Ok(())
    }

    /// What workers see, with tunnels by their names.
    pub fn compile(&self, tunnel: impl Fn(&str) -> Option<InterfaceIndex>) -> Policies {
        let spd = |policies: &[PolicyConfig]| {
            let policies = policies.iter().map(|policy| Policy {
                selector: policy.selector(),
                action: match policy.action {
                    PolicyAction::Bypass => Action::Bypass,
                    PolicyAction::Discard => Action::Discard,
                    PolicyAction::Protect => {
                        let index = policy.tunnel.as_deref().and_then(&tunnel);
                        Action::Protect(index.unwrap_or(InterfaceIndex::NONE))
                    }
                },
            });
            Spd::new(policies.collect())
        };
        Policies {
            out: spd(&self.out),
            inbound: spd(&self.inbound),
            tunnels: self.tunnels().filter_map(&tunnel).collect(),
            discards_out: self.default_out == DefaultAction::Discard,
            discards_in: self.default_in == DefaultAction::Discard,
        }
    }
}

impl PolicyConfig {
    fn check(&self) -> Result<(), Failure> {
        match (self.action, &self.tunnel) {
            (PolicyAction::Protect, None) => bail!("`protect` needs a `tunnel`"),
            (PolicyAction::Bypass | PolicyAction::Discard, Some(_)) => {
                bail!("`tunnel` is for `protect`: leave it out")
            }
            _ => {}
        }
        if let (Some(source), Some(destination)) = (self.source, self.destination)
            && source.network().is_ipv4() != destination.network().is_ipv4()
        {
            bail!("{source} and {destination} are not of one family");
        }
        let protocol = match &self.protocol {
            None => None,
            Some(name) => match (name.protocol(), name) {
                (Some(protocol), _) => Some(protocol),
                (None, ProtocolName::Name(name)) => {
                    let known: Vec<_> = NAMES.iter().map(|(name, _)| format!("`{name}`")).collect();
                    bail!("there is no protocol `{name}`: a number, or one of {}", known.join(", "))
                }
                (None, ProtocolName::Number(_)) => None,
            },
        };
        for [first, last] in [self.source_ports, self.destination_ports].into_iter().flatten() {
            if first > last {
                bail!("ports {first} to {last} are none: the first is the larger one");
            }
            if !protocol.is_some_and(has_ports) {
                bail!("ports need a `protocol` that has some: tcp, udp or sctp");
            }
        }
        Ok(())
    }

    /// Which packets it is for.
    pub fn selector(&self) -> Selector {
        let range = |ports: Option<[u16; 2]>| ports.map(|[first, last]| (first, last));
        Selector {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol.as_ref().and_then(ProtocolName::protocol),
            source_ports: range(self.source_ports),
            destination_ports: range(self.destination_ports),
        }
    }
}
