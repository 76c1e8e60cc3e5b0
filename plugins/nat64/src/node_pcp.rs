//! `nat64-pcp`: answers hosts that ask for bindings (RFC 6887), among what comes for raddle itself by the interfaces whose hosts may.
//! On others it is not: who is outside must not be heard (RFC 6887 §8.2).

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::Packet;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Ip4Address, Ip6Address, Ip6Header, Ip6Upper, IpProtocol, UdpHeader};
use serde::Serialize;
use zerocopy::IntoBytes;

use crate::hand_off::hand_off;
use crate::pcp::{Code, MOST_BYTES, MapRequest, Request, Response, SERVER_PORT, read};
use crate::reason::Nat64Error;
use crate::service::{Nat64, TICKS_PER_SECOND, ticks};
use crate::state::{Asked, AskedRefusal, Refusal, Rules};

/// Bytes in front of a message: an IPv6 header without extensions, and that of UDP.
const HEADERS: usize = Ip6Header::LENGTH + UdpHeader::LENGTH;

next! {
    /// Where answers go.
    pub enum PcpNext { Lookup => "ip6-lookup" }
}

/// The node.
pub struct Pcp {
    nat: Arc<Nat64>,
}

/// What it notes of a traced packet.
#[derive(Debug, Serialize)]
struct Record {
    client: String,
    result: u8,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is told {}", self.client, self.result)
    }
}

type Out = Verdict<PcpNext, Nat64Error>;

impl Node for Pcp {
    const NAME: &'static str = "nat64-pcp";
    type Next = PcpNext;
    type Error = Nat64Error;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { nat: init.resource()? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let worker = vector.worker();
        let rules = self.nat.rules.read(&worker);
        vector.each(|env, packet| self.take(env, packet, rules));
    }
}

node!(Pcp);

impl Pcp {
    fn take(&self, env: &Env<'_, Self>, packet: &mut Packet<'_>, rules: &Rules) -> Out {
        let Some((ip, udp)) = request_headers(packet.bytes()) else { return Verdict::Continue };
        let worker = env.worker();
        let owner = self.nat.owner_of_inside(worker, rules, ip.source());
        if owner != worker.thread_index() {
            return hand_off(&self.nat, env, packet, owner);
        }
        let mut bytes = [0; HEADERS + MOST_BYTES + 4];
        let length =
            packet.copy_out(0, &mut bytes).min(HEADERS + usize::from(udp.length()) - UdpHeader::LENGTH);
        let request = &bytes[HEADERS..length];
        let epoch = (worker.now_ns().saturating_sub(self.nat.began_ns) / 1_000_000_000) as u32;
        let asks_about = (ip.source(), rules.tenant_of_table(packet.fib_index()));
        let response = match read(request, ip.source()) {
            Err(None) => return Verdict::Drop(Nat64Error::Malformed),
            Err(Some(code)) => Response::error(request, code, epoch),
            Ok(Request::Announce) => Response::announce(request, epoch),
            Ok(Request::Map(asked)) => match self.map(env, rules, &asked, asks_about) {
                Ok((outside, lifetime)) => Response::map(request, outside, lifetime, epoch),
                Err(code) => Response::error(request, code, epoch),
            },
        };
        let Some(mut held) = worker.allocate() else { return Verdict::Drop(Nat64Error::NoBuffer) };
        let mut view = worker.open(&mut held);
        if !write(&mut view, &ip, &udp, response.bytes()) {
            return Verdict::Drop(Nat64Error::NoBuffer);
        }
        view.mark_l3();
        view.set_local(true);
        view.set_fib_index(packet.fib_index());
        view.set_tx_interface(packet.rx_interface());
        env.trace(packet, || Record { client: ip.source().to_string(), result: response.bytes()[3] });
        env.send(held, Verdict::Next(PcpNext::Lookup));
        worker.free(packet.take());
        // It was taken: this counts for nothing.
        Verdict::Continue
    }

    /// Makes, prolongs or ends a mapping: its port outside, and how many seconds it stands.
    fn map(
        &self,
        env: &Env<'_, Self>,
        rules: &Rules,
        request: &MapRequest,
        (inside, tenant): (Ip6Address, u8),
    ) -> Result<(Option<(Ip4Address, u16)>, u32), Code> {
        let worker = env.worker();
        let &MapRequest { nonce, protocol, port, lifetime } = request;
        if !inside.is_valid_source() || inside.is_link_local() || rules.eam.to4(inside).is_some() {
            // What has no bindings, or an address outside of its own.
            return Err(Code::NotAuthorized);
        }
        let asked = Asked { inside, port, protocol, tenant, secret: self.secret(nonce) };
        let now = ticks(worker.now_ns());
        self.nat.with(worker, |local| {
            if lifetime == 0 {
                let number = local.shard.asked(&asked).map_err(code)?;
                if let Some(ended) = number.and_then(|number| local.shard.end(number, rules, now)) {
                    self.nat.ended(worker, local, &ended);
                }
                return Ok((None, 0));
            }
            let given = local.shard.ask(rules, &asked, lifetime * TICKS_PER_SECOND, now).map_err(code)?;
            if let Some(opened) = &given.opened {
                self.nat.opened(worker, local, opened);
            }
            Ok((Some(given.outside), lifetime))
        })
    }

    /// Part of a hash of the nonce by which the host is known.
    fn secret(&self, nonce: [u8; 12]) -> [u8; 6] {
        let word = |bytes: &[u8]| bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        let [a, b, c, d, e, f, ..] = self.nat.seed.hash([word(&nonce[..8]), word(&nonce[8..])]).to_le_bytes();
        [a, b, c, d, e, f]
    }
}

/// What a host is told that is not given what it asks for.
fn code(refusal: AskedRefusal) -> Code {
    match refusal {
        AskedRefusal::NotIts => Code::NotAuthorized,
        AskedRefusal::Refused(Refusal::SubscriberLimit) => Code::UserExceededQuota,
        AskedRefusal::Refused(_) => Code::NoResources,
    }
}

/// The headers of a datagram to the server's port, if it is one.
fn request_headers(bytes: &[u8]) -> Option<(Ip6Header, UdpHeader)> {
    let (ip, _) = Ip6Header::parse(bytes).filter(|(ip, _)| ip.version() == 6)?;
    let upper = Ip6Upper::find(bytes).ok()?;
    if upper.protocol != IpProtocol::UDP || upper.is_fragment() || upper.offset != Ip6Header::LENGTH {
        return None;
    }
    let (udp, _) = UdpHeader::parse(bytes.get(upper.offset..)?)?;
    let is_request = udp.destination_port() == SERVER_PORT && !ip.destination().is_multicast();
    (is_request && usize::from(udp.length()) >= UdpHeader::LENGTH).then_some((*ip, *udp))
}

/// Writes the datagram that answers one with these headers.
fn write(packet: &mut Packet<'_>, ip: &Ip6Header, udp: &UdpHeader, message: &[u8]) -> bool {
    let length = UdpHeader::LENGTH + message.len();
    let new = Ip6Header::new(IpProtocol::UDP, ip.destination(), ip.source(), length);
    let new = new.zip(UdpHeader::new(SERVER_PORT, udp.source_port(), message.len()));
    let Some((mut ip, mut udp)) = new else { return false };
    ip.set_hop_limit(64);
    udp.fill_checksum(ip.pseudo_header(IpProtocol::UDP, length as u32), message);
    packet.append(ip.as_bytes()) && packet.append(udp.as_bytes()) && packet.append(message)
}
