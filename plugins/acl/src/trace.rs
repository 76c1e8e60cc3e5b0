//! What `show trace` says of a packet here.

use std::fmt;
use std::net::IpAddr;

use raddle_plugin_api::wire::IpProtocol;
use serde::Serialize;

use crate::direction::Direction;
use crate::judge::Judgement;
use crate::policy::Policy;

/// A packet as people read it: who sends what to whom.
#[derive(Clone, Debug, Serialize)]
pub struct FlowText {
    /// The protocol.
    pub protocol: String,
    /// Who sends it.
    pub source: IpAddr,
    /// The source port; of ICMP the type.
    pub source_port: u16,
    /// To whom.
    pub destination: IpAddr,
    /// The destination port; of ICMP the code.
    pub destination_port: u16,
}

impl FlowText {
    /// Of a packet with these addresses, protocol and ports.
    pub fn new([source, destination]: [IpAddr; 2], protocol: u8, ports: u32) -> Self {
        Self {
            protocol: IpProtocol(protocol).to_string(),
            source,
            source_port: (ports >> 16) as u16,
            destination,
            destination_port: ports as u16,
        }
    }
}

impl fmt::Display for FlowText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, source, source_port, destination, destination_port } = self;
        match protocol.as_str() {
            "icmp" | "icmp6" => {
                write!(f, "{protocol} {source} > {destination} type {source_port} code {destination_port}")
            }
            _ if *source_port == 0 && *destination_port == 0 => {
                write!(f, "{protocol} {source} > {destination}")
            }
            _ => write!(f, "{protocol} {source} port {source_port} > {destination} port {destination_port}"),
        }
    }
}

/// What became of a packet, and by which rule.
#[derive(Clone, Debug, Serialize)]
pub struct AclTrace {
    direction: &'static str,
    flow: FlowText,
    verdict: &'static str,
    list: Option<String>,
    /// The rule's number in its list, from 1.
    rule: Option<u32>,
}

impl AclTrace {
    /// Of a packet that was judged so by the lists of `policy`.
    pub fn new(direction: Direction, flow: FlowText, judgement: Judgement, policy: Option<&Policy>) -> Self {
        let rule = judgement.place().and_then(|place| policy?.rule(place));
        let list = rule.and_then(|rule| policy?.lists.get(usize::from(rule.list)));
        Self {
            direction: direction.word(),
            flow,
            verdict: judgement.word(),
            list: list.map(|list| list.name.clone()),
            rule: rule.map(|rule| rule.rule + 1),
        }
    }
}

impl fmt::Display for AclTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, flow, verdict, list, rule } = self;
        write!(f, "acl {direction}: {flow}: {verdict}")?;
        match (list, rule) {
            (Some(list), Some(rule)) => write!(f, ", list {list} rule {rule}"),
            _ => Ok(()),
        }
    }
}
