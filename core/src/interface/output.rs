//! `interface-output`: counts nothing, decides nothing but which driver sends, or which feature comes first.

use std::sync::atomic::Ordering;

use raddle_plugin_api::Interface;
use raddle_plugin_api::abi::InterfaceFlags;
use raddle_plugin_api::prelude::*;

next! {
    /// Where packets go that ask for more than their interface's device can do.
    pub enum OutputNext { Offload => "tx-offload" }
}

error! {
    /// Why `interface-output` drops.
    pub enum OutputError {
        NoInterface => "no-interface": "the packet has no interface to leave by, or it is gone",
        Down => "interface-down": "the interface is down",
    }
}

/// Hands packets to the transmit node of their interface's driver, by way of the arc `interface-output`.
pub struct InterfaceOutput {
    arc: ArcIndex,
}

impl Node for InterfaceOutput {
    const NAME: &'static str = "interface-output";
    type Next = OutputNext;
    type Error = OutputError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { arc: init.arc("interface-output")? })
    }

    fn process(&mut self, mut vector: Vector<'_, Self>) {
        // The usual frame leaves by one interface, which is up and has no features: it moves on whole.
        let (mut first, mut differ, mut offload) = (InterfaceIndex::NONE, 0, false);
        vector.scan(
            #[inline(always)]
            |position, packet| {
                let interface = packet.tx_interface();
                if position == 0 {
                    first = interface;
                }
                differ |= interface.0 ^ first.0;
                offload |= packet.has_offload();
            },
        );
        if differ == 0
            && let Some(interface) = vector.env().worker().interface(first)
            && interface.is_up()
            && interface.row().output_features.load(Ordering::Relaxed) == 0
        {
            if offload && !does_offloads(interface.row().flags.load(Ordering::Relaxed)) {
                return vector.forward(OutputNext::Offload);
            }
            let node = interface.row().tx_node.load(Ordering::Relaxed);
            return vector.forward_to(NodeIndex::from_host(node as u16));
        }
        let arc = self.arc;
        vector.each(|env, packet| {
            let tx = packet.tx_interface();
            let Some(interface) = env.worker().interface(tx) else {
                return Verdict::Drop(OutputError::NoInterface);
            };
            let flags = interface.row().flags.load(Ordering::Relaxed);
            if flags & InterfaceFlags::EXISTS == 0 {
                return Verdict::Drop(OutputError::NoInterface);
            }
            if flags & InterfaceFlags::UP != InterfaceFlags::UP {
                return Verdict::Drop(OutputError::Down);
            }
            let end = way_out(&interface, packet);
            env.enter_arc(arc, tx, packet, end)
        });
    }
}

/// To the driver's transmit node, past `tx-offload` where the device does not do what the packet asks for.
#[inline(always)]
fn way_out(interface: &Interface<'_>, packet: &Packet<'_>) -> Verdict<OutputNext, OutputError> {
    if packet.has_offload() && !does_offloads(interface.row().flags.load(Ordering::Relaxed)) {
        return Verdict::Next(OutputNext::Offload);
    }
    Verdict::To(NodeIndex::from_host(interface.row().tx_node.load(Ordering::Relaxed) as u16))
}

/// Whether a device does all that packets may ask of one.
const fn does_offloads(flags: u32) -> bool {
    const ALL: u32 = InterfaceFlags::TX_CHECKSUM | InterfaceFlags::TX_GSO;
    flags & ALL == ALL
}

node!(InterfaceOutput);
arc! { "interface-output", end: "interface-tx" }

/// Hands packets to the transmit node of their interface's driver: the end of the arc `interface-output`.
pub struct InterfaceTx;

impl Node for InterfaceTx {
    const NAME: &'static str = "interface-tx";
    type Next = OutputNext;
    type Error = OutputError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| match env.worker().interface(packet.tx_interface()) {
            Some(interface) if interface.is_up() => way_out(&interface, packet),
            Some(interface) if interface.exists() => Verdict::Drop(OutputError::Down),
            _ => Verdict::Drop(OutputError::NoInterface),
        });
    }
}

node!(InterfaceTx);
