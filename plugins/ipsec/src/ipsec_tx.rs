//! `ipsec-tx`: what tunnels send, wrapped and encrypted, to the lookup of the outer destination.

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::abi::FRAME_SIZE;
use raddle_plugin_api::prelude::*;
use serde::Serialize;

use crate::reason::SealError;
use crate::sealer::{Choice, Sealed, Sealer};
use crate::service::Ipsec;

next! {
    /// Where packets go.
    pub enum IpsecTxNext {
        Ip4Lookup => "ip4-lookup",
        Ip6Lookup => "ip6-lookup",
    }
}

/// The node.
pub struct IpsecTx {
    ipsec: Arc<Ipsec>,
    sealer: Sealer,
    sent: Tally,
}

/// What it notes of a traced packet.
#[derive(Debug, Serialize)]
struct Record {
    sa: String,
    spi: u32,
    length: usize,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by SA {}, SPI {:#010x}, now {} bytes", self.sa, self.spi, self.length)
    }
}

impl Node for IpsecTx {
    const NAME: &'static str = "ipsec-tx";
    type Next = IpsecTxNext;
    type Error = SealError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let ipsec: Arc<Ipsec> = init.resource()?;
        Ok(Self { sealer: Sealer::default(), ipsec, sent: Tally::sent() })
    }

    fn process(&mut self, mut vector: Vector<'_, Self>) {
        let worker = vector.worker();
        let tables = self.ipsec.tables.read(&worker);
        let Self { sealer, sent, .. } = self;
        let mut fates = [Sealed::Dropped(SealError::NoSa); FRAME_SIZE];
        let mut choices: [Choice<'_>; FRAME_SIZE] = [Err(SealError::NoSa); FRAME_SIZE];
        let mut lengths = [0_u32; FRAME_SIZE];
        vector.with_all(|worker, packets| {
            for (position, packet) in packets.iter().enumerate() {
                choices[position] = tables.outbound(packet.tx_interface()).ok_or(SealError::NoSa);
                lengths[position] = packet.len() as u32;
            }
            sealer.seal(worker, packets, &choices[..packets.len()], &mut fates);
        });
        vector.each_at(|env, position, packet| {
            let position = position % FRAME_SIZE;
            let interface = packet.tx_interface();
            let verdict = match (fates[position], choices[position]) {
                (Sealed::Dropped(error), _) | (Sealed::NeedsCopy, Err(error)) => return Verdict::Drop(error),
                (Sealed::Done, choice) => {
                    env.trace(packet, || record(&choice, packet.len()));
                    leave(env, packet)
                }
                (Sealed::NeedsCopy, Ok(sa)) => match sealer.seal_copy(env.worker(), packet, sa) {
                    Ok(mut made) => {
                        env.worker().free(packet.take());
                        let mut view = env.worker().open(&mut made);
                        env.trace(&view, || record(&Ok(sa), view.len()));
                        let verdict = leave(env, &mut view);
                        env.send(made, verdict);
                        verdict
                    }
                    Err(error) => return Verdict::Drop(error),
                },
            };
            sent.add(env.worker(), interface, lengths[position] as usize);
            verdict
        });
        sent.flush(&worker);
    }
}

node!(IpsecTx);

fn record(choice: &Choice<'_>, length: usize) -> Record {
    let description = choice.as_ref().map(|sa| &sa.description);
    Record {
        sa: description.map_or_else(|_| String::new(), |description| description.name.clone()),
        spi: description.map_or(0, |description| description.spi),
        length,
    }
}

/// The outer packet is one of our own: it came in nowhere, and takes its first hop.
#[inline(always)]
fn leave(env: &Env<'_, IpsecTx>, packet: &mut Packet<'_>) -> Verdict<IpsecTxNext, SealError> {
    packet.set_local(true);
    packet.set_checksum_valid(false);
    packet.set_l2_multicast(false);
    packet.set_reassembled(false);
    packet.set_fib_index(0);
    packet.set_flow_id(0);
    env.receive_on(packet, InterfaceIndex::NONE);
    match packet.bytes().first() {
        Some(first) if first >> 4 == 6 => Verdict::Next(IpsecTxNext::Ip6Lookup),
        _ => Verdict::Next(IpsecTxNext::Ip4Lookup),
    }
}
