//! `ip4-options`: IPv4 packets with options, before the features of their interface see them.

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Ip4Address, Ip4Header};
use serde::Serialize;

use super::check::check;
use super::mode::{Ip4OptionsMode, Ip4OptionsPolicy, SourceRoutes};
use crate::net::icmp_field::{IcmpRequest, icmp_field};

next! {
    /// Where packets go.
    pub enum Ip4OptionsNext {
        Lookup => "ip4-lookup",
        MulticastLookup => "ip4-multicast-lookup",
        Local => "ip4-local",
        IcmpError => "ip4-icmp-error",
    }
}

error! {
    /// Why packets are dropped.
    pub enum Ip4OptionsError {
        Truncated => "truncated": "the header is not in the first buffer",
        SourceRoute => "source-route": "source routes are not followed (RFC 7126 section 4.3)",
        Unwanted => "options-dropped": "the operator wants no packets with options",
    }
}

/// The node.
pub struct Ip4Options {
    policy: Arc<Ip4OptionsPolicy>,
    unicast: ArcIndex,
    multicast: ArcIndex,
    icmp: Field<IcmpRequest>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    length: usize,
    fault_at: Option<u8>,
    source_route: bool,
    recording: bool,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of options", self.length)?;
        if self.source_route {
            f.write_str(", source route")?;
        }
        if self.recording {
            f.write_str(", recording")?;
        }
        match self.fault_at {
            Some(at) => write!(f, ", malformed at octet {at}"),
            None => Ok(()),
        }
    }
}

impl Node for Ip4Options {
    const NAME: &'static str = "ip4-options";
    type Next = Ip4OptionsNext;
    type Error = Ip4OptionsError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self {
            policy: init.resource()?,
            unicast: init.arc("ip4-unicast")?,
            multicast: init.arc("ip4-multicast")?,
            icmp: icmp_field(init)?,
        })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| self.decide(env, packet));
    }
}

node!(Ip4Options);

impl Ip4Options {
    fn decide(
        &self,
        env: &Env<'_, Self>,
        packet: &mut Packet<'_>,
    ) -> Verdict<Ip4OptionsNext, Ip4OptionsError> {
        let bytes = packet.bytes();
        let Some((destination, options)) = Ip4Header::parse(bytes)
            .and_then(|(ip, _)| Some((ip.destination(), bytes.get(Ip4Header::LENGTH..ip.header_length())?)))
        else {
            return Verdict::Drop(Ip4OptionsError::Truncated);
        };
        let checked = check(options);
        // Options are 40 bytes at most.
        let fault_at = checked.err().map(|at| (Ip4Header::LENGTH + at) as u8);
        let found = checked.unwrap_or_default();
        let length = options.len();
        env.trace(packet, || Record {
            length,
            fault_at,
            source_route: found.source_route,
            recording: found.recording,
        });
        let mode = self.policy.mode();
        if mode == Ip4OptionsMode::Drop {
            return Verdict::Drop(Ip4OptionsError::Unwanted);
        }
        // RFC 1812 §5.2.4, §4.3.3.5.
        if let Some(at) = fault_at {
            return self.tell(packet, IcmpRequest::ip4_parameter_problem(at));
        }
        if found.source_route {
            return match self.policy.source_routes() {
                SourceRoutes::Reject => self.tell(packet, IcmpRequest::IP4_SOURCE_ROUTE_FAILED),
                SourceRoutes::Drop => Verdict::Drop(Ip4OptionsError::SourceRoute),
            };
        }
        self.go_on(env, packet, destination)
    }

    /// Where `ip4-input` would have sent it.
    fn go_on(
        &self,
        env: &Env<'_, Self>,
        packet: &mut Packet<'_>,
        destination: Ip4Address,
    ) -> Verdict<Ip4OptionsNext, Ip4OptionsError> {
        let interface = packet.rx_interface();
        if destination == Ip4Address::BROADCAST {
            Verdict::Next(Ip4OptionsNext::Local)
        } else if destination.is_multicast() {
            let end = Verdict::Next(Ip4OptionsNext::MulticastLookup);
            env.enter_arc(self.multicast, interface, packet, end)
        } else {
            env.enter_arc(self.unicast, interface, packet, Verdict::Next(Ip4OptionsNext::Lookup))
        }
    }

    fn tell(
        &self,
        packet: &mut Packet<'_>,
        request: IcmpRequest,
    ) -> Verdict<Ip4OptionsNext, Ip4OptionsError> {
        packet.set_field(&self.icmp, request);
        Verdict::Next(Ip4OptionsNext::IcmpError)
    }
}
