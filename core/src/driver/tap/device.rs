//! The device: a tap or tun that raddle makes on the host, watched and made again when somebody removes it.

use std::sync::Arc;

use raddle_plugin_api::driver::{Change, Device, Driver, Properties, Request};
use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{Control, Failure, bail};
use rustix::io::Errno;

use super::options::{Options, OptionsError, TunOptions};
use super::rx_queue::TapRx;
use super::sys::{Layer, Step, TUN_PATH, TapQueue};
use super::tx_queue::TapTx;
use crate::driver::counts::QueueCounts;
use crate::driver::host::{HostError, HostLinks, Link, Namespace, NamespaceError, NamespaceId, stable_mac};

/// Why a tap cannot be made.
#[derive(Debug, thiserror::Error)]
enum TapError {
    /// The kernel has no tun driver, or the container no device for it.
    #[error("{TUN_PATH} is not there: load the kernel's module `tun`, or hand the device into the container")]
    NoTun,
    /// The device that makes taps is for others.
    #[error("no permission to open {TUN_PATH}")]
    NotForUs,
    /// The capability is missing.
    #[error("no permission to make the {} {name}, CAP_NET_ADMIN is needed", layer.word())]
    NoPermission {
        /// What it is.
        layer: Layer,
        /// Its name.
        name: String,
    },
    /// Somebody else has it open.
    #[error("the {} {name} is in use by another process", layer.word())]
    Busy {
        /// What it is.
        layer: Layer,
        /// Its name.
        name: String,
    },
    /// There is something else of that name.
    #[error(
        "the name {name} is taken on the host by a device that is no {0}, or by a {0} with another number of queues",
        layer.word()
    )]
    Taken {
        /// What it is.
        layer: Layer,
        /// Its name.
        name: String,
    },
    /// The kernel refuses for another reason.
    #[error("cannot {what} the {} {name}: {source}", layer.word())]
    Refused {
        /// What it is.
        layer: Layer,
        /// What was asked for.
        what: &'static str,
        /// Its name.
        name: String,
        /// What the kernel said.
        source: Errno,
    },
    /// The tap went while it was being set up.
    #[error("the {} {name} went away", layer.word())]
    Gone {
        /// What it is.
        layer: Layer,
        /// Its name.
        name: String,
    },
    /// The host's side cannot be set up.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The namespace cannot be used.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A tun has no link layer.
    #[error("interface {0} is a tun, which has no MAC address: leave `mac` out")]
    NoMac(String),
    /// The keys are wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
}

/// The `tap` driver.
pub struct Tap;

impl Driver for Tap {
    const NAME: &'static str = "tap";
    const SUMMARY: &'static str = "a virtual Ethernet cable to the host, or to one of its network namespaces";
    type Options = Options;
    type Device = TapDevice;

    fn open(_: &mut Control<'_>, request: &Request, options: Options) -> Result<TapDevice, Failure> {
        Ok(TapDevice::open(request, options, Layer::Ethernet)?)
    }
}

/// The `tun` driver.
pub struct Tun;

impl Driver for Tun {
    const NAME: &'static str = "tun";
    const SUMMARY: &'static str =
        "a virtual cable for IP packets to the host, or to one of its network namespaces";
    type Options = TunOptions;
    type Device = TapDevice;

    fn open(_: &mut Control<'_>, request: &Request, options: TunOptions) -> Result<TapDevice, Failure> {
        Ok(TapDevice::open(request, options.into(), Layer::Ip)?)
    }
}

/// What is held while the tap is there.
struct Attached {
    queues: Vec<Arc<TapQueue>>,
    rx: Vec<Option<TapRx>>,
    /// The namespace that it was made in; `None`: raddle's own.
    made_in: Option<NamespaceId>,
    /// The links of the namespace that the tap is in.
    links: HostLinks,
    link: Link,
}

/// A tap. The host's side has a carrier while the interface is up here; the interface's link is up while the host's
/// side is set up.
pub struct TapDevice {
    layer: Layer,
    options: Options,
    name: String,
    attached: Option<Attached>,
    generation: u32,
    up: bool,
    /// `None` of a tun.
    mac: Option<MacAddress>,
    wanted_mtu: Option<u32>,
    last: Properties,
    counts: Arc<QueueCounts>,
}

impl TapDevice {
    fn open(request: &Request, options: Options, layer: Layer) -> Result<Self, TapError> {
        let name = options.check(&request.name)?;
        let mac = match layer {
            Layer::Ethernet => Some(request.mac.unwrap_or_else(|| stable_mac(Tap::NAME, &request.name))),
            Layer::Ip if request.mac.is_some() => return Err(TapError::NoMac(request.name.clone())),
            Layer::Ip => None,
        };
        let mut device = Self {
            layer,
            name,
            attached: None,
            generation: 0,
            up: false,
            mac,
            wanted_mtu: request.mtu,
            last: Properties {
                mac,
                mtu: request.mtu.unwrap_or(1500),
                max_mtu: 65_521,
                link_up: false,
                rx_queues: options.queues,
                tx_checksum: true,
                tx_gso: true,
                generation: 0,
                fault: None,
            },
            options,
            counts: Arc::default(),
        };
        device.attach()?;
        Ok(device)
    }

    /// Makes the tap and sets its host's side up.
    fn attach(&mut self) -> Result<(), TapError> {
        let namespace = Namespace::named(self.options.namespace.as_deref())?;
        let (name, count, layer) = (self.name.as_str(), self.options.queues, self.layer);
        let queues: Vec<_> = namespace
            .run(|| (0..count).map(|_| TapQueue::open(name, layer, count > 1)).collect::<Result<_, _>>())?
            .map_err(|(step, error)| refused(layer, name, step, error))?;
        let queues: Vec<_> = queues.into_iter().map(Arc::new).collect();
        let refused_to = |what, source| TapError::Refused { layer, what, name: name.to_owned(), source };
        if self.options.persist {
            // There is at least one queue: the options were checked.
            queues[0].set_persistent(true).map_err(|error| refused_to("keep", error))?;
        }
        // Kernels before 5.0 cannot: the host's side then always has a carrier.
        let _ = queues[0].set_carrier(self.up);
        let mut links = HostLinks::open(&namespace)?;
        let gone = || TapError::Gone { layer, name: name.to_owned() };
        let link = links.find(name)?.ok_or_else(gone)?;
        if let Some(mac) = self.options.host_mac {
            links.set_mac(&link, mac)?;
        }
        if let Some(mtu) = self.wanted_mtu {
            links.set_mtu(&link, mtu)?;
        }
        if self.options.host_up {
            links.set_up(&link, true)?;
        }
        for address in &self.options.host_addresses {
            links.add_address(&link, *address)?;
        }
        let link = links.find(name)?.ok_or_else(gone)?;
        let rx = queues
            .iter()
            .map(|queue| TapRx::new(Arc::clone(queue), Arc::clone(&self.counts)).map(Some))
            .collect::<Result<_, _>>()
            .map_err(|error| refused_to("watch", error))?;
        self.attached = Some(Attached { queues, rx, made_in: namespace.id(), links, link });
        self.generation += 1;
        Ok(())
    }

    /// Whether the name of the namespace that the tap was made in is another one's by now, and the tap is still in the old one: there
    /// nobody finds it any more. While nothing has the name, it stays where it is.
    fn is_left_behind(&self) -> bool {
        let Some((attached, made_in)) =
            self.attached.as_ref().and_then(|attached| Some((attached, attached.made_in?)))
        else {
            return false;
        };
        let named = NamespaceId::of_name(self.options.namespace.as_deref());
        // There is at least one queue. A tap that was moved elsewhere has nothing to do with the name.
        let is_there = || attached.queues[0].namespace().ok().and_then(NamespaceId::of_file) == Some(made_in);
        named.is_some_and(|named| named != made_in) && is_there()
    }

    /// Looks whether the tap is still there, and makes it again if not.
    fn follow(&mut self) -> Result<(), TapError> {
        if self.is_left_behind() {
            if let Some(attached) = self.attached.take() {
                // It goes with its last queue, which workers may still hold; those of the next one are others.
                let _ = attached.queues[0].set_persistent(false);
            }
            return self.attach();
        }
        let Some(attached) = &mut self.attached else { return self.attach() };
        // There is at least one queue.
        let Ok(name) = attached.queues[0].name() else {
            self.attached = None;
            return self.attach();
        };
        let found = attached.links.find(&name)?;
        if let Some(link) = found {
            attached.link = link;
            return Ok(());
        }
        // It was moved into another namespace, as one does to give it to a container: its queues go on.
        let layer = self.layer;
        let namespace = attached.queues[0].namespace().map_err(|source| TapError::Refused {
            layer,
            what: "follow",
            name: name.clone(),
            source,
        })?;
        attached.links = HostLinks::open(&Namespace::Other(namespace))?;
        attached.link = attached.links.find(&name)?.ok_or(TapError::Gone { layer, name })?;
        Ok(())
    }

    fn set_mtu(&mut self, mtu: u32) -> Result<(), Failure> {
        if let Some(attached) = &mut self.attached {
            if mtu > attached.link.max_mtu {
                bail!(
                    "the MTU {mtu} is too large, the {} {} takes at most {}",
                    self.layer.word(),
                    self.name,
                    attached.link.max_mtu
                );
            }
            attached.links.set_mtu(&attached.link, mtu)?;
            attached.link.mtu = mtu;
        }
        self.wanted_mtu = Some(mtu);
        Ok(())
    }
}

impl Device for TapDevice {
    type Rx = TapRx;
    type Tx = TapTx;

    fn properties(&mut self) -> Properties {
        self.last.fault = self.follow().err().map(|error| error.to_string());
        if let Some(attached) = &self.attached {
            self.last.mtu = attached.link.mtu;
            self.last.max_mtu = attached.link.max_mtu;
        }
        self.last.mac = self.mac;
        self.last.link_up = self.attached.as_ref().is_some_and(|attached| attached.link.up);
        self.last.generation = self.generation;
        self.last.clone()
    }

    fn details(&self) -> serde_json::Value {
        let link = self.attached.as_ref().map(|attached| &attached.link);
        serde_json::json!({
            "device": link.map_or(&self.name, |link| &link.name),
            "device-index": link.map(|link| link.index),
            "namespace": self.options.namespace,
            "host-mac": link.and_then(|link| link.mac),
            "host-addresses": self.options.host_addresses,
            "persist": self.options.persist,
            "counts": &*self.counts,
        })
    }

    fn rx_queue(&mut self, index: u32) -> Option<TapRx> {
        self.attached.as_mut()?.rx.get_mut(index as usize)?.take()
    }

    fn tx_queue(&mut self, thread: u32) -> Result<TapTx, Failure> {
        let Some(attached) = &self.attached else {
            bail!("the {} {} went away", self.layer.word(), self.name)
        };
        let queue = &attached.queues[thread as usize % attached.queues.len()];
        Ok(TapTx::new(Arc::clone(queue), Arc::clone(&self.counts)))
    }

    fn change(&mut self, change: Change) -> Result<(), Failure> {
        match change {
            Change::Up(up) => {
                self.up = up;
                if let Some(attached) = &self.attached {
                    // As in `attach`.
                    let _ = attached.queues[0].set_carrier(up);
                }
            }
            Change::Mtu(mtu) => self.set_mtu(mtu)?,
            Change::Mac(_) if self.mac.is_none() => bail!("a tun has no MAC address"),
            Change::Mac(mac) if !mac.is_unicast() => bail!("the MAC address {mac} is not a unicast address"),
            Change::Mac(mac) => self.mac = Some(mac),
            // A tap hands over every frame.
            Change::Promiscuous(_) | Change::Address { .. } => {}
        }
        Ok(())
    }
}

fn refused(layer: Layer, name: &str, step: Step, error: Errno) -> TapError {
    let name = name.to_owned();
    match (step, error) {
        (Step::Open, Errno::NOENT | Errno::NODEV | Errno::NXIO) => TapError::NoTun,
        (Step::Open, Errno::PERM | Errno::ACCESS) => TapError::NotForUs,
        (Step::Open, source) => TapError::Refused { layer, what: "make", name, source },
        (_, Errno::PERM | Errno::ACCESS) => TapError::NoPermission { layer, name },
        (Step::Attach, Errno::BUSY) => TapError::Busy { layer, name },
        (Step::Attach, Errno::INVAL) => TapError::Taken { layer, name },
        (Step::Attach, source) => TapError::Refused { layer, what: "make", name, source },
        (Step::Offloads, source) => {
            TapError::Refused { layer, what: "switch on the offloads of", name, source }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_in_a_sentence() {
        for (step, error, message) in [
            (
                Step::Open,
                Errno::NOENT,
                "/dev/net/tun is not there: load the kernel's module `tun`, or hand the device into the container",
            ),
            (Step::Open, Errno::ACCESS, "no permission to open /dev/net/tun"),
            (Step::Attach, Errno::PERM, "no permission to make the tap t0, CAP_NET_ADMIN is needed"),
            (Step::Attach, Errno::BUSY, "the tap t0 is in use by another process"),
            (
                Step::Attach,
                Errno::INVAL,
                "the name t0 is taken on the host by a device that is no tap, or by a tap with another number of queues",
            ),
        ] {
            assert_eq!(refused(Layer::Ethernet, "t0", step, error).to_string(), message);
        }
    }
}
