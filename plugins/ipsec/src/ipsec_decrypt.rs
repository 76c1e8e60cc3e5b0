//! `ipsec-decrypt`: ESP for own addresses, whole, as the local nodes hand it on: checked, decrypted, and on as what came in by the tunnel.

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::abi::FRAME_SIZE;
use raddle_plugin_api::prelude::*;
use serde::Serialize;

use crate::opener::{Opened, Opener};
use crate::reason::OpenError;
use crate::service::Ipsec;
use crate::tables::Entry;

next! {
    /// Where packets go.
    pub enum IpsecDecryptNext {
        Ip4 => "ip4-input",
        Ip6 => "ip6-input",
    }
}

/// The node.
pub struct IpsecDecrypt {
    ipsec: Arc<Ipsec>,
    opener: Opener,
    received: Tally,
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

type Out = Verdict<IpsecDecryptNext, OpenError>;

impl Node for IpsecDecrypt {
    const NAME: &'static str = "ipsec-decrypt";
    type Next = IpsecDecryptNext;
    type Error = OpenError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let ipsec: Arc<Ipsec> = init.resource()?;
        Ok(Self { opener: Opener::default(), ipsec, received: Tally::received() })
    }

    fn process(&mut self, mut vector: Vector<'_, Self>) {
        let worker = vector.worker();
        let tables = self.ipsec.tables.read(&worker);
        if tables.receives_nothing() {
            return vector.continue_all();
        }
        let Self { opener, received, .. } = self;
        let mut fates = [Opened::NotOurs; FRAME_SIZE];
        vector.with_all(|worker, packets| opener.open(worker, tables, packets, &mut fates));
        vector.each_at(|env, position, packet| match fates[position % FRAME_SIZE] {
            Opened::NotOurs => Verdict::Continue,
            Opened::Dropped(error) => Verdict::Drop(error),
            Opened::Done(entry) => {
                env.trace(packet, || record(entry, packet.len()));
                arrive(env, packet, entry, received)
            }
            Opened::NeedsCopy => match opener.open_copy(env.worker(), tables, packet) {
                Ok((mut made, entry)) => {
                    env.worker().free(packet.take());
                    let mut view = env.worker().open(&mut made);
                    env.trace(&view, || record(entry, view.len()));
                    let verdict = arrive(env, &mut view, entry, received);
                    env.send(made, verdict);
                    verdict
                }
                Err(error) => Verdict::Drop(error),
            },
        });
        received.flush(&worker);
    }
}

node!(IpsecDecrypt);

fn record(entry: &Entry, length: usize) -> Record {
    let description = &entry.sa.description;
    Record { sa: description.name.clone(), spi: description.spi, length }
}

/// The inner packet comes in by its tunnel, as if by a link.
#[inline(always)]
fn arrive(env: &Env<'_, IpsecDecrypt>, packet: &mut Packet<'_>, entry: &Entry, received: &mut Tally) -> Out {
    if let Some(index) = entry.interface {
        if !env.worker().interface(index).is_some_and(|interface| interface.is_up()) {
            return Verdict::Drop(OpenError::InterfaceDown);
        }
        received.add(env.worker(), index, packet.len());
        env.receive_on(packet, index);
    }
    packet.set_local(false);
    packet.set_checksum_valid(false);
    packet.set_l2_multicast(false);
    packet.set_reassembled(false);
    packet.set_flow_id(0);
    match packet.bytes().first() {
        Some(first) if first >> 4 == 6 => Verdict::Next(IpsecDecryptNext::Ip6),
        _ => Verdict::Next(IpsecDecryptNext::Ip4),
    }
}
