//! The driver `vlan`: a sub-interface as a device that has no queues, but a parent.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Arc;

use raddle_plugin_api::driver::{Change, Device, Driver, NoQueue, Properties, Request};
use raddle_plugin_api::prelude::*;

use super::{VlanOptions, Vlans};

/// The driver `vlan`. Its devices send by the node `vlan-tx`; `ethernet-input` receives for them.
pub struct Vlan;

impl Driver for Vlan {
    const NAME: &'static str = "vlan";
    const SUMMARY: &'static str = "a VLAN of another interface, with one tag or two (802.1Q, 802.1ad)";
    type Options = VlanOptions;
    type Device = VlanDevice;

    fn open(
        control: &mut Control<'_>,
        request: &Request,
        options: VlanOptions,
    ) -> Result<VlanDevice, Failure> {
        VlanDevice::open(control.resource()?, request, options)
    }
}

driver!(Vlan);

/// A sub-interface: up while its parent is, with its parent's MAC address and MTU unless it was given others.
pub struct VlanDevice {
    vlans: Arc<Vlans>,
    name: String,
    options: VlanOptions,
    mac: Option<MacAddress>,
    mtu: Option<u32>,
    promiscuous: bool,
    /// Stations besides the own address that frames are taken for.
    stations: BTreeSet<MacAddress>,
    last: Properties,
}

impl VlanDevice {
    fn open(vlans: Arc<Vlans>, request: &Request, options: VlanOptions) -> Result<Self, Failure> {
        let selection = options.selection()?;
        if let (Some(mtu), Some(parent)) = (request.mtu, vlans.interface(&options.parent)) {
            check_mtu(mtu, parent.mtu, &parent.name)?;
        }
        if let Some(mac) = request.mac {
            check_mac(mac)?;
        }
        vlans.open(&request.name, &options.parent, selection, options.priority)?;
        let last = Properties {
            mac: Some(request.mac.unwrap_or(MacAddress::ZERO)),
            mtu: request.mtu.unwrap_or(1500),
            max_mtu: 65_535,
            link_up: false,
            rx_queues: 0,
            tx_checksum: false,
            tx_gso: false,
            generation: 1,
            fault: None,
        };
        let name = request.name.clone();
        Ok(Self {
            vlans,
            name,
            options,
            mac: request.mac,
            mtu: request.mtu,
            promiscuous: false,
            stations: BTreeSet::new(),
            last,
        })
    }

    /// The parent takes frames for every address while somebody wants that, or an address here is not its own.
    fn follow_promiscuous(&self) {
        let parent = self.vlans.interface(&self.options.parent);
        let foreign = self.mac.is_some() && parent.is_some_and(|parent| parent.mac != self.mac);
        let wanted = self.promiscuous || foreign || !self.stations.is_empty();
        self.vlans.set_promiscuous(&self.name, wanted);
    }
}

impl Device for VlanDevice {
    type Rx = NoQueue;
    type Tx = NoQueue;

    fn properties(&mut self) -> Properties {
        match self.vlans.interface(&self.options.parent) {
            Some(parent) => {
                self.last.mac = self.mac.or(parent.mac).or(self.last.mac);
                self.last.mtu = self.mtu.unwrap_or(parent.mtu).min(parent.mtu);
                self.last.max_mtu = parent.mtu;
                self.last.link_up = parent.admin_up && parent.link_up;
                self.last.tx_checksum = parent.tx_checksum;
                self.last.tx_gso = parent.tx_gso;
                self.last.fault = None;
            }
            None => {
                self.last.link_up = false;
                self.last.fault = Some(format!("its parent `{}` is not there", self.options.parent));
            }
        }
        self.follow_promiscuous();
        self.last.clone()
    }

    fn details(&self) -> serde_json::Value {
        serde_json::to_value(&self.options).unwrap_or_default()
    }

    fn rx_queue(&mut self, _: u32) -> Option<NoQueue> {
        None
    }

    fn tx_queue(&mut self, _: u32) -> Result<NoQueue, Failure> {
        bail!("a sub-interface has no queues")
    }

    fn change(&mut self, change: Change) -> Result<(), Failure> {
        match change {
            Change::Up(_) => {}
            Change::Mtu(mtu) => {
                if let Some(parent) = self.vlans.interface(&self.options.parent) {
                    check_mtu(mtu, parent.mtu, &parent.name)?;
                }
                self.mtu = Some(mtu);
            }
            Change::Mac(mac) => {
                check_mac(mac)?;
                self.mac = Some(mac);
                self.follow_promiscuous();
            }
            Change::Promiscuous(on) => {
                self.promiscuous = on;
                self.follow_promiscuous();
            }
            Change::Address { mac, on } if mac.is_unicast() => {
                if on {
                    self.stations.insert(mac);
                } else {
                    self.stations.remove(&mac);
                }
                self.follow_promiscuous();
            }
            // The parent's device takes frames for all groups.
            Change::Address { .. } => {}
        }
        Ok(())
    }
}

impl Drop for VlanDevice {
    fn drop(&mut self) {
        self.vlans.close(&self.name);
    }
}

fn check_mtu(mtu: u32, most: u32, parent: &str) -> Result<(), Failure> {
    if mtu > most {
        bail!("an MTU of {mtu} is more than the {most} bytes of its parent `{parent}`");
    }
    Ok(())
}

fn check_mac(mac: MacAddress) -> Result<(), Failure> {
    if !mac.is_unicast() {
        bail!("the MAC address {mac} is not a unicast address");
    }
    Ok(())
}
