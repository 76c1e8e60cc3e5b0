//! Frames of neighbour resolution, sent by the main thread.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::Arc;

use raddle_plugin_api::wire::{ArpPacket, Ip4Address, Ip6Address, MacAddress};
use raddle_plugin_api::{Control, Failure, InterfaceIndex, Worker};

use super::NeighborKey;
use super::message::{announcement4, announcement6, arp_frame, detection_frame, solicitation_frame};
use crate::net::local::{LocalNext, LocalOutput, OwnTable};

/// Sends questions and announcements.
#[derive(Clone)]
pub struct Sender {
    output: Arc<LocalOutput>,
    own: Arc<OwnTable>,
}

impl Sender {
    /// Sends by `local-output`, from own addresses.
    ///
    /// # Errors
    /// They are not there.
    pub fn new(control: &Control<'_>) -> Result<Self, Failure> {
        Ok(Self { output: control.resource()?, own: control.resource()? })
    }

    /// Asks for the neighbour. With what address, RFC 4861 §7.2.2 and RFC 826 leave to us: the nearest in use on the interface,
    /// else any in use. Without one, and while those of the interface are tried for duplicates, there is nothing to ask with.
    pub fn solicit(&self, control: &Control<'_>, key: NeighborKey, to: Option<MacAddress>) {
        let own = self.own.get(control);
        if own.awaits_address(key.interface, key.address.is_ipv4()) {
            return;
        }
        match key.address {
            IpAddr::V4(target) => {
                let target = Ip4Address::from(target);
                let Some(source) = own.source4(key.interface, target) else { return };
                self.send(key.interface, move |mac| {
                    Some(arp_frame(&ArpPacket::request(mac, source, target), to))
                });
            }
            IpAddr::V6(target) => {
                let target = Ip6Address::from(target);
                let Some(source) = own.source6(key.interface, target) else { return };
                self.send(key.interface, move |mac| solicitation_frame(mac, source, target, to));
            }
        }
    }

    /// Tells the link of an own address: gratuitous ARP (RFC 5227 §2.3), an unsolicited advertisement (RFC 4861 §7.2.6).
    pub fn announce(&self, interface: InterfaceIndex, address: IpAddr) {
        match address {
            IpAddr::V4(ip) => self.send(interface, move |mac| Some(announcement4(mac, ip.into()))),
            IpAddr::V6(ip) => self.send(interface, move |mac| announcement6(mac, ip.into())),
        }
    }

    /// Asks whether somebody has the address, without claiming it: an ARP probe (RFC 5227 §2.1.1), a solicitation from `::` with
    /// a nonce (RFC 4862 §5.4.2, RFC 7527 §4.1).
    pub fn probe(&self, interface: InterfaceIndex, address: IpAddr, nonce: [u8; 6]) {
        match address {
            IpAddr::V4(ip) => {
                self.send(interface, move |mac| Some(arp_frame(&ArpPacket::probe(mac, ip.into()), None)));
            }
            IpAddr::V6(ip) => self.send(interface, move |mac| detection_frame(mac, ip.into(), nonce)),
        }
    }

    /// Sends the frame that `make` gives for the interface's MAC address.
    pub fn send(
        &self,
        interface: InterfaceIndex,
        make: impl FnOnce(MacAddress) -> Option<Vec<u8>> + Send + 'static,
    ) {
        self.output.make(LocalNext::Interface, move |worker: &Worker<'_>, packet| {
            let Some(row) = worker.interface(interface).filter(|row| row.has_ethernet()) else {
                return false;
            };
            packet.set_tx_interface(interface);
            make(row.mac()).is_some_and(|frame| packet.append(&frame))
        });
    }
}
