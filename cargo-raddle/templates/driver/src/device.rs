//! A device and its queues: the socket is read by one thread and written by all.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;

use raddle_plugin_api::driver::{Change, Device, Properties, Receive, Request, RxQueue, Transmit, TxQueue};
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::EthernetHeader;
use serde_json::json;

use crate::Options;

/// Largest L3 packet, in bytes.
const MAX_MTU: u32 = 9000;
/// What the MTU is when nobody says, in bytes.
const DEFAULT_MTU: u32 = 1500;
/// Room for a frame: the largest packet, an Ethernet header and two VLAN tags, in bytes.
const FRAME_BYTES: usize = MAX_MTU as usize + size_of::<EthernetHeader>() + 8;

/// An interface over a socket.
pub struct SocketDevice {
    socket: Arc<UnixDatagram>,
    options: Options,
    mac: MacAddress,
    mtu: u32,
    rx_is_taken: bool,
}

impl SocketDevice {
    /// Makes the socket. One that a killed raddle left is replaced.
    pub(crate) fn open(request: &Request, options: Options) -> Result<Self, Failure> {
        let mtu = request.mtu.unwrap_or(DEFAULT_MTU);
        if mtu > MAX_MTU {
            bail!("the MTU {mtu} is too large, {MAX_MTU} is the largest");
        }
        if UnixDatagram::unbound()?.connect(&options.path).is_ok() {
            bail!("somebody receives by the socket {}", options.path.display());
        }
        // Nobody does: what is left of it is in the way.
        let _ = std::fs::remove_file(&options.path);
        let socket = UnixDatagram::bind(&options.path)
            .map_err(|error| failure!("cannot make the socket {}: {error}", options.path.display()))?;
        socket.set_nonblocking(true)?;
        let mac = request.mac.unwrap_or_else(|| mac_of(&request.name));
        Ok(Self { socket: Arc::new(socket), options, mac, mtu, rx_is_taken: false })
    }
}

/// A locally administered MAC address that is the same for the same name (FNV-1a).
fn mac_of(name: &str) -> MacAddress {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = hash.to_le_bytes();
    MacAddress([0x02, a, b, c, d, e])
}

impl Device for SocketDevice {
    type Rx = SocketRx;
    type Tx = SocketTx;

    fn properties(&mut self) -> Properties {
        Properties {
            mac: Some(self.mac),
            mtu: self.mtu,
            max_mtu: MAX_MTU,
            link_up: true,
            rx_queues: 1,
            tx_checksum: false,
            tx_gso: false,
            generation: 1,
            fault: None,
        }
    }

    fn details(&self) -> serde_json::Value {
        json!({ "path": self.options.path, "peer": self.options.peer })
    }

    fn rx_queue(&mut self, index: u32) -> Option<SocketRx> {
        let is_first = index == 0 && !std::mem::replace(&mut self.rx_is_taken, true);
        is_first.then(|| SocketRx { socket: Arc::clone(&self.socket), frame: vec![0; FRAME_BYTES] })
    }

    fn tx_queue(&mut self, _: u32) -> Result<SocketTx, Failure> {
        let peer = self.options.peer.clone();
        Ok(SocketTx { socket: Arc::clone(&self.socket), peer, frame: Vec::with_capacity(FRAME_BYTES) })
    }

    fn change(&mut self, change: Change) -> Result<(), Failure> {
        match change {
            Change::Mtu(mtu) if mtu > MAX_MTU => {
                bail!("the MTU {mtu} is too large, {MAX_MTU} is the largest");
            }
            Change::Mtu(mtu) => self.mtu = mtu,
            Change::Mac(mac) => self.mac = mac,
            // The socket takes all frames anyway.
            Change::Up(_) | Change::Promiscuous(_) | Change::Address { .. } => {}
        }
        Ok(())
    }
}

impl Drop for SocketDevice {
    fn drop(&mut self) {
        // It may have been removed.
        let _ = std::fs::remove_file(&self.options.path);
    }
}

/// The receive queue.
pub struct SocketRx {
    socket: Arc<UnixDatagram>,
    frame: Vec<u8>,
}

impl RxQueue for SocketRx {
    fn receive(&mut self, rx: &mut Receive<'_>) {
        while rx.room() > 0 {
            // Nothing there is an error too, as the socket does not block.
            let Ok(length) = self.socket.recv(&mut self.frame) else { return };
            // A longer frame was cut, and a shorter one has no Ethernet header.
            if (size_of::<EthernetHeader>()..FRAME_BYTES).contains(&length) {
                rx.push(&self.frame[..length], |_| {});
            } else {
                rx.count_lost(1);
            }
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }
}

/// A transmit queue.
pub struct SocketTx {
    socket: Arc<UnixDatagram>,
    peer: PathBuf,
    frame: Vec<u8>,
}

impl TxQueue for SocketTx {
    fn transmit(&mut self, tx: &mut Transmit<'_>) -> usize {
        for position in 0..tx.len() {
            self.frame.clear();
            for segment in tx.packet(position).segments() {
                self.frame.extend_from_slice(segment);
            }
            // The peer is not there, or has not read: raddle counts what was not sent.
            if self.socket.send_to(&self.frame, &self.peer).is_err() {
                return position;
            }
        }
        tx.len()
    }
}
