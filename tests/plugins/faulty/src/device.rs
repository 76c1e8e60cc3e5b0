//! A driver whose devices swallow what they are to send, and panic as their options say.

use raddle_plugin_api::driver::{Change, Device, Driver, NoQueue, Properties, Request, Transmit, TxQueue};
use raddle_plugin_api::prelude::*;
use serde::Deserialize;

pub struct FaultyDriver;

/// Where a device panics: `open`, `change` or nowhere.
#[derive(Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    panic: String,
}

pub struct FaultyDevice {
    options: Options,
    mac: MacAddress,
    mtu: u32,
}

pub struct Sink;

impl Driver for FaultyDriver {
    const NAME: &'static str = "faulty";
    const SUMMARY: &'static str = "swallows frames, or panics";
    type Options = Options;
    type Device = FaultyDevice;

    fn open(_: &mut Control<'_>, request: &Request, options: Options) -> Result<FaultyDevice, Failure> {
        assert!(options.panic != "open", "as the options say");
        let mac = request.mac.unwrap_or(MacAddress([2, 0xfa, 0, 0, 0, 1]));
        Ok(FaultyDevice { options, mac, mtu: request.mtu.unwrap_or(1500) })
    }
}

impl Device for FaultyDevice {
    type Rx = NoQueue;
    type Tx = Sink;

    fn properties(&mut self) -> Properties {
        Properties {
            mac: Some(self.mac),
            mtu: self.mtu,
            max_mtu: 9000,
            link_up: true,
            rx_queues: 0,
            tx_checksum: false,
            tx_gso: false,
            generation: 1,
            fault: None,
        }
    }

    fn rx_queue(&mut self, _: u32) -> Option<NoQueue> {
        None
    }

    fn tx_queue(&mut self, _: u32) -> Result<Sink, Failure> {
        Ok(Sink)
    }

    fn change(&mut self, change: Change) -> Result<(), Failure> {
        assert!(self.options.panic != "change", "as the options say");
        if let Change::Mtu(mtu) = change {
            self.mtu = mtu;
        }
        Ok(())
    }
}

impl TxQueue for Sink {
    fn transmit(&mut self, tx: &mut Transmit<'_>) -> usize {
        tx.len()
    }
}
