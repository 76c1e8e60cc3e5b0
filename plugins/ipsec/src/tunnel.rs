//! The driver `ipsec`: a tunnel as a device without queues, whose packets `ipsec-tx` sends and `ipsec-decrypt` receives.

use std::sync::Arc;

use raddle_plugin_api::config::InRange;
use raddle_plugin_api::driver::{Change, Device, Driver, NoQueue, Properties, Request};
use raddle_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::service::Ipsec;

/// The smallest MTU of a link that carries IPv6 (RFC 8200 §5).
const LEAST_MTU: u32 = 1280;
/// What headers, trailer and ICV take at most, in bytes, while there is no SA to ask: IPv6, UDP, ESP, an IV of 16, a block of padding, an
/// ICV of 32.
const MOST_OVERHEAD: u32 = 40 + 8 + 8 + 16 + 17 + 32;

/// The driver.
pub struct Tunnel;

/// Keys of an interface with the driver `ipsec`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TunnelOptions {
    /// Largest packet on the way to the peer, in bytes: what the tunnel's MTU follows from, unless one is set.
    #[serde(default = "default_path_mtu")]
    pub path_mtu: InRange<576, 65_535>,
}

fn default_path_mtu() -> InRange<576, 65_535> {
    const { InRange::new(1500).expect("within the bounds") }
}

impl Driver for Tunnel {
    const NAME: &'static str = "ipsec";
    const SUMMARY: &'static str = "a tunnel of IPsec ESP (RFC 4303), by the SAs that name it";
    type Options = TunnelOptions;
    type Device = TunnelDevice;

    fn open(
        control: &mut Control<'_>,
        request: &Request,
        options: TunnelOptions,
    ) -> Result<TunnelDevice, Failure> {
        if request.mac.is_some() {
            bail!("a tunnel has no Ethernet header, and so no MAC address");
        }
        Ok(TunnelDevice {
            ipsec: control.resource()?,
            name: request.name.clone(),
            path_mtu: options.path_mtu.get() as u32,
            mtu: request.mtu,
        })
    }
}

driver!(Tunnel);

/// A tunnel: up while there is an SA that sends.
pub struct TunnelDevice {
    ipsec: Arc<Ipsec>,
    name: String,
    path_mtu: u32,
    mtu: Option<u32>,
}

impl Device for TunnelDevice {
    type Rx = NoQueue;
    type Tx = NoQueue;

    fn properties(&mut self) -> Properties {
        let store = self.ipsec.store();
        let sa = store.sends_by(&self.name);
        let fits = match sa {
            Some(sa) => sa.description.payload_within(self.path_mtu as usize) as u32,
            None => self.path_mtu.saturating_sub(MOST_OVERHEAD),
        };
        let fault = match sa {
            None => Some("no SA sends by it".to_owned()),
            Some(sa) if sa.usage.ended.load(std::sync::atomic::Ordering::Relaxed) => {
                Some(format!("its SA `{}` has ended", sa.description.name))
            }
            Some(_) => None,
        };
        Properties {
            mac: None,
            mtu: self.mtu.unwrap_or(fits.max(LEAST_MTU.min(self.path_mtu))),
            max_mtu: 65_535 - MOST_OVERHEAD,
            link_up: fault.is_none(),
            rx_queues: 0,
            tx_checksum: false,
            tx_gso: false,
            generation: 1,
            fault,
        }
    }

    fn details(&self) -> serde_json::Value {
        let store = self.ipsec.store();
        let of_tunnel = |sa: &crate::store::Sa| sa.config.interface.as_deref() == Some(&self.name);
        let names: Vec<_> = store.sas().filter(|(_, sa)| of_tunnel(sa)).map(|(name, _)| name).collect();
        serde_json::json!({ "path-mtu": self.path_mtu, "sas": names })
    }

    fn rx_queue(&mut self, _: u32) -> Option<NoQueue> {
        None
    }

    fn tx_queue(&mut self, _: u32) -> Result<NoQueue, Failure> {
        bail!("a tunnel has no queues")
    }

    fn change(&mut self, change: Change) -> Result<(), Failure> {
        match change {
            Change::Mtu(mtu) => self.mtu = Some(mtu),
            Change::Mac(_) => bail!("a tunnel has no Ethernet header, and so no MAC address"),
            Change::Up(_) | Change::Promiscuous(_) | Change::Address { .. } => {}
        }
        Ok(())
    }
}
