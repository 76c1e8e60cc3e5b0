//! `loopback`: what is sent to it comes back as received. A home for addresses of the router itself.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use raddle_plugin_api::driver::{
    Change, Device, Driver, Properties, Receive, Request, RxQueue, Transmit, TxQueue,
};
use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{Control, Failure, HeldPacket, bail};
use rustix::event::{EventfdFlags, eventfd};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::host::stable_mac;

/// Packets that wait, at most.
const QUEUE_PACKETS: usize = 1024;
/// Largest L3 packet, in bytes.
const MAX_MTU: u32 = 65_535;
/// What the MTU is when nobody says, in bytes.
const DEFAULT_MTU: u32 = 9000;

/// The `loopback` driver.
pub struct Loopback;

/// A `loopback` interface has no keys of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Options {}

impl Driver for Loopback {
    const NAME: &'static str = "loopback";
    const SUMMARY: &'static str = "a virtual interface that receives what is sent to it";
    type Options = Options;
    type Device = LoopbackDevice;

    fn open(_: &mut Control<'_>, request: &Request, _: Options) -> Result<LoopbackDevice, Failure> {
        LoopbackDevice::open(request)
    }
}

raddle_plugin_api::driver!(Loopback);

/// Wakes the receiving thread, once until it has looked.
struct Bell {
    event: OwnedFd,
    rung: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            // A full counter is as readable as one that was added to.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    /// Whoever sends from here on rings again: look for packets after this.
    fn silence(&self) {
        if self.rung.load(Ordering::SeqCst) {
            let _ = rustix::io::read(&self.event, &mut [0; 8]);
            self.rung.store(false, Ordering::SeqCst);
        }
    }
}

/// A loopback interface; its link is always up.
pub struct LoopbackDevice {
    mac: MacAddress,
    mtu: u32,
    sender: SyncSender<HeldPacket>,
    receiver: Option<Receiver<HeldPacket>>,
    bell: Arc<Bell>,
}

impl LoopbackDevice {
    fn open(request: &Request) -> Result<Self, Failure> {
        let (sender, receiver) = sync_channel(QUEUE_PACKETS);
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let mac = request.mac.unwrap_or_else(|| stable_mac(Loopback::NAME, &request.name));
        let bell = Arc::new(Bell { event, rung: AtomicBool::new(false) });
        let mtu = request.mtu.unwrap_or(DEFAULT_MTU);
        let mut device = Self { mac, mtu: DEFAULT_MTU, sender, receiver: Some(receiver), bell };
        device.change(Change::Mtu(mtu))?;
        Ok(device)
    }
}

impl Device for LoopbackDevice {
    type Rx = LoopbackRx;
    type Tx = LoopbackTx;

    fn properties(&mut self) -> Properties {
        Properties {
            mac: Some(self.mac),
            mtu: self.mtu,
            max_mtu: MAX_MTU,
            link_up: true,
            rx_queues: 1,
            tx_checksum: true,
            tx_gso: true,
            generation: 1,
            fault: None,
        }
    }

    fn rx_queue(&mut self, index: u32) -> Option<LoopbackRx> {
        let receiver = if index == 0 { self.receiver.take() } else { None };
        receiver.map(|receiver| LoopbackRx { receiver, bell: Arc::clone(&self.bell) })
    }

    fn tx_queue(&mut self, _: u32) -> Result<LoopbackTx, Failure> {
        Ok(LoopbackTx { sender: self.sender.clone(), bell: Arc::clone(&self.bell) })
    }

    fn change(&mut self, change: Change) -> Result<(), Failure> {
        match change {
            Change::Mtu(mtu) if mtu > MAX_MTU => {
                bail!("the MTU {mtu} is too large, a loopback interface takes at most {MAX_MTU}");
            }
            Change::Mtu(mtu) => self.mtu = mtu,
            Change::Mac(mac) if !mac.is_unicast() => bail!("the MAC address {mac} is not a unicast address"),
            Change::Mac(mac) => self.mac = mac,
            Change::Up(_) | Change::Promiscuous(_) | Change::Address { .. } => {}
        }
        Ok(())
    }
}

/// The receive queue of a loopback interface.
pub struct LoopbackRx {
    receiver: Receiver<HeldPacket>,
    bell: Arc<Bell>,
}

impl RxQueue for LoopbackRx {
    fn receive(&mut self, rx: &mut Receive<'_>) {
        self.bell.silence();
        while rx.room() > 0 {
            let Ok(held) = self.receiver.try_recv() else { return };
            rx.push_held(held);
        }
        // There may be more.
        self.bell.ring();
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.event.as_fd())
    }
}

/// A thread's transmit queue of a loopback interface.
pub struct LoopbackTx {
    sender: SyncSender<HeldPacket>,
    bell: Arc<Bell>,
}

impl TxQueue for LoopbackTx {
    fn transmit(&mut self, tx: &mut Transmit<'_>) -> usize {
        let mut sent = 0;
        for position in 0..tx.len() {
            let Some(copy) = tx.copy(position) else { break };
            match self.sender.try_send(copy) {
                Ok(()) => sent += 1,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => break,
            }
        }
        if sent > 0 {
            self.bell.ring();
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::wire::{ChecksumOffload, Offload};

    use super::*;
    use crate::driver::test_host::TestHost;

    #[test]
    fn what_is_sent_comes_back_with_its_offloads() {
        let host = TestHost::new();
        let mut device = host.open::<Loopback>("loop0", Options {}).unwrap();
        let mut rx = host.rx_queue::<Loopback>(device.rx_queue(0).unwrap());
        let mut tx = host.tx_queue::<Loopback>(device.tx_queue(0).unwrap());
        assert!(device.rx_queue(0).is_none() && device.rx_queue(1).is_none());
        assert!(!rx.is_readable(0));
        let bytes: Vec<u8> = (0..5000).map(|number| number as u8).collect();
        let offload =
            Offload { checksum: Some(ChecksumOffload { start: 34, offset: 16 }), ..Offload::default() };
        assert_eq!(tx.transmit(&[(&bytes, offload), (&bytes[..60], Offload::default())]), 2);
        assert!(rx.is_readable(0));
        let received = rx.receive(256);
        assert_eq!((received.packets.len(), received.bytes, received.lost), (2, 5060, 0));
        assert_eq!(received.packets[0].bytes, bytes);
        assert_eq!(received.packets[0].offload.checksum, offload.checksum);
        assert_eq!(received.packets[1].bytes, bytes[..60]);
        assert!(!rx.is_readable(0));
        drop((rx, tx));
        assert_eq!(host.free_buffers(), TestHost::new().free_buffers());
    }

    #[test]
    fn queue_is_bounded_and_stays_readable_while_packets_wait() {
        let host = TestHost::new();
        let mut device = host.open::<Loopback>("loop0", Options {}).unwrap();
        let mut rx = host.rx_queue::<Loopback>(device.rx_queue(0).unwrap());
        let mut tx = host.tx_queue::<Loopback>(device.tx_queue(0).unwrap());
        let packets = vec![(&[0_u8; 60][..], Offload::default()); 256];
        let sent: usize = (0..5).map(|_| tx.transmit(&packets)).sum();
        assert_eq!(sent, QUEUE_PACKETS);
        let mut received = 0;
        while rx.is_readable(0) {
            received += rx.receive(100).packets.len();
        }
        assert_eq!(received, QUEUE_PACKETS);
        assert_eq!(host.free_buffers(), TestHost::new().free_buffers());
    }

    #[test]
    fn packets_that_wait_go_back_when_the_queue_goes() {
        let host = TestHost::new();
        let mut device = host.open::<Loopback>("loop0", Options {}).unwrap();
        let rx = host.rx_queue::<Loopback>(device.rx_queue(0).unwrap());
        let mut tx = host.tx_queue::<Loopback>(device.tx_queue(0).unwrap());
        assert_eq!(tx.transmit(&[(&[0; 3000], Offload::default())]), 1);
        drop(rx);
        assert_eq!(tx.transmit(&[(&[0; 60], Offload::default())]), 0);
        assert_eq!(host.free_buffers(), TestHost::new().free_buffers());
    }

    #[test]
    fn properties_follow_changes() {
        let host = TestHost::new();
        let mut device = host.open::<Loopback>("loop0", Options {}).unwrap();
        let properties = device.properties();
        assert!(properties.link_up && properties.mac.unwrap().is_local());
        assert!(device.change(Change::Mtu(65_536)).is_err());
        assert!(device.change(Change::Mac(MacAddress::BROADCAST)).is_err());
        device.change(Change::Mtu(1280)).unwrap();
        device.change(Change::Mac(MacAddress([2, 0, 0, 0, 0, 1]))).unwrap();
        let changed = device.properties();
        assert_eq!((changed.mtu, changed.mac), (1280, Some(MacAddress([2, 0, 0, 0, 0, 1]))));
    }
}
