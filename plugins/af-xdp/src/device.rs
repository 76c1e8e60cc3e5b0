//! The device: a link of the host, watched and taken up again when it comes back.

use std::collections::BTreeSet;
use std::sync::Arc;

use raddle_af_xdp_sys::{BindMode, Filtering, Membership, Queue, Receiver, Sender, Step, real_queues};
use raddle_plugin_api::driver::{Change, Device, Driver, Properties, Request};
use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{BufferMemory, Control, Failure, bail};
use rustix::io::Errno;

use crate::attachment::OnLink;
use crate::error::AttachError;
use crate::links::{Link, Links};
use crate::options::{FillChecksums, MAX_QUEUES, Mode, Options};
use crate::report::{Devices, Report, State};
use crate::rx_queue::{AfXdpRx, RxShared};
use crate::tx_queue::{AfXdpTx, SharedSender};

/// The largest MTU of frames that stand in one buffer: 2,048 bytes without an Ethernet header and two tags.
const MTU_OF_ONE_BUFFER: u32 = 2048 - (14 + 2 * 4);
/// The largest MTU of frames in several buffers.
const MTU_OF_PIECES: u32 = 9216;
/// Without copies the link's driver needs the buffers on pages at least this large, in bytes.
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// The `af-xdp` driver.
pub struct AfXdp;

impl Driver for AfXdp {
    const NAME: &'static str = "af-xdp";
    const SUMMARY: &'static str = "an interface of the host, by AF_XDP sockets on its queues";
    type Options = Options;
    type Device = AfXdpDevice;

    fn open(control: &mut Control<'_>, request: &Request, options: Options) -> Result<AfXdpDevice, Failure> {
        options.check()?;
        let (memory, devices) = (control.buffer_memory()?, control.resource::<Devices>()?);
        Ok(AfXdpDevice::open(memory, devices, request, options)?)
    }
}

/// What is held while the link is there. Dropped in this order: no more frames come, then the queues close.
struct Attached {
    program: OnLink,
    filtering: Filtering,
    promiscuous: bool,
    rx: Vec<Option<AfXdpRx>>,
    receivers: Vec<Arc<RxShared>>,
    senders: Vec<Arc<SharedSender>>,
    max_mtu: u32,
    link: Link,
}

/// An interface of the host.
///
/// Setting it up sets the host's interface up. Setting it down, or closing it, leaves that as it was found: it goes
/// down only if it was set up from here, and gets its MTU back if that was changed from here. A MAC address of its own
/// is raddle's alone; the host's interface keeps its one and is made promiscuous.
pub struct AfXdpDevice {
    options: Options,
    memory: BufferMemory,
    links: Links,
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
    report: Arc<Report>,
    devices: Arc<Devices>,
}

impl AfXdpDevice {
    fn open(
        memory: BufferMemory,
        devices: Arc<Devices>,
        request: &Request,
        options: Options,
    ) -> Result<Self, AttachError> {
        let report = Arc::new(Report::new(&request.name, &options.device));
        let mut device = Self {
            links: Links::open()?,
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
                max_mtu: MTU_OF_PIECES,
                link_up: false,
                rx_queues: options.queues.unwrap_or(1),
                tx_checksum: false,
                tx_gso: false,
                generation: 0,
                fault: None,
            },
            options,
            memory,
            brought_up: false,
            found_mtu: None,
            report,
            devices,
        };
        // A link that comes later is taken up then, as one that comes back is.
        match device.attach() {
            Err(error @ AttachError::Missing { .. }) => device.fault = Some(error.to_string()),
            attached => attached?,
        }
        device.devices.add(&device.report);
        Ok(device)
    }

    /// Opens the queues of the link that has the device's name now, and puts the program on it.
    fn attach(&mut self) -> Result<(), AttachError> {
        let name = self.options.device.clone();
        let Some(mut link) = self.links.find(&name)? else { return Err(self.missing()) };
        if link.mac.is_none() {
            return Err(AttachError::NotEthernet(name));
        }
        self.detach();
        self.brought_up = false;
        self.found_mtu = None;
        if let Some(mtu) = self.wanted_mtu
            && mtu != link.mtu
        {
            self.links.set_mtu(&link, mtu)?;
            self.found_mtu = Some(link.mtu);
            link.mtu = mtu;
        }
        let outcome = self.attach_to(link);
        if outcome.is_err() {
            self.put_mtu_back();
        }
        outcome
    }

    fn attach_to(&mut self, mut link: Link) -> Result<(), AttachError> {
        let queues = self.queue_count(&link)?;
        let opened = self.open_queues(&link, queues)?;
        let in_pieces = opened.iter().all(|(queue, ..)| queue.takes_pieces());
        let max_mtu = if in_pieces { MTU_OF_PIECES } else { MTU_OF_ONE_BUFFER };
        if link.mtu > max_mtu {
            return Err(AttachError::Mtu { device: link.name, mtu: link.mtu, most: max_mtu });
        }
        let handles: Vec<_> = opened.iter().map(|(queue, ..)| queue.clone()).collect();
        let rules = &self.options.leave_to_host;
        let program = OnLink::put(&mut self.links, &link, &self.options, rules, &handles)?;
        let filtering = self.ask_for_frames(&link)?;
        if self.wanted_up && !link.up {
            self.links.set_up(&link, true)?;
            self.brought_up = true;
            link.up = true;
        }
        let fills_checksums = match self.options.fill_checksums {
            FillChecksums::Auto => link.is_veth,
            FillChecksums::Always => true,
            FillChecksums::Never => false,
        };
        let (mut rx, mut senders) = (Vec::new(), Vec::new());
        for (_, receiver, sender) in opened {
            let counts = &self.report.counts;
            let sender = Arc::new(SharedSender::new(sender, Arc::clone(counts), self.devices.retry()));
            rx.push(Some(AfXdpRx::new(receiver, Arc::clone(&sender), fills_checksums, Arc::clone(counts))));
            senders.push(sender);
        }
        let receivers: Vec<_> = rx.iter().flatten().map(AfXdpRx::shared).collect();
        self.report.set(State {
            queues: handles,
            receivers: receivers.clone(),
            senders: senders.clone(),
            mode: program.mode(),
            held_by_process: program.is_held_by_process(),
            rules: self.options.leave_to_host.clone(),
            fills_checksums,
            in_pieces,
            busy_poll_us: self.options.busy_poll_us,
        });
        self.last.rx_queues = queues;
        self.attached =
            Some(Attached { program, filtering, promiscuous: false, rx, receivers, senders, max_mtu, link });
        self.follow_promiscuous()?;
        self.generation += 1;
        Ok(())
    }

    /// Lets go of the link.
    fn detach(&mut self) {
        self.report.clear();
        self.attached = None;
    }

    fn missing(&mut self) -> AttachError {
        let device = self.options.device.clone();
        AttachError::Missing { near: self.links.near(&device), device }
    }

    fn queue_count(&self, link: &Link) -> Result<u32, AttachError> {
        let there = real_queues(&link.name).map_err(|_| AttachError::Gone(link.name.clone()))?;
        match self.options.queues {
            Some(wanted) if wanted > there => {
                Err(AttachError::FewerQueues { device: link.name.clone(), there, wanted })
            }
            Some(wanted) => Ok(wanted),
            None => Ok(there.min(MAX_QUEUES)),
        }
    }

    fn open_queues(&self, link: &Link, queues: u32) -> Result<Vec<(Queue, Receiver, Sender)>, AttachError> {
        let options = &self.options;
        let rx_size = options.rx_slots(queues, self.memory.buffer_count())?;
        let has_large_pages = self.memory.page_bytes() >= LARGE_PAGE_BYTES;
        let modes: &[_] = match options.mode {
            Mode::ZeroCopy if !has_large_pages => return Err(AttachError::SmallPages),
            Mode::ZeroCopy => &[BindMode::ZeroCopy],
            Mode::Auto if has_large_pages => &[BindMode::ZeroCopy, BindMode::Copy],
            Mode::Auto | Mode::Copy => &[BindMode::Copy],
        };
        let busy_poll =
            (options.busy_poll_us > 0).then_some((options.busy_poll_us, options.busy_poll_budget));
        let mut refusal = AttachError::Gone(link.name.clone());
        for &mode in modes {
            let wanted = raddle_af_xdp_sys::Options {
                mode,
                rx_size,
                tx_size: options.tx_slots,
                in_pieces: true,
                busy_poll,
            };
            let mut opened: Vec<(Queue, _, _)> = Vec::new();
            let outcome = (0..queues).try_for_each(|queue| {
                let sharing = opened.first().map(|(queue, ..)| queue);
                let one = Queue::open(&self.memory, link.index, queue, &wanted, sharing)
                    .map_err(|refusal| (queue, refusal))?;
                opened.push(one);
                Ok(())
            });
            match outcome {
                Ok(()) => return Ok(opened),
                Err((queue, error)) => {
                    refusal = AttachError::Socket { device: link.name.clone(), queue, mode, refusal: error };
                    // Only a driver that cannot do without copies is asked once more.
                    if (error.step, error.error) != (Step::Bind, Errno::OPNOTSUPP) {
                        break;
                    }
                }
            }
        }
        Err(refusal)
    }

    /// Asks the link for frames besides those for its own address.
    fn ask_for_frames(&self, link: &Link) -> Result<Filtering, AttachError> {
        let refused = |what| {
            let device = link.name.clone();
            move |error| AttachError::Filtering { what, device, error }
        };
        let filtering = Filtering::open(link.index).map_err(refused("open a packet socket"))?;
        filtering.set(Membership::AllMulticast, true).map_err(refused("ask for multicast frames"))?;
        for &mac in &self.more_addresses {
            filtering.set(Membership::Address(mac), true).map_err(refused(MORE_FRAMES))?;
        }
        Ok(filtering)
    }

    /// Has the link take frames for every address if that was asked for, or its own address is not ours.
    fn follow_promiscuous(&mut self) -> Result<(), AttachError> {
        let Some(attached) = &mut self.attached else { return Ok(()) };
        let foreign = self.own_mac.is_some_and(|mac| Some(mac) != attached.link.mac);
        let wanted = self.wanted_promiscuous || foreign;
        if wanted != attached.promiscuous {
            attached.filtering.set(Membership::Promiscuous, wanted).map_err(|error| {
                let device = self.options.device.clone();
                AttachError::Filtering { what: "change the promiscuous mode", device, error }
            })?;
            attached.promiscuous = wanted;
        }
        Ok(())
    }

    /// Looks whether the link is still the one that has our program, and takes up another one of its name.
    fn follow_link(&mut self) -> Result<(), AttachError> {
        let found = self.links.find(&self.options.device)?;
        let Some(found) = found else {
            if self.attached.is_some() {
                self.detach();
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
            Some(attached) if attached.link.index == found.index && attached.program.is_on(&found) => {
                attached.link = found;
                self.follow_promiscuous()
            }
            _ => self.attach(),
        }
    }

    fn set_up(&mut self, up: bool) -> Result<(), Failure> {
        let was_up = std::mem::replace(&mut self.wanted_up, up);
        let Some(attached) = &mut self.attached else { return Ok(()) };
        if up && !was_up {
            attached.receivers.iter().for_each(|receiver| receiver.discard());
        }
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
            let most = attached.max_mtu.min(attached.link.max_mtu);
            if mtu > most {
                let device = &self.options.device;
                bail!(
                    "the MTU {mtu} is too large, the host's interface {device} takes at most {most} through AF_XDP"
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
            attached.filtering.set(Membership::Address(mac), on).map_err(|error| {
                let device = self.options.device.clone();
                AttachError::Filtering { what: MORE_FRAMES, device, error }
            })?;
        }
        if on {
            self.more_addresses.insert(mac);
        } else {
            self.more_addresses.remove(&mac);
        }
        Ok(())
    }

    /// What cannot be put back now cannot be put back at all; nobody is left to tell.
    fn put_mtu_back(&mut self) {
        if let Some(mtu) = self.found_mtu.take()
            && let Ok(Some(link)) = self.links.find(&self.options.device)
        {
            let _ = self.links.set_mtu(&link, mtu);
        }
    }
}

/// What is asked for on account of a further address.
const MORE_FRAMES: &str = "ask for frames of one address more";

impl Device for AfXdpDevice {
    type Rx = AfXdpRx;
    type Tx = AfXdpTx;

    fn properties(&mut self) -> Properties {
        self.fault = self.follow_link().err().map(|error| error.to_string());
        if let Some(attached) = &self.attached {
            self.last.mac = self.own_mac.or(attached.link.mac);
            self.last.mtu = attached.link.mtu;
            self.last.max_mtu = attached.max_mtu.min(attached.link.max_mtu);
        }
        self.last.link_up = self.attached.as_ref().is_some_and(|attached| attached.link.running);
        self.last.generation = self.generation;
        self.last.fault.clone_from(&self.fault);
        self.last.clone()
    }

    fn details(&self) -> serde_json::Value {
        serde_json::json!({
            "device-index": self.attached.as_ref().map(|attached| attached.link.index),
            "device-mac": self.attached.as_ref().and_then(|attached| attached.link.mac),
            "promiscuous": self.attached.as_ref().is_some_and(|attached| attached.promiscuous),
            "af-xdp": self.report.read(),
        })
    }

    fn rx_queue(&mut self, index: u32) -> Option<Self::Rx> {
        self.attached.as_mut()?.rx.get_mut(index as usize)?.take()
    }

    fn tx_queue(&mut self, thread: u32) -> Result<Self::Tx, Failure> {
        let Some(attached) = &self.attached else {
            bail!("the host's interface {} is not there", self.options.device);
        };
        // The workers, which send the most, take turns; the main thread goes with the first.
        let place = thread.saturating_sub(1) as usize % attached.senders.len();
        Ok(AfXdpTx::new(Arc::clone(&attached.senders[place])))
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

impl Drop for AfXdpDevice {
    fn drop(&mut self) {
        self.devices.remove(&self.report);
        self.report.clear();
        let Some(attached) = self.attached.take() else { return };
        let index = attached.link.index;
        // First the program goes, then the queues: after that the link is as it was found.
        drop(attached);
        let same = self.links.find(&self.options.device);
        let Ok(Some(link)) = same else { return };
        if link.index != index {
            return;
        }
        self.put_mtu_back();
        if self.brought_up {
            let _ = self.links.set_up(&link, false);
        }
    }
}
