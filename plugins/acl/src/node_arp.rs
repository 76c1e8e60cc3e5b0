//! `acl-arp-in`: ARP of interfaces that are routed, judged by MAC-IP rules and the white list of ethertypes.

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::EtherType;

use crate::acl::{Acl, acl};
use crate::frame::arp_sender;
use crate::node_ip::source_mac;
use crate::verdict::AclError;

/// The node.
pub struct AclArp {
    acl: Arc<Acl>,
}

impl Node for AclArp {
    const NAME: &'static str = "acl-arp-in";
    type Next = NoNext;
    type Error = AclError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { acl: acl(init)? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let acl = &self.acl;
        vector.each(|env, packet| {
            let attachment = acl.attachments.read(env.worker()).of(packet.rx_interface());
            let Some(link) = attachment.and_then(|attachment| attachment.link.as_deref()) else {
                return Verdict::Continue;
            };
            let sender = arp_sender(packet.bytes());
            let Some(mac) = source_mac(packet) else { return Verdict::Drop(AclError::Malformed) };
            match link.judge(EtherType::ARP, mac, sender) {
                Ok(()) => Verdict::Continue,
                Err(refusal) => Verdict::Drop(refusal.into()),
            }
        });
    }
}

node!(AclArp);
