//! Choosing the port outside of a new binding.

use raddle_plugin_api::table::Memory;
use raddle_plugin_api::wire::Ip4Address;

use super::bib::Key6;
use super::openings::Refusal;
use super::port_hold::{Reuse, WantedPort};
use super::rules::Rules;
use super::session::Protocol;
use super::shard::{Shard, Ticks};
use super::subscriber::{Block, SubscriberKey};

/// Pool addresses that are tried for a binding when the subscriber's own is full.
const ADDRESS_TRIES: u64 = 8;

impl<M: Memory> Shard<M> {
    /// A port of the subscriber's pool address, or of another where that has none.
    pub(super) fn take_port(
        &mut self,
        rules: &Rules,
        key: &Key6,
        subscriber: u32,
        now: Ticks,
    ) -> Result<(Ip4Address, u16), Refusal> {
        let time = (now, self.reuse(rules, key.protocol));
        for address in self.addresses(rules, subscriber).into_iter().flatten() {
            let random = self.next_random();
            let may = |port| rules.statics.inside(address, port, key.protocol).is_none();
            let wanted = WantedPort { address, protocol: key.protocol, port: key.port };
            if let Some(port) = self.ports.take(&wanted, self.share, random, time, may) {
                return Ok((address, port));
            }
        }
        Err(Refusal::NoPort)
    }

    /// A port of the subscriber's blocks, or of a new one.
    pub(super) fn take_from_blocks(
        &mut self,
        rules: &Rules,
        key: &Key6,
        number: u32,
        now: Ticks,
    ) -> Result<(Ip4Address, u16, Option<u16>), Refusal> {
        let time = (now, self.reuse(rules, key.protocol));
        let size = 1 << self.share.size_bits;
        let subscriber = *self.subscribers.get(number).ok_or(Refusal::TableFull)?;
        let (own, protocol) = (subscriber.outside, key.protocol);
        let may = |address: Ip4Address| move |port| rules.statics.inside(address, port, protocol).is_none();
        let wanted = |address| WantedPort { address, protocol, port: key.port };
        let mut block = self.last_block(number);
        while let Some(Block { first, before, .. }) = block {
            if let Some(port) = self.ports.take_in_block(&wanted(own), (first, size), time, may(own)) {
                return Ok((own, port, None));
            }
            block = self.blocks.get(before).copied();
        }
        if subscriber.blocks >= rules.limits.blocks {
            return Err(Refusal::SubscriberLimit);
        }
        for address in self.addresses(rules, number).into_iter().flatten() {
            // Blocks are of one address, which the subscriber keeps as long as it has any.
            if subscriber.blocks > 0 && address != own {
                continue;
            }
            let random = self.next_random();
            // A block has ports of all protocols.
            let of_block = (now, self.reuse(rules, Protocol::Udp));
            let Some(first) = self.ports.take_block(address, self.share, random, of_block) else { continue };
            let port = self.ports.take_in_block(&wanted(address), (first, size), time, may(address));
            let taken = port.filter(|_| self.add_block(number, address, first));
            let Some(port) = taken else {
                if let Some(port) = port {
                    self.ports.release(address, protocol, port, (now, Reuse::AT_ONCE));
                }
                self.ports.release_block_if_idle(address, first, size);
                continue;
            };
            return Ok((address, port, Some(first)));
        }
        Err(Refusal::NoPort)
    }

    /// How ports come into use again. RFC 6888 REQ-8 lets those of TCP at once, whose states are watched, and those that let nobody in
    /// but whom the host has sent to.
    pub(super) fn reuse(&self, rules: &Rules, protocol: Protocol) -> Reuse {
        if protocol == Protocol::Tcp || self.permits.is_some() {
            return Reuse::AT_ONCE;
        }
        // Each thread has its share of an address's ports.
        Reuse { most: rules.reuse.most.div_ceil(self.share.count), ..rules.reuse }
    }

    /// The block that a subscriber got last.
    fn last_block(&self, subscriber: u32) -> Option<Block> {
        let subscriber = self.subscribers.get(subscriber).filter(|subscriber| subscriber.blocks > 0)?;
        self.blocks.get(subscriber.last_block).copied()
    }

    /// Notes a block of a subscriber's; `false`: there is no room.
    fn add_block(&mut self, number: u32, outside: Ip4Address, first: u16) -> bool {
        let Some(subscriber) = self.subscribers.get_mut(number) else { return false };
        let before = if subscriber.blocks > 0 { subscriber.last_block } else { u32::MAX };
        let Ok(block) = self.blocks.insert(Block { before, first, reserved: 0 }) else { return false };
        (subscriber.outside, subscriber.last_block) = (outside, block);
        subscriber.blocks += 1;
        true
    }

    /// Whether a subscriber has a block.
    pub(super) fn has_block(&self, subscriber: u32, first: u16) -> bool {
        let mut block = self.last_block(subscriber);
        while let Some(at) = block {
            if at.first == first {
                return true;
            }
            block = self.blocks.get(at.before).copied();
        }
        false
    }

    /// Forgets a subscriber's block.
    pub(super) fn remove_block(&mut self, subscriber: u32, first: u16) {
        let Some(owner) = self.subscribers.get_mut(subscriber) else { return };
        let (mut number, mut after) = (owner.last_block, None::<u32>);
        while let Some(&block) = self.blocks.get(number) {
            if block.first != first {
                (after, number) = (Some(number), block.before);
                continue;
            }
            match after.and_then(|after| self.blocks.get_mut(after)) {
                Some(after) => after.before = block.before,
                None => owner.last_block = block.before,
            }
            owner.blocks -= 1;
            self.blocks.remove(number);
            return;
        }
    }

    /// Pool addresses for a subscriber: its own, if that is one still, and some others.
    fn addresses(&self, rules: &Rules, subscriber: u32) -> [Option<Ip4Address>; 1 + ADDRESS_TRIES as usize] {
        let mut addresses = [None; 1 + ADDRESS_TRIES as usize];
        let Some(subscriber) = self.subscribers.get(subscriber) else { return addresses };
        let hash = self.hash(&SubscriberKey(subscriber.address, subscriber.tenant));
        let tenant = rules.tenant(subscriber.tenant);
        addresses[0] = Some(subscriber.outside).filter(|&own| tenant.has(own));
        for (step, slot) in (0..).zip(&mut addresses[1..]) {
            *slot =
                tenant.pool_address(hash, step).filter(|address| Some(*address) != Some(subscriber.outside));
        }
        addresses
    }

    /// A number that nobody outside can tell: xorshift64*.
    pub fn next_random(&mut self) -> u32 {
        let Some(state) = self.random.first_mut() else { return 0 };
        // Ports cannot be told from outside (RFC 6056): the first state is a secret, too.
        if *state == 0 {
            *state = self.seed.hash([0x706f_7274, u64::from(self.share.index)]) | 1;
        }
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
}
