//! `ipsec-policy-in-ip4`, `ipsec-policy-in-ip6`: what comes in must have come as the policies say: by its tunnel, or as it is
//! (RFC 4301 §5.2).

use std::marker::PhantomData;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::IpProtocol;

use crate::ipsec_policy_out::{Family, Ip4, Ip6};
use crate::reason::OpenError;
use crate::selector::Flow;
use crate::service::Ipsec;
use crate::spd::Action;
use crate::tables::Tables;

/// The node.
pub struct PolicyIn<F> {
    ipsec: Arc<Ipsec>,
    family: PhantomData<fn() -> F>,
}

impl<F: Family> Node for PolicyIn<F> {
    const NAME: &'static str = F::IN;
    type Next = NoNext;
    type Error = OpenError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { ipsec: init.resource()?, family: PhantomData })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let worker = vector.worker();
        let tables = self.ipsec.tables.read(&worker);
        vector.each(|_, packet| match judge(packet, tables) {
            Ok(()) => Verdict::Continue,
            Err(error) => Verdict::Drop(error),
        });
    }
}

node!(PolicyIn<Ip4>);
node!(PolicyIn<Ip6>);

fn judge(packet: &Packet<'_>, tables: &Tables) -> Result<(), OpenError> {
    let flow = Flow::of(packet.bytes()).ok_or(OpenError::Malformed)?;
    let came_by = packet.rx_interface();
    let is_protected = tables.is_policy_tunnel(came_by);
    if !is_protected && is_for_tunnels(tables, &flow) {
        return Ok(());
    }
    match tables.policies.coming(&flow) {
        Some(Action::Protect(tunnel)) if tunnel == came_by => Ok(()),
        // RFC 4301 §5.2, step 4: what came by an SA must be what the SA is for.
        _ if is_protected => Err(OpenError::SelectorMismatch),
        Some(Action::Protect(_)) => Err(OpenError::NotProtected),
        Some(Action::Bypass) => Ok(()),
        Some(Action::Discard) => Err(OpenError::Discarded),
        None => Err(OpenError::NoPolicy),
    }
}

/// What the tunnels receive, and IKE: it is not judged before it is known what is in it.
fn is_for_tunnels(tables: &Tables, flow: &Flow) -> bool {
    match flow.protocol {
        IpProtocol::ESP => true,
        IpProtocol::UDP => flow.ports.is_some_and(|(_, destination)| tables.has_udp_port(destination)),
        _ => false,
    }
}
