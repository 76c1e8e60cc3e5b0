//! The driver and its devices.

use std::sync::Arc;

use raddle_plugin_api::driver::{Change, Device, Driver, Properties, Request};
use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{Control, Failure, bail};
use serde_json::json;

use super::capture::Capture;
use super::generator::{Generator, Generators};
use super::options::{GeneratorOptions, MAX_QUEUES};
use super::queue::GeneratorRx;
use super::transmit::GeneratorTx;

/// MTU unless another is asked for.
const DEFAULT_MTU: u32 = 1500;
/// Least MTU (RFC 791 §3.1).
const MIN_MTU: u32 = 68;
/// Largest MTU.
const MAX_MTU: u32 = 65_535;

/// The driver `packet-generator`.
#[derive(Debug)]
pub struct PacketGenerator;

raddle_plugin_api::driver!(PacketGenerator);
raddle_plugin_api::init! { "packet-generator", provide_generators }

fn provide_generators(control: &mut Control<'_>) -> Result<(), Failure> {
    control.provide(Arc::<Generators>::default())
}

/// An interface whose packets are made up.
#[derive(Debug)]
pub struct GeneratorDevice {
    generator: Arc<Generator>,
    table: Arc<Generators>,
    queues_taken: Vec<bool>,
    mac: MacAddress,
    mtu: u32,
}

impl Driver for PacketGenerator {
    const NAME: &'static str = "packet-generator";
    const SUMMARY: &'static str =
        "makes packets from templates or capture files, counts or captures what it is sent";
    type Options = GeneratorOptions;
    type Device = GeneratorDevice;

    fn open(
        control: &mut Control<'_>,
        request: &Request,
        options: GeneratorOptions,
    ) -> Result<GeneratorDevice, Failure> {
        GeneratorDevice::open(control.resource::<Generators>()?, request, options)
    }
}

impl GeneratorDevice {
    /// Makes a device and enters it into the table of generators.
    ///
    /// # Errors
    /// An option is wrong, or a file cannot be used.
    pub fn open(
        table: Arc<Generators>,
        request: &Request,
        options: GeneratorOptions,
    ) -> Result<Self, Failure> {
        let queues = options.queues;
        if !(1..=MAX_QUEUES).contains(&queues) {
            bail!("{queues} queues; a packet generator has from 1 to {MAX_QUEUES}");
        }
        let mtu = request.mtu.unwrap_or(DEFAULT_MTU);
        check_mtu(mtu)?;
        let capture = match &options.capture {
            Some(path) => Some(Capture::create(path, options.capture_limit)?),
            None => None,
        };
        let generator = Arc::new(Generator::create(&request.name, queues, capture)?);
        for stream in options.streams {
            let start = stream.start;
            let stream = stream.open(queues)?;
            if start {
                stream.start();
            }
            generator.add(stream)?;
        }
        table.insert(generator.clone());
        let mac = request.mac.unwrap_or_else(|| mac_of(&request.name));
        Ok(Self { generator, table, queues_taken: vec![false; queues as usize], mac, mtu })
    }

    /// What commands and queues share of it.
    pub fn generator(&self) -> &Arc<Generator> {
        &self.generator
    }
}

impl Drop for GeneratorDevice {
    fn drop(&mut self) {
        self.table.remove(&self.generator);
        if let Some(capture) = self.generator.capture() {
            capture.flush();
        }
    }
}

impl Device for GeneratorDevice {
    type Rx = GeneratorRx;
    type Tx = GeneratorTx;

    fn properties(&mut self) -> Properties {
        let fault = self.generator.capture().and_then(|capture| {
            // The host asks about once a second: who looks at the file sees all but the last moment.
            capture.flush();
            capture.fault()
        });
        Properties {
            mac: Some(self.mac),
            mtu: self.mtu,
            max_mtu: MAX_MTU,
            link_up: true,
            rx_queues: self.generator.queue_count(),
            tx_checksum: false,
            tx_gso: false,
            generation: 1,
            fault,
        }
    }

    fn details(&self) -> serde_json::Value {
        let streams = self.generator.streams();
        let streams: Vec<_> = streams.iter().map(|stream| &stream.plan().name).collect();
        let mut details = json!({ "queues": self.generator.queue_count(), "streams": streams });
        if let Some(capture) = self.generator.capture() {
            details["capture"] = json!(capture.path());
            details["captured"] = json!(capture.written());
        }
        details
    }

    fn rx_queue(&mut self, index: u32) -> Option<GeneratorRx> {
        let taken = self.queues_taken.get_mut(index as usize)?;
        if std::mem::replace(taken, true) {
            return None;
        }
        Some(GeneratorRx::new(self.generator.clone(), index))
    }

    fn tx_queue(&mut self, _: u32) -> Result<GeneratorTx, Failure> {
        Ok(GeneratorTx::new(self.generator.clone()))
    }

    fn change(&mut self, change: Change) -> Result<(), Failure> {
        match change {
            Change::Up(true) | Change::Promiscuous(_) | Change::Address { .. } => {}
            Change::Up(false) => {
                if let Some(capture) = self.generator.capture() {
                    capture.flush();
                }
            }
            Change::Mtu(mtu) => {
                check_mtu(mtu)?;
                self.mtu = mtu;
            }
            Change::Mac(mac) => {
                if !mac.is_unicast() {
                    bail!("{mac} cannot be an interface's MAC address: it is multicast or zero");
                }
                self.mac = mac;
            }
        }
        Ok(())
    }
}

fn check_mtu(mtu: u32) -> Result<(), Failure> {
    if !(MIN_MTU..=MAX_MTU).contains(&mtu) {
        bail!("an MTU of {mtu} bytes; a packet generator takes from {MIN_MTU} to {MAX_MTU}");
    }
    Ok(())
}

/// A locally administered address that is the same for the same name (FNV-1a).
fn mac_of(name: &str) -> MacAddress {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let [a, b, c, d, ..] = hash.to_be_bytes();
    MacAddress([0x02, 0xfe, a, b, c, d])
}
