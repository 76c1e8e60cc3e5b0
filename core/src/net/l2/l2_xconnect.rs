//! `l2-xconnect`: frames go unread from an interface to the one that it is connected to.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;

use crate::net::mtu::frame_fits;

next! {
    /// Where frames go.
    pub enum XconnectNext {
        Output => "interface-output",
    }
}

error! {
    /// Why frames are dropped.
    pub enum XconnectError {
        NotConnected => "not-connected": "the interface is not cross-connected any more",
        TooLarge => "too-large": "larger than the MTU of the interface that the frame would leave by",
    }
}

/// The node.
pub struct L2Xconnect;

impl Node for L2Xconnect {
    const NAME: &'static str = "l2-xconnect";
    type Next = XconnectNext;
    type Error = XconnectError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let mut from = vector.interface().unwrap_or(InterfaceIndex::NONE);
        let (mut peer, mut mtu) = peer(vector.env().worker(), from);
        vector.each(
            #[inline(always)]
            |env, packet| {
                if packet.rx_interface() != from {
                    from = packet.rx_interface();
                    (peer, mtu) = self::peer(env.worker(), from);
                }
                if peer == InterfaceIndex::NONE {
                    return Verdict::Drop(XconnectError::NotConnected);
                }
                if !frame_fits(packet, mtu) {
                    return Verdict::Drop(XconnectError::TooLarge);
                }
                packet.set_tx_interface(peer);
                Verdict::Next(XconnectNext::Output)
            },
        );
    }
}

node!(L2Xconnect);

/// What an interface is connected to, and the MTU there.
fn peer(worker: &Worker<'_>, interface: InterfaceIndex) -> (InterfaceIndex, usize) {
    let peer = worker.interface(interface).and_then(|row| row.xconnect()).unwrap_or(InterfaceIndex::NONE);
    (peer, worker.interface(peer).map_or(0, |row| row.mtu()))
}
