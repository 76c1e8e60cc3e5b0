//! Choosing the port outside of a new binding.

use raddle_plugin_api::table::Memory;
use raddle_plugin_api::wire::Ip4Address;

use super::bib::Key6;
use super::openings::Refusal;
use super::rules::Rules;
use super::shard::Shard;
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
    ) -> Result<(Ip4Address, u16), Refusal> {
        for address in self.addresses(rules, subscriber).into_iter().flatten() {
            let random = self.next_random();
            let may = |port| rules.statics.inside(address, port, key.protocol).is_none();
            if let Some(port) = self.ports.take(address, key.protocol, key.port, self.share, random, may) {
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
    ) -> Result<(Ip4Address, u16, Option<u16>), Refusal> {
        let size = 1 << self.share.size_bits;
        let subscriber = *self.subscribers.get(number).ok_or(Refusal::TableFull)?;
        let (own, protocol) = (subscriber.outside, key.protocol);
        let may = |address: Ip4Address| move |port| rules.statics.inside(address, port, protocol).is_none();
        let mut block = self.last_block(number);
        while let Some(Block { first, before, .. }) = block {
            if let Some(port) = self.ports.take_in_block(own, protocol, key.port, first, size, may(own)) {
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
            let Some(first) = self.ports.take_block(address, self.share, random) else { continue };
            let port = self.ports.take_in_block(address, protocol, key.port, first, size, may(address));
            let taken = port.filter(|_| self.add_block(number, address, first));
            let Some(port) = taken else {
                if let Some(port) = port {
                    self.ports.release(address, protocol, port);
                }
                self.ports.release_block_if_idle(address, first, size);
                continue;
            };
            return Ok((address, port, Some(first)));
        }
        Err(Refusal::NoPort)
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

    /// Xorshift64*.
    fn next_random(&mut self) -> u32 {
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
