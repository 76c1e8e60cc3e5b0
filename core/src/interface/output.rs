//! `interface-output`: counts nothing, decides nothing but which driver sends, or which feature comes first.

use std::sync::atomic::Ordering;

use raddle_plugin_api::abi::InterfaceFlags;
use raddle_plugin_api::prelude::*;

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
    type Next = NoNext;
    type Error = OutputError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { arc: init.arc("interface-output")? })
    }

    fn process(&mut self, mut vector: Vector<'_, Self>) {
        // The usual frame leaves by one interface, which is up and has no features: it moves on whole.
        let (mut first, mut differ) = (InterfaceIndex::NONE, 0);
        vector.scan(
            #[inline(always)]
            |position, packet| {
                let interface = packet.tx_interface();
                if position == 0 {
                    first = interface;
                }
                differ |= interface.0 ^ first.0;
            },
        );
        if differ == 0
            && let Some(interface) = vector.env().worker().interface(first)
            && interface.is_up()
            && interface.row().output_features.load(Ordering::Relaxed) == 0
        {
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
            let node = NodeIndex::from_host(interface.row().tx_node.load(Ordering::Relaxed) as u16);
            env.enter_arc(arc, tx, packet, Verdict::To(node))
        });
    }
}

node!(InterfaceOutput);
arc! { "interface-output", end: "interface-tx" }

/// Hands packets to the transmit node of their interface's driver: the end of the arc `interface-output`.
pub struct InterfaceTx;

impl Node for InterfaceTx {
    const NAME: &'static str = "interface-tx";
    type Next = NoNext;
    type Error = OutputError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| match env.worker().interface(packet.tx_interface()) {
            Some(interface) if interface.is_up() => {
                Verdict::To(NodeIndex::from_host(interface.row().tx_node.load(Ordering::Relaxed) as u16))
            }
            Some(interface) if interface.exists() => Verdict::Drop(OutputError::Down),
            _ => Verdict::Drop(OutputError::NoInterface),
        });
    }
}

node!(InterfaceTx);
