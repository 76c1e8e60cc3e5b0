//! `l2-bridge`: frames of a bridge's ports: learns their sources, and sends them to where their destinations are.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::EthernetHeader;
use serde::Serialize;

use super::bridges::Bridges;
use super::learning::Learner;
use super::mac_table::MacKey;
use super::tables::{BridgeTables, Course, Stop};

next! {
    /// Where frames go.
    pub enum BridgeNext {
        Output => "interface-output",
        Flood => "l2-flood",
        Ethernet => "ethernet-input",
    }
}

error! {
    /// Why frames are dropped.
    pub enum BridgeError {
        Runt => "runt": "shorter than an Ethernet header",
        NotBridged => "not-bridged": "the interface is no port of a bridge any more",
        Reserved => "reserved-group": "for a group that bridges do not forward to (IEEE 802.1D 7.12.6)",
        Source => "bad-source": "the source MAC address is that of a group, or zero",
        SamePort => "same-port": "the destination is behind the port that the frame came in by",
        SplitHorizon => "split-horizon": "the destination is behind a port of the same split-horizon group",
        UnknownUnicast => "unknown-unicast": "the destination is not known and the bridge does not flood for those",
        FloodOff => "flood-off": "for a group, and the bridge does not flood for those",
        ForwardOff => "forward-off": "the bridge does not forward",
        TooLarge => "too-large": "larger than the MTU of the port that the frame would leave by",
    }
}

impl From<Stop> for BridgeError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::ForwardOff => Self::ForwardOff,
            Stop::FloodOff => Self::FloodOff,
            Stop::UnknownUnicast => Self::UnknownUnicast,
            Stop::SamePort => Self::SamePort,
            Stop::SplitHorizon => Self::SplitHorizon,
        }
    }
}

/// 01:80:c2:00:00:00 to 01:80:c2:00:00:0f as little-endian words: all bits but the last four of the last octet.
const RESERVED_MASK: u64 = 0xf0ff_ffff_ffff;
const RESERVED: u64 = 0x0000_00c2_8001;
const MAC_MASK: u64 = 0xffff_ffff_ffff;

/// Destination and source of a frame as little-endian words.
#[inline(always)]
pub(super) fn addresses(frame: &[u8]) -> Option<(u64, u64)> {
    let [a, b, c, d, e, f, g, h, i, j, k, l, _, _] = *frame.first_chunk::<{ EthernetHeader::LENGTH }>()?;
    let word = |bytes: [u8; 6]| {
        u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], 0, 0])
    };
    Some((word([a, b, c, d, e, f]) & MAC_MASK, word([g, h, i, j, k, l]) & MAC_MASK))
}

/// The node.
pub struct L2Bridge {
    tables: Arc<BridgeTables>,
    learner: Learner,
    to_bvi: Tally,
}

impl Node for L2Bridge {
    const NAME: &'static str = "l2-bridge";
    type Next = BridgeNext;
    type Error = BridgeError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let bridges = init.resource::<Bridges>()?;
        let tables = Arc::clone(bridges.tables());
        Ok(Self { tables, learner: Learner::new(bridges), to_bvi: Tally::received() })
    }

    fn process(&mut self, mut vector: Vector<'_, Self>) {
        if self.tables.macs.is_large() {
            self.prefetch(&mut vector);
        }
        let second = (vector.env().now_ns() / 1_000_000_000) as u32;
        vector.each_then(
            self,
            #[inline(always)]
            |env, packet, state| state.switch(env, packet, second),
            |worker, state| {
                state.to_bvi.flush(worker);
                state.learner.hand_over(worker);
            },
        );
    }
}

node!(L2Bridge);

impl L2Bridge {
    /// Has the table's lines of a frame's addresses fetched, all at once.
    fn prefetch(&self, vector: &mut Vector<'_, Self>) {
        let Some(interface) = vector.interface() else { return };
        let Some(port) = self.tables.ports(vector.env().worker()).port(interface) else { return };
        let (bridge, macs) = (port.bridge, &self.tables.macs);
        vector.scan(|_, packet| {
            if let Some((destination, source)) = addresses(packet.bytes()) {
                macs.prefetch(MacKey::new(bridge, destination));
                macs.prefetch(MacKey::new(bridge, source));
            }
        });
    }

    #[inline(always)]
    fn switch(
        &mut self,
        env: &Env<'_, Self>,
        packet: &mut Packet<'_>,
        second: u32,
    ) -> Verdict<BridgeNext, BridgeError> {
        let Some((destination, source)) = addresses(packet.bytes()) else {
            return Verdict::Drop(BridgeError::Runt);
        };
        let ports = self.tables.ports(env.worker());
        let from = packet.rx_interface();
        let Some((port, domain)) = ports.port_and_domain(from) else {
            return Verdict::Drop(BridgeError::NotBridged);
        };
        if destination & RESERVED_MASK == RESERVED {
            return Verdict::Drop(BridgeError::Reserved);
        }
        if source & 1 != 0 || source == 0 {
            return Verdict::Drop(BridgeError::Source);
        }
        if domain.learn {
            self.learner.see(port, domain, source, second);
        }
        let course = self.tables.course(ports, port, domain, destination);
        env.trace(packet, || BridgeTrace::of(port.bridge, course));
        match course {
            Course::Port(out) if !BridgeTables::fits(env.worker(), out, packet) => {
                Verdict::Drop(BridgeError::TooLarge)
            }
            Course::Port(out) => {
                packet.set_tx_interface(out);
                Verdict::Next(BridgeNext::Output)
            }
            Course::Flood => {
                // `l2-flood` leaves out the port that it finds here.
                packet.set_tx_interface(from);
                Verdict::Next(BridgeNext::Flood)
            }
            Course::Bvi(bvi) => {
                self.to_bvi.add(env.worker(), bvi, packet.len());
                env.receive_on(packet, bvi);
                Verdict::Next(BridgeNext::Ethernet)
            }
            Course::Stop(stop) => Verdict::Drop(stop.into()),
        }
    }
}

/// What is noted of a traced packet: where it goes.
#[derive(Debug, Serialize)]
pub(super) struct BridgeTrace {
    bridge: u16,
    course: &'static str,
    interface: Option<InterfaceIndex>,
}

impl BridgeTrace {
    pub(super) fn of(bridge: u16, course: Course) -> Self {
        let (course, interface) = match course {
            Course::Port(interface) => ("port", Some(interface)),
            Course::Bvi(interface) => ("bvi", Some(interface)),
            Course::Flood => ("flood", None),
            Course::Stop(_) => ("drop", None),
        };
        Self { bridge, course, interface }
    }
}

impl fmt::Display for BridgeTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bridge {}: {}", self.bridge, self.course)?;
        self.interface.map_or(Ok(()), |interface| write!(f, " {interface}"))
    }
}
