//! Hosts in namespaces of their own, each joined by a veth pair to one router namespace.
//!
//! ```text
//! alice ── eth0 ═══ east ── router ── west ═══ eth0 ── bob
//! ```
//!
//! The router namespace is where raddle runs. It has the far ends of the pairs, named as raddle's interfaces, without
//! addresses and without IPv6, so that nothing but raddle answers there. Offloads stay as Linux sets them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::Namespace;
use crate::wait::wait_for;

/// The name of every host's only interface.
pub const DEVICE: &str = "eth0";

/// How a host is joined to the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// By a veth pair, whose far end raddle takes by af-packet.
    Veth,
    /// By a tap that raddle makes in the host's namespace; see [`Topology::await_taps`].
    Tap,
    /// By a veth pair, whose far end raddle takes by the plugin `af-xdp`.
    AfXdp,
}

impl Link {
    /// All of them: what any driver must do is tried with each.
    pub const ALL: [Self; 3] = [Self::Veth, Self::Tap, Self::AfXdp];
}

/// What a host is to be.
#[derive(Debug, Clone)]
pub struct HostSpec {
    /// Its name, which becomes part of its namespace's.
    pub name: String,
    /// The raddle interface it is joined to: the name of the device in the router namespace.
    pub interface: String,
    /// The host's IPv4 address; prefix length [`HostSpec::PREFIX4`].
    pub ipv4: Ipv4Addr,
    /// The host's IPv6 address; prefix length [`HostSpec::PREFIX6`].
    pub ipv6: Ipv6Addr,
    /// The router's address on this link, the host's default route.
    pub gateway4: Ipv4Addr,
    /// The router's address on this link, the host's default route.
    pub gateway6: Ipv6Addr,
    /// MTU of both ends; Linux' default when `None`.
    pub mtu: Option<u32>,
    /// How it is joined to the router.
    pub link: Link,
}

impl HostSpec {
    /// Length of the IPv4 prefix of each link.
    pub const PREFIX4: u8 = 24;
    /// Length of the IPv6 prefix of each link.
    pub const PREFIX6: u8 = 64;

    /// A host in the nets `10.0.<number>.0/24` and `2001:db8:<number>::/64`: the router is 1, the host 2.
    #[must_use]
    pub fn new(name: &str, interface: &str, number: u8) -> Self {
        let ipv6 = |host| Ipv6Addr::from([0x2001, 0xdb8, u16::from(number), 0, 0, 0, 0, host]);
        Self {
            name: name.to_owned(),
            interface: interface.to_owned(),
            ipv4: Ipv4Addr::new(10, 0, number, 2),
            ipv6: ipv6(2),
            gateway4: Ipv4Addr::new(10, 0, number, 1),
            gateway6: ipv6(1),
            mtu: None,
            link: Link::Veth,
        }
    }

    /// The same behind a tap of raddle's.
    #[must_use]
    pub fn with_tap(self) -> Self {
        self.with_link(Link::Tap)
    }

    /// The same, joined to the router by this.
    #[must_use]
    pub fn with_link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// The same with this MTU on both ends of its link.
    #[must_use]
    pub fn with_mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }
}

/// A host that is there.
#[derive(Debug)]
pub struct Host {
    /// Where it is.
    pub namespace: Namespace,
    /// What it was asked to be.
    pub spec: HostSpec,
}

/// Hosts round a router namespace; all of it is removed when dropped.
#[derive(Debug)]
pub struct Topology {
    /// Where raddle is to run.
    pub router: Namespace,
    hosts: Vec<Host>,
}

impl Topology {
    /// Alice on interface `east` and Bob on interface `west`.
    ///
    /// # Errors
    /// As [`Topology::create`].
    pub fn two_hosts() -> Result<Self> {
        Self::create([HostSpec::new("alice", "east", 1), HostSpec::new("bob", "west", 2)])
    }

    /// The same two, joined to the router by this.
    ///
    /// # Errors
    /// As [`Topology::create`].
    pub fn two_hosts_by(link: Link) -> Result<Self> {
        let spec = |name, interface, number| HostSpec::new(name, interface, number).with_link(link);
        Self::create([spec("alice", "east", 1), spec("bob", "west", 2)])
    }

    /// Makes the namespaces and the links and waits until they carry.
    ///
    /// # Errors
    /// Without root, when a name is used twice, or when iproute2 refuses.
    pub fn create(specs: impl IntoIterator<Item = HostSpec>) -> Result<Self> {
        let router = Namespace::create("router")?;
        for scope in ["all", "default"] {
            router.set(&format!("ipv6/conf/{scope}/disable_ipv6"), "1")?;
        }
        let mut topology = Self { router, hosts: Vec::new() };
        for spec in specs {
            let namespace = Namespace::create(&spec.name)?;
            // A host that solicits routers would add packets nobody asked for.
            namespace.set("ipv6/conf/default/router_solicitations", "0")?;
            let host = Host { namespace, spec };
            match host.spec.link {
                Link::Veth | Link::AfXdp => host.connect(&topology.router)?,
                // Nobody else has the address: the tap is of use at once.
                Link::Tap => host.namespace.set("ipv6/conf/default/accept_dad", "0")?,
            }
            topology.hosts.push(host);
        }
        Ok(topology)
    }

    /// The host of this name.
    ///
    /// # Panics
    /// When the topology was not made with it.
    #[must_use]
    pub fn host(&self, name: &str) -> &Host {
        self.hosts.iter().find(|host| host.spec.name == name).expect("a host of the topology")
    }

    /// All hosts in the order they were asked for.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Waits until the taps that raddle makes carry, and has their hosts send by way of them.
    ///
    /// # Errors
    /// When raddle makes none.
    pub fn await_taps(&self) -> Result<()> {
        for host in self.hosts.iter().filter(|host| host.spec.link == Link::Tap) {
            wait_for("the tap to carry", Duration::from_secs(30), || {
                let there = host.namespace.interfaces()?.iter().any(|name| name == DEVICE);
                let carries = there && matches!(state(&host.namespace, DEVICE)?.as_str(), "UP" | "UNKNOWN");
                Ok(carries.then_some(()))
            })?;
            host.route()?;
        }
        Ok(())
    }

    /// Lets the kernel of the router namespace forward in raddle's place: the harness is tested against it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forward_by_kernel(&self) -> Result<()> {
        let router = &self.router;
        for scope in ["all", "default"] {
            router.set(&format!("ipv6/conf/{scope}/disable_ipv6"), "0")?;
        }
        for Host { spec, .. } in &self.hosts {
            let device = &spec.interface;
            router.set(&format!("ipv6/conf/{device}/disable_ipv6"), "0")?;
            router.ip(&format!("address add {}/{} dev {device}", spec.gateway4, HostSpec::PREFIX4))?;
            router.ip(&format!("address add {}/{} dev {device} nodad", spec.gateway6, HostSpec::PREFIX6))?;
        }
        router.set("ipv4/ip_forward", "1")?;
        router.set("ipv6/conf/all/forwarding", "1")
    }
}

impl Host {
    /// Its MAC address.
    ///
    /// # Errors
    /// When its link was cut.
    pub fn mac(&self) -> Result<String> {
        mac(&self.namespace, DEVICE)
    }

    /// The MAC address of the device at the router's end of its link.
    ///
    /// # Errors
    /// When the link was cut.
    pub fn router_mac(&self, router: &Namespace) -> Result<String> {
        mac(router, &self.spec.interface)
    }

    /// Deletes the veth pair, as when a container goes away.
    ///
    /// # Errors
    /// When it is not there.
    pub fn cut(&self) -> Result<()> {
        self.namespace.ip(&format!("link delete {DEVICE}")).map(drop)
    }

    /// Makes the veth pair (again), with the host's addresses and default routes, and waits until it carries.
    ///
    /// # Errors
    /// When a device of that name is there.
    pub fn connect(&self, router: &Namespace) -> Result<()> {
        let Self { namespace, spec } = self;
        let device = &spec.interface;
        let mtu = spec.mtu.map(|mtu| format!("mtu {mtu} ")).unwrap_or_default();
        let name = namespace.name();
        router.ip(&format!("link add {device} {mtu}type veth peer name {DEVICE} {mtu}netns {name}"))?;
        router.ip(&format!("link set {device} up"))?;
        namespace.ip(&format!("address add {}/{} dev {DEVICE}", spec.ipv4, HostSpec::PREFIX4))?;
        namespace.ip(&format!("address add {}/{} dev {DEVICE} nodad", spec.ipv6, HostSpec::PREFIX6))?;
        namespace.ip(&format!("link set {DEVICE} up"))?;
        // Until the kernel has seen the carrier it may hold addresses and routes back.
        wait_for("the link to carry", Duration::from_secs(30), || {
            let carries = state(namespace, DEVICE)? == "UP" && state(router, device)? == "UP";
            Ok(carries.then_some(()))
        })?;
        self.route()
    }

    /// Has it send by way of the router.
    fn route(&self) -> Result<()> {
        let Self { namespace, spec } = self;
        namespace.ip(&format!("route replace default via {}", spec.gateway4))?;
        namespace.ip(&format!("-6 route replace default via {}", spec.gateway6))?;
        Ok(())
    }
}

fn mac(namespace: &Namespace, device: &str) -> Result<String> {
    link_field(namespace, device, "address")
}

fn state(namespace: &Namespace, device: &str) -> Result<String> {
    link_field(namespace, device, "operstate")
}

fn link_field(namespace: &Namespace, device: &str, field: &str) -> Result<String> {
    let links: serde_json::Value = serde_json::from_str(&namespace.ip(&format!("-json link show {device}"))?)
        .context("`ip -json link`")?;
    let value = links[0][field].as_str();
    value.map(str::to_owned).ok_or_else(|| anyhow!("{device} has no {field}"))
}
