//! The device: a link of the host, watched and taken up again when it comes back.

use std::collections::BTreeSet;
use std::sync::Arc;

use raddle_plugin_api::driver::{Change, Device, Driver, Properties, Request};
use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{Control, Failure, bail};
use rustix::io::Errno;

use super::options::{Options, OptionsError};
use super::rx_queue::AfPacketRx;
use super::socket::{Membership, PacketSocket};
use super::tx_queue::AfPacketTx;
use crate::driver::counts::QueueCounts;
use crate::driver::host::{HostError, HostLinks, Link, Namespace};

/// Room for frames that are larger than a slot, per receive queue, in bytes: some 60 GSO packets.
const RECEIVE_QUEUE_BYTES: usize = 8 << 20;
/// Frames under way from one thread, at most, in bytes.
const SEND_BUFFER_BYTES: usize = 8 << 20;

/// What is asked for on account of a further address.
const MORE_FRAMES: &str = "ask for frames of one address more";

/// Why an interface of the host cannot be used.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    /// There is none of this name.
    #[error("the host has no interface {device}{near}")]
    Missing {
        /// The name that was given.
        device: String,
        /// Names that there are.
        near: String,
    },
    /// It has no Ethernet header.
    #[error("the host's interface {0} is not an Ethernet device")]
    NotEthernet(String),
    /// It can no longer be used under this name.
    #[error("the host's interface {0} went away")]
    Gone(String),
    /// The host refuses packet sockets.
    #[error("no permission for a packet socket on the host's interface {0}, CAP_NET_RAW is needed")]
    NoPermission(String),
    /// The host refuses something else.
    #[error("cannot {what} on the host's interface {device}: {source}")]
    Socket {
        /// What was asked for.
        what: &'static str,
        /// Where.
        device: String,
        /// What the host said.
        source: Errno,
    },
    /// The host's links cannot be asked.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The keys are wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
}

/// The `af-packet` driver.
pub struct AfPacket;

impl Driver for AfPacket {
    const NAME: &'static str = "af-packet";
    const SUMMARY: &'static str = "an interface of the host, by packet sockets with mapped rings";
    type Options = Options;
    type Device = AfPacketDevice;

    fn open(_: &mut Control<'_>, request: &Request, options: Self::Options) -> Result<Self::Device, Failure> {
        Ok(AfPacketDevice::open(request, options)?)
    }
}

/// What is held while the link is there.
struct Attached {
    link: Link,
    /// The socket of the first receive queue: it knows when the link goes, and holds the memberships.
    watch: Arc<PacketSocket>,
    rx: Vec<Option<AfPacketRx>>,
    promiscuous: bool,
}

/// An interface of the host.
///
/// Setting it up sets the host's interface up. Setting it down, or closing it, leaves that as it was found: it goes
/// down only if it was set up from here, and gets its MTU back if that was changed from here. A MAC address of its own
/// is raddle's alone; the host's interface keeps its one and is made promiscuous.
pub struct AfPacketDevice {
    options: Options,
    links: HostLinks,
    attached: Option<Attached>,
    generation: u32,
    fault: Option<String>,
    wanted_up: bool,
    wanted_mtu: Option<u32>,
    wanted_promiscuous: bool,
    own_mac: Option<MacAddress>,
    /// Addresses besides the own one that frames are taken for.
    more_addresses: BTreeSet<MacAddress>,
    last: Properties,
    /// Whether the host's interface was set up from here.
    brought_up: bool,
    /// The MTU that the host's interface had before it was changed from here.
    found_mtu: Option<u32>,
    counts: Arc<QueueCounts>,
}

impl AfPacketDevice {
    fn open(request: &Request, options: Options) -> Result<Self, AttachError> {
        options.check(request.threads)?;
        let mut device = Self {
            links: HostLinks::open(&Namespace::Own)?,
            attached: None,
            generation: 0,
            fault: None,
            wanted_up: false,
            wanted_mtu: request.mtu,
            wanted_promiscuous: false,
            own_mac: request.mac,
            more_addresses: BTreeSet::new(),
            last: Properties {
                mac: request.mac,
                mtu: request.mtu.unwrap_or(1500),
                max_mtu: 65_535,
                link_up: false,
                rx_queues: options.queues,
                tx_checksum: true,
                tx_gso: true,
                generation: 0,
                fault: None,
            },
            options,
            brought_up: false,
            found_mtu: None,
            counts: Arc::default(),
        };
        // A link that comes later is taken up then, as one that comes back is.
        match device.attach() {
            Err(error @ AttachError::Missing { .. }) => device.fault = Some(error.to_string()),
            attached => attached?,
        }
        Ok(device)
    }

    #[cfg(test)]
    pub(super) fn counts_for_test(&self) -> &QueueCounts {
        &self.counts
    }

    /// Opens the sockets of the link that has the device's name now.
    fn attach(&mut self) -> Result<(), AttachError> {
        let name = self.options.device.clone();
        let Some(mut link) = self.links.find(&name)? else { return Err(self.missing()) };
        if link.mac.is_none() {
            return Err(AttachError::NotEthernet(name));
        }
        self.attached = None;
        self.brought_up = false;
        self.found_mtu = None;
        if let Some(mtu) = self.wanted_mtu
            && mtu != link.mtu
        {
            self.links.set_mtu(&link, mtu)?;
            self.found_mtu = Some(link.mtu);
            link.mtu = mtu;
        }
        let mut rx = Vec::new();
        let mut sockets = Vec::new();
        for _ in 0..self.options.queues {
            let (socket, queue) = self.open_rx(&link)?;
            sockets.push(socket);
            rx.push(Some(queue));
        }
        self.bind(&link, &sockets)?;
        // The options were checked: there is at least one queue.
        let watch = Arc::clone(&sockets[0]);
        watch
            .set_membership(link.index, Membership::AllMulticast, true)
            .map_err(|error| refused(&name, "ask for multicast frames", error))?;
        for &mac in &self.more_addresses {
            watch
                .set_membership(link.index, Membership::Address(mac), true)
                .map_err(|error| refused(&name, MORE_FRAMES, error))?;
        }
        if self.wanted_up && !link.up {
            self.links.set_up(&link, true)?;
            self.brought_up = true;
            link.up = true;
        }
        self.attached = Some(Attached { link, watch, rx, promiscuous: false });
        self.follow_promiscuous()?;
        self.generation += 1;
        Ok(())
    }

    fn missing(&mut self) -> AttachError {
        let device = self.options.device.clone();
        AttachError::Missing { near: self.links.near(&device), device }
    }

    fn open_rx(&self, link: &Link) -> Result<(Arc<PacketSocket>, AfPacketRx), AttachError> {
        let name = &self.options.device;
        let socket = PacketSocket::open().map_err(|error| refused(name, "open a packet socket", error))?;
        socket.ignore_outgoing();
        let ring = socket
            .receive_ring(self.options.rx_geometry(link.mtu), RECEIVE_QUEUE_BYTES)
            .map_err(|error| refused(name, "make a receive ring", error))?;
        let socket = Arc::new(socket);
        Ok((Arc::clone(&socket), AfPacketRx::new(socket, ring, Arc::clone(&self.counts))))
    }

    /// Binds the receive sockets, several as one group. Each joins as soon as it is bound, so that frames that come
    /// in meanwhile are seldom seen twice.
    fn bind(&self, link: &Link, sockets: &[Arc<PacketSocket>]) -> Result<(), AttachError> {
        let name = &self.options.device;
        let mut group = None;
        for socket in sockets {
            socket.bind(link.index, true).map_err(|error| refused(name, "bind a packet socket", error))?;
            if sockets.len() > 1 {
                let joined = socket.join_fanout(group, self.options.fanout);
                group = Some(joined.map_err(|error| refused(name, "join receive queues", error))?);
            }
        }
        Ok(())
    }

    /// Has the link take frames for every address if that was asked for, or its own address is not ours.
    fn follow_promiscuous(&mut self) -> Result<(), AttachError> {
        let Some(attached) = &mut self.attached else { return Ok(()) };
        let foreign = self.own_mac.is_some_and(|mac| Some(mac) != attached.link.mac);
        let wanted = self.wanted_promiscuous || foreign;
        if wanted != attached.promiscuous {
            attached
                .watch
                .set_membership(attached.link.index, Membership::Promiscuous, wanted)
                .map_err(|error| refused(&self.options.device, "change the promiscuous mode", error))?;
            attached.promiscuous = wanted;
        }
        Ok(())
    }

    /// Looks whether the link is still the one that the sockets are bound to, and takes up another one of its name.
    fn follow_link(&mut self) -> Result<(), AttachError> {
        let found = self.links.find(&self.options.device)?;
        let Some(found) = found else {
            if self.attached.take().is_some() {
                // It took what was changed with it.
                self.brought_up = false;
                self.found_mtu = None;
            }
            return Err(match self.generation {
                0 => self.missing(),
                _ => AttachError::Gone(self.options.device.clone()),
            });
        };
        match &mut self.attached {
            Some(attached)
                if attached.link.index == found.index && attached.watch.bound_link() == Some(found.index) =>
            {
                attached.link = found;
                self.follow_promiscuous()
            }
            _ => {
                self.attached = None;
                self.attach()
            }
        }
    }

    fn set_up(&mut self, up: bool) -> Result<(), Failure> {
        self.wanted_up = up;
        let Some(attached) = &mut self.attached else { return Ok(()) };
        if let Some(link) = self.links.find(&self.options.device)? {
            attached.link = link;
        }
        if up && !attached.link.up {
            self.links.set_up(&attached.link, true)?;
            self.brought_up = true;
        } else if !up && self.brought_up {
            self.links.set_up(&attached.link, false)?;
            self.brought_up = false;
        }
        Ok(())
    }

    fn set_mtu(&mut self, mtu: u32) -> Result<(), Failure> {
        if let Some(attached) = &mut self.attached {
            if mtu > attached.link.max_mtu {
                bail!(
                    "the MTU {mtu} is too large, the host's interface {} takes at most {}",
                    self.options.device,
                    attached.link.max_mtu
                );
            }
            self.links.set_mtu(&attached.link, mtu)?;
            self.found_mtu.get_or_insert(attached.link.mtu);
            attached.link.mtu = mtu;
        }
        self.wanted_mtu = Some(mtu);
        Ok(())
    }

    fn set_mac(&mut self, mac: MacAddress) -> Result<(), Failure> {
        if !mac.is_unicast() {
            bail!("the MAC address {mac} is not a unicast address");
        }
        self.own_mac = Some(mac);
        Ok(self.follow_promiscuous()?)
    }

    /// Has the link take frames for one address more, or not any more.
    fn set_address(&mut self, mac: MacAddress, on: bool) -> Result<(), Failure> {
        if self.more_addresses.contains(&mac) == on {
            return Ok(());
        }
        if let Some(attached) = &self.attached {
            let asked = attached.watch.set_membership(attached.link.index, Membership::Address(mac), on);
            asked.map_err(|error| refused(&self.options.device, MORE_FRAMES, error))?;
        }
        if on {
            self.more_addresses.insert(mac);
        } else {
            self.more_addresses.remove(&mac);
        }
        Ok(())
    }

    fn open_tx(&self, link: &Link) -> Result<AfPacketTx, AttachError> {
        let name = &self.options.device;
        let open = || -> Result<PacketSocket, Errno> {
            let socket = PacketSocket::open()?;
            socket.set_send_buffer(SEND_BUFFER_BYTES)?;
            if self.options.qdisc_bypass {
                socket.bypass_qdisc()?;
            }
            Ok(socket)
        };
        let opened = |error| refused(name, "open a packet socket", error);
        let bound = |error| refused(name, "bind a packet socket", error);
        let (socket, plain) = (open().map_err(opened)?, open().map_err(opened)?);
        let ring = socket
            .transmit_ring(self.options.tx_geometry(link.mtu))
            .map_err(|error| refused(name, "make a transmit ring", error))?;
        socket.bind(link.index, false).map_err(bound)?;
        plain.bind(link.index, false).map_err(bound)?;
        Ok(AfPacketTx::new(socket, plain, ring, Arc::clone(&self.counts)))
    }
}

impl Device for AfPacketDevice {
    type Rx = AfPacketRx;
    type Tx = AfPacketTx;

    fn properties(&mut self) -> Properties {
        self.fault = self.follow_link().err().map(|error| error.to_string());
        if let Some(attached) = &self.attached {
            self.last.mac = self.own_mac.or(attached.link.mac);
            self.last.mtu = attached.link.mtu;
            self.last.max_mtu = attached.link.max_mtu;
        }
        self.last.link_up = self.attached.as_ref().is_some_and(|attached| attached.link.running);
        self.last.generation = self.generation;
        self.last.fault.clone_from(&self.fault);
        self.last.clone()
    }

    fn details(&self) -> serde_json::Value {
        let geometry = self.options.rx_geometry(self.last.mtu);
        serde_json::json!({
            "device": self.options.device,
            "device-index": self.attached.as_ref().map(|attached| attached.link.index),
            "device-mac": self.attached.as_ref().and_then(|attached| attached.link.mac),
            "promiscuous": self.attached.as_ref().is_some_and(|attached| attached.promiscuous),
            "fanout": self.options.fanout,
            "qdisc-bypass": self.options.qdisc_bypass,
            "rx-ring": { "slots": geometry.slots(), "slot-bytes": geometry.slot_bytes() },
            "tx-ring": {
                "slots": self.options.tx_geometry(self.last.mtu).slots(),
                "slot-bytes": self.options.tx_geometry(self.last.mtu).slot_bytes(),
            },
            "counts": &*self.counts,
        })
    }

    fn rx_queue(&mut self, index: u32) -> Option<Self::Rx> {
        self.attached.as_mut()?.rx.get_mut(index as usize)?.take()
    }

    fn tx_queue(&mut self, _: u32) -> Result<Self::Tx, Failure> {
        let Some(attached) = &self.attached else {
            bail!("the host's interface {} is not there", self.options.device);
        };
        Ok(self.open_tx(&attached.link)?)
    }

    fn change(&mut self, change: Change) -> Result<(), Failure> {
        match change {
            Change::Up(up) => self.set_up(up),
            Change::Mtu(mtu) => self.set_mtu(mtu),
            Change::Mac(mac) => self.set_mac(mac),
            Change::Promiscuous(on) => {
                self.wanted_promiscuous = on;
                Ok(self.follow_promiscuous()?)
            }
            Change::Address { mac, on } => self.set_address(mac, on),
        }
    }
}

impl Drop for AfPacketDevice {
    fn drop(&mut self) {
        let Some(attached) = &self.attached else { return };
        let same = self.links.find(&self.options.device);
        let Ok(Some(link)) = same else { return };
        if link.index != attached.link.index {
            return;
        }
        // What cannot be put back now cannot be put back at all; nobody is left to tell.
        if let Some(mtu) = self.found_mtu {
            let _ = self.links.set_mtu(&link, mtu);
        }
        if self.brought_up {
            let _ = self.links.set_up(&link, false);
        }
    }
}

fn refused(device: &str, what: &'static str, error: Errno) -> AttachError {
    match error {
        Errno::PERM | Errno::ACCESS => AttachError::NoPermission(device.to_owned()),
        Errno::NODEV | Errno::NXIO => AttachError::Gone(device.to_owned()),
        source => AttachError::Socket { what, device: device.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_in_a_sentence() {
        for (error, message) in [
            (
                Errno::PERM,
                "no permission for a packet socket on the host's interface e0, CAP_NET_RAW is needed",
            ),
            (Errno::NODEV, "the host's interface e0 went away"),
            (
                Errno::NOMEM,
                "cannot make a receive ring on the host's interface e0: Cannot allocate memory (os error 12)",
            ),
        ] {
            assert_eq!(refused("e0", "make a receive ring", error).to_string(), message);
        }
    }
}
