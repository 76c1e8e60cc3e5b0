//! `tuntap-to-host`: punted packets to the host, as frames by the tap of the interface that they came in by, or as they are by
//! the tun of its table.

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use serde::Serialize;

use crate::link_header;
use crate::targets::{Target, Targets};

next! {
    /// Where packets go.
    pub enum ToHostNext { Output => "interface-output" }
}

error! {
    /// Why packets are dropped.
    pub enum ToHostError {
        NoWay => "no-way": "the interface has no way to the host any more",
        NotIp => "not-ip": "neither IPv4, IPv6 nor ARP, or ARP for a tun",
    }
}

/// The node.
pub struct ToHost {
    targets: Arc<Targets>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    by: InterfaceIndex,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to the host by interface {}", self.by)
    }
}

impl Node for ToHost {
    const NAME: &'static str = "tuntap-to-host";
    type Next = ToHostNext;
    type Error = ToHostError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { targets: init.resource()? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let interface = packet.rx_interface();
            let by = match self.targets.of(env.worker(), interface) {
                Some(Target::Tap(tap)) => {
                    let own = env.worker().interface(interface).map_or(MacAddress::ZERO, |row| row.mac());
                    if !link_header::restore(packet, own) {
                        return Verdict::Drop(ToHostError::NotIp);
                    }
                    tap
                }
                Some(Target::Tun(_))
                    if !matches!(packet.bytes().first().map(|first| first >> 4), Some(4 | 6)) =>
                {
                    return Verdict::Drop(ToHostError::NotIp);
                }
                Some(Target::Tun(tun)) => tun,
                None => return Verdict::Drop(ToHostError::NoWay),
            };
            env.trace(packet, || Record { by });
            packet.set_tx_interface(by);
            Verdict::Next(ToHostNext::Output)
        });
    }
}

node!(ToHost);
