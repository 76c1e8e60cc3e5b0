//! The driver `bvi`: the interface by which raddle itself is a station on a bridge.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::driver::{Change, Device, Driver, NoQueue, Properties, Request};
use raddle_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bridges::Bridges;

const DEFAULT_MTU: u32 = 1500;
const MAX_MTU: u32 = 65_535;

/// The driver `bvi`. Its devices send by the node `bvi-tx`; `l2-bridge` and `l2-flood` receive for them.
pub struct Bvi;

/// A BVI has no keys of its own; a bridge's `bvi` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BviOptions {}

impl Driver for Bvi {
    const NAME: &'static str = "bvi";
    const SUMMARY: &'static str = "the routed side of a bridge (bridge virtual interface)";
    type Options = BviOptions;
    type Device = BviDevice;

    fn open(control: &mut Control<'_>, request: &Request, _: BviOptions) -> Result<BviDevice, Failure> {
        let bridges = control.resource()?;
        let mac = request.mac.unwrap_or_else(|| mac_of(&request.name));
        let mtu = request.mtu.unwrap_or(DEFAULT_MTU);
        Ok(BviDevice { bridges, name: request.name.clone(), mac, mtu })
    }
}

driver!(Bvi);

/// A BVI: its link is up while a port of its bridge is.
pub struct BviDevice {
    bridges: Arc<Bridges>,
    name: String,
    mac: MacAddress,
    mtu: u32,
}

impl Device for BviDevice {
    type Rx = NoQueue;
    type Tx = NoQueue;

    fn properties(&mut self) -> Properties {
        Properties {
            mac: Some(self.mac),
            mtu: self.mtu,
            max_mtu: MAX_MTU,
            link_up: self.bridges.carries(&self.name),
            rx_queues: 0,
            // The port that a frame leaves by does what its device cannot.
            tx_checksum: true,
            tx_gso: true,
            generation: 1,
            fault: None,
        }
    }

    fn details(&self) -> serde_json::Value {
        serde_json::json!({ "bridge": self.bridges.bridge_of_bvi(&self.name) })
    }

    fn rx_queue(&mut self, _: u32) -> Option<NoQueue> {
        None
    }

    fn tx_queue(&mut self, _: u32) -> Result<NoQueue, Failure> {
        bail!("a BVI has no queues")
    }

    fn change(&mut self, change: Change) -> Result<(), Failure> {
        match change {
            Change::Mtu(mtu) if mtu > MAX_MTU => {
                bail!("the MTU {mtu} is too large, a BVI takes at most {MAX_MTU}")
            }
            Change::Mtu(mtu) => self.mtu = mtu,
            Change::Mac(mac) if !mac.is_unicast() => bail!("the MAC address {mac} is not a unicast address"),
            Change::Mac(mac) => self.mac = mac,
            Change::Up(_) | Change::Promiscuous(_) | Change::Address { .. } => {}
        }
        Ok(())
    }
}

/// A locally administered address that is the same for the same name (FNV-1a).
fn mac_of(name: &str) -> MacAddress {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let [a, b, c, d, ..] = hash.to_be_bytes();
    MacAddress([0x02, 0xfd, a, b, c, d])
}
