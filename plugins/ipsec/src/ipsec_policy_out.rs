//! `ipsec-policy-out-ip4`, `ipsec-policy-out-ip6`: what leaves by an interface that is not safe goes by a tunnel, as it is, or not at all
//! (RFC 4301 §5.1).

use std::marker::PhantomData;
use std::sync::Arc;

use raddle_plugin_api::icmp_error::{IcmpRequest, icmp_field};
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Ip4Header, IpProtocol};

use crate::reason::SealError;
use crate::selector::Flow;
use crate::service::Ipsec;
use crate::spd::Action;
use crate::tables::Tables;

next! {
    /// Where packets go.
    pub enum PolicyOutNext {
        Output => "interface-output",
        Ip4IcmpError => "ip4-icmp-error",
        Ip6IcmpError => "ip6-icmp-error",
    }
}

/// A family of packets.
pub trait Family: Send + 'static {
    /// Name of the node for what leaves.
    const OUT: &'static str;
    /// Name of the node for what comes in.
    const IN: &'static str;
}

/// IPv4.
pub enum Ip4 {}

/// IPv6.
pub enum Ip6 {}

impl Family for Ip4 {
    const OUT: &'static str = "ipsec-policy-out-ip4";
    const IN: &'static str = "ipsec-policy-in-ip4";
}

impl Family for Ip6 {
    const OUT: &'static str = "ipsec-policy-out-ip6";
    const IN: &'static str = "ipsec-policy-in-ip6";
}

/// The node.
pub struct PolicyOut<F> {
    ipsec: Arc<Ipsec>,
    icmp: Field<IcmpRequest>,
    family: PhantomData<fn() -> F>,
}

type Out = Verdict<PolicyOutNext, SealError>;

impl<F: Family> Node for PolicyOut<F> {
    const NAME: &'static str = F::OUT;
    type Next = PolicyOutNext;
    type Error = SealError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { ipsec: init.resource()?, icmp: icmp_field(init)?, family: PhantomData })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let worker = vector.worker();
        let tables = self.ipsec.tables.read(&worker);
        vector.each(|env, packet| self.judge(env, packet, tables));
    }
}

node!(PolicyOut<Ip4>);
node!(PolicyOut<Ip6>);

impl<F: Family> PolicyOut<F> {
    fn judge(&self, env: &Env<'_, Self>, packet: &mut Packet<'_>, tables: &Tables) -> Out {
        // The link-layer header is in front of the IP header, whose place was noted.
        let ahead = usize::try_from(-packet.l3_distance()).unwrap_or(0);
        let Some(flow) = packet.bytes().get(ahead..).and_then(Flow::of) else {
            return Verdict::Drop(SealError::Malformed);
        };
        if packet.is_local() && is_own(tables, &flow) {
            return Verdict::Continue;
        }
        match tables.policies.leaving(&flow) {
            None => Verdict::Drop(SealError::NoPolicy),
            Some(Action::Bypass) => Verdict::Continue,
            Some(Action::Discard) => Verdict::Drop(SealError::Discarded),
            Some(Action::Protect(tunnel)) => self.protect(env, packet, ahead, tunnel),
        }
    }

    /// Into a tunnel, which has the packet from its IP header on.
    fn protect(
        &self,
        env: &Env<'_, Self>,
        packet: &mut Packet<'_>,
        ahead: usize,
        tunnel: InterfaceIndex,
    ) -> Out {
        let Some(interface) = env.worker().interface(tunnel).filter(|interface| interface.is_up()) else {
            return Verdict::Drop(SealError::NoSa);
        };
        if !packet.advance(ahead) {
            return Verdict::Drop(SealError::Malformed);
        }
        let mtu = interface.mtu();
        if let Some(request) = too_big(packet, mtu) {
            packet.set_field(&self.icmp, request);
            return Verdict::Next(match packet.bytes().first() {
                Some(first) if first >> 4 == 6 => PolicyOutNext::Ip6IcmpError,
                _ => PolicyOutNext::Ip4IcmpError,
            });
        }
        packet.set_tx_interface(tunnel);
        Verdict::Next(PolicyOutNext::Output)
    }
}

/// What the tunnels send, which no policy is for.
fn is_own(tables: &Tables, flow: &Flow) -> bool {
    match flow.protocol {
        IpProtocol::ESP => true,
        IpProtocol::UDP => flow.ports.is_some_and(|(source, _)| tables.has_udp_port(source)),
        _ => false,
    }
}

/// What the sender of a packet is told that does not fit and must not be cut (RFC 4301 §8.2.1). IPv4 packets that may be cut are, when they
/// are ESP packets.
fn too_big(packet: &Packet<'_>, mtu: usize) -> Option<IcmpRequest> {
    let length = match packet.offload().gso {
        Some(gso) => usize::from(gso.header_length) + usize::from(gso.size),
        None => packet.len(),
    };
    if length <= mtu {
        return None;
    }
    match packet.bytes().first()? >> 4 {
        4 => {
            let (ip, _) = Ip4Header::parse(packet.bytes())?;
            ip.dont_fragment().then(|| IcmpRequest::ip4_fragmentation_needed(mtu as u32))
        }
        _ => Some(IcmpRequest::ip6_packet_too_big(mtu as u32)),
    }
}
