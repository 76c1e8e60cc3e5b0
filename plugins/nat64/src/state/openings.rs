//! Making sessions and bindings (RFC 6146 §3.5).

use raddle_plugin_api::table::Memory;
use raddle_plugin_api::wire::checksum::{Delta, Sum};
use raddle_plugin_api::wire::{Ip4Address, IpProtocol, TcpFlags};

use super::bib::{Binding, IS_STATIC, Key4, Key6};
use super::port_hold::Reuse;
use super::rules::Rules;
use super::session::{Flow4, Flow6, Protocol, Session};
use super::shard::{Shard, Ticks};
use super::subscriber::{Subscriber, SubscriberKey};
use super::tcp::TcpState;
use crate::translate::{pseudo4, pseudo6};

/// Why there is no session for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// From outside, for a port that nobody has.
    NoBinding,
    /// From outside, from a host that nobody talks to.
    Filtered,
    /// TCP in the middle of a connection that is not known.
    NotSyn,
    /// No port is left, or the one that the operator gave is in use.
    NoPort,
    /// The table of sessions or that of bindings is full.
    TableFull,
    /// The subscriber has as many sessions, bindings or blocks as it may.
    SubscriberLimit,
}

/// What a session was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its number.
    pub session: u32,
    /// Whether the binding is new.
    pub binding_is_new: bool,
    /// First port of the block that the subscriber was given for it.
    pub block: Option<u16>,
}

impl<M: Memory> Shard<M> {
    /// Makes the session of a packet from inside that has none, with a binding if its port has none (RFC 6146 §3.5).
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn open6(
        &mut self,
        rules: &Rules,
        flow: &Flow6,
        prefix: u8,
        flags: TcpFlags,
        now: Ticks,
    ) -> Result<Opened, Refusal> {
        if flow.protocol == Protocol::Tcp
            && (!flags.contains(TcpFlags::SYN) || flags.intersects(TcpFlags::RST.union(TcpFlags::FIN)))
        {
            return Err(Refusal::NotSyn);
        }
        let key = Key6 {
            inside: flow.inside,
            port: flow.inside_port,
            protocol: flow.protocol,
            tenant: flow.tenant,
        };
        let known = self.find_binding6(&key);
        let (binding, block) = match known {
            Some(binding) => (binding, None),
            None => self.bind(rules, &key, now)?,
        };
        let state = if flow.protocol == Protocol::Tcp { TcpState::V6Init } else { TcpState::None };
        let opened = self.open(rules, binding, (flow.remote, flow.remote_port), prefix, state, now);
        if opened.is_err() && known.is_none() {
            // Nobody outside knows its port.
            self.unbind(binding, (now, Reuse::AT_ONCE));
        }
        opened.map(|session| Opened { session, binding_is_new: known.is_none(), block })
    }

    /// Makes the session of a packet from outside that has none, if there is a binding or a mapping of the operator's.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn open4(
        &mut self,
        rules: &Rules,
        flow: &Flow4,
        flags: TcpFlags,
        now: Ticks,
    ) -> Result<Opened, Refusal> {
        let key = Key4 { outside: flow.outside, port: flow.outside_port, protocol: flow.protocol };
        let known = self.find_binding4(&key);
        let binding = match known {
            Some(binding) => binding,
            None => {
                let inside = rules
                    .statics
                    .inside(flow.outside, flow.outside_port, flow.protocol)
                    .ok_or(Refusal::NoBinding)?;
                let key = Key6 {
                    inside: inside.address,
                    port: inside.port,
                    protocol: flow.protocol,
                    tenant: inside.tenant,
                };
                if self.find_binding6(&key).is_some() {
                    // The host's port has another binding, from before the mapping.
                    return Err(Refusal::NoBinding);
                }
                self.bind(rules, &key, now)?.0
            }
        };
        let fail = |shard: &mut Self, refusal| {
            if known.is_none() {
                shard.unbind(binding, (now, Reuse::AT_ONCE));
            }
            Err(refusal)
        };
        let Some(&bound) = self.bindings.get(binding) else { return Err(Refusal::NoBinding) };
        if !bound.is_open()
            && let Some(permits) = &self.permits
            && !permits.has(binding, flow.remote)
        {
            return fail(self, Refusal::Filtered);
        }
        if flow.protocol == Protocol::Tcp
            && (!flags.contains(TcpFlags::SYN)
                || flags.intersects(TcpFlags::RST.union(TcpFlags::FIN).union(TcpFlags::ACK)))
        {
            return fail(self, Refusal::NotSyn);
        }
        let Some(prefix) = rules.first_prefix(bound.tenant) else { return fail(self, Refusal::NoBinding) };
        let state = if flow.protocol == Protocol::Tcp { TcpState::V4Init } else { TcpState::None };
        match self.open(rules, binding, (flow.remote, flow.remote_port), prefix, state, now) {
            Ok(session) => Ok(Opened { session, binding_is_new: known.is_none(), block: None }),
            Err(refusal) => fail(self, refusal),
        }
    }

    pub(super) fn open(
        &mut self,
        rules: &Rules,
        binding_number: u32,
        remote: (Ip4Address, u16),
        prefix: u8,
        state: TcpState,
        now: Ticks,
    ) -> Result<u32, Refusal> {
        let (remote, remote_port) = remote;
        let binding = *self.bindings.get(binding_number).ok_or(Refusal::NoBinding)?;
        let subscriber = self.subscribers.get(binding.subscriber).ok_or(Refusal::NoBinding)?;
        if subscriber.sessions >= rules.limits.sessions {
            return Err(Refusal::SubscriberLimit);
        }
        if self.sessions.len() == self.sessions.capacity() {
            // There are as many timers as sessions, and no more.
            return Err(Refusal::TableFull);
        }
        let lifetime = match binding.protocol() {
            Protocol::Tcp => rules.timeouts.tcp_transitory,
            Protocol::Udp => rules.timeouts.udp,
            Protocol::Icmp => rules.timeouts.icmp,
        };
        let ends = now.wrapping_add(lifetime);
        let before = pseudo6(binding.inside, rules.prefix(prefix).embed(remote));
        let after = pseudo4(binding.outside, remote);
        let (ports_before, ports_after) =
            (Sum::new().add_u16(binding.inside_port), Sum::new().add_u16(binding.outside_port));
        let delta = if binding.protocol() == Protocol::Icmp {
            // RFC 4443 §2.3 has a pseudo header, RFC 792 has none.
            let protocol = Sum::new().add_u16(u16::from(IpProtocol::ICMP6.0));
            Delta::between(before.add_sum(protocol).add_sum(ports_before), ports_after)
        } else {
            Delta::between(before.add_sum(ports_before), after.add_sum(ports_after))
        };
        // The number is known only when the session is there, and the timer needs it.
        let timer = self.timers.start(ends.into(), u32::MAX);
        let session = Session {
            inside: binding.inside,
            outside: binding.outside,
            remote,
            inside_port: binding.inside_port,
            outside_port: binding.outside_port,
            remote_port,
            delta,
            pseudo_delta: Delta::between(before, after),
            protocol: binding.protocol,
            state: state as u8,
            prefix,
            tenant: binding.tenant,
            ends,
            began: now,
            binding: binding_number,
            timer,
            reserved: [0; 6],
        };
        let Ok(number) = self.sessions.insert(session) else {
            self.timers.stop(timer);
            return Err(Refusal::TableFull);
        };
        let (hash6, hash4) = (self.hash(&session.flow6()), self.hash(&session.flow4()));
        let first = self.sessions6.insert(hash6, number);
        let second = first.and_then(|()| self.sessions4.insert(hash4, number));
        if second.is_err() {
            if first.is_ok() {
                self.sessions6.remove(hash6, |found| found == number);
            }
            self.sessions.remove(number);
            self.timers.stop(timer);
            return Err(Refusal::TableFull);
        }
        self.timers.set_key(timer, number);
        self.count(|figures| figures.sessions[session.protocol() as usize] += 1);
        if let Some(binding) = self.bindings.get_mut(binding_number) {
            binding.sessions += 1;
            if let Some(subscriber) = self.subscribers.get_mut(binding.subscriber) {
                subscriber.sessions += 1;
            }
        }
        if let Some(permits) = &mut self.permits {
            permits.give(binding_number, remote);
        }
        Ok(number)
    }

    /// Makes a host's port a binding; its number, and the block that its subscriber was given for that.
    pub(super) fn bind(
        &mut self,
        rules: &Rules,
        key: &Key6,
        now: Ticks,
    ) -> Result<(u32, Option<u16>), Refusal> {
        let number = self.subscriber(rules, key)?;
        let bound = self.bind_for(rules, key, number, now);
        if bound.is_err() {
            self.forget_idle_subscriber(number);
        }
        bound
    }

    fn bind_for(
        &mut self,
        rules: &Rules,
        key: &Key6,
        subscriber_number: u32,
        now: Ticks,
    ) -> Result<(u32, Option<u16>), Refusal> {
        let subscriber = self.subscribers.get(subscriber_number).ok_or(Refusal::TableFull)?;
        if subscriber.bindings >= rules.limits.bindings {
            return Err(Refusal::SubscriberLimit);
        }
        let mut block = None;
        let given = rules.statics.outside(key.tenant, key.inside, key.port, key.protocol);
        let (outside, port) = match given {
            Some((outside, port)) => {
                let taken = self.find_binding4(&Key4 { outside, port, protocol: key.protocol });
                if taken.is_some() {
                    return Err(Refusal::NoPort);
                }
                (outside, port)
            }
            None if rules.blocks => {
                let (outside, port, new) = self.take_from_blocks(rules, key, subscriber_number, now)?;
                block = new;
                (outside, port)
            }
            None => self.take_port(rules, key, subscriber_number, now)?,
        };
        let binding = Binding {
            inside: key.inside,
            outside,
            inside_port: key.port,
            outside_port: port,
            sessions: 0,
            subscriber: subscriber_number,
            protocol: key.protocol as u8,
            flags: if given.is_some() { IS_STATIC } else { 0 },
            tenant: key.tenant,
            reserved: 0,
        };
        let release = |shard: &mut Self| {
            if !binding.is_static() {
                shard.ports.release(outside, key.protocol, port, (now, Reuse::AT_ONCE));
            }
            Refusal::TableFull
        };
        let Ok(number) = self.bindings.insert(binding) else { return Err(release(self)) };
        let (hash6, hash4) = (self.hash(&binding.key6()), self.hash(&binding.key4()));
        let first = self.bindings6.insert(hash6, number);
        if first.and_then(|()| self.bindings4.insert(hash4, number)).is_err() {
            if first.is_ok() {
                self.bindings6.remove(hash6, |found| found == number);
            }
            self.bindings.remove(number);
            return Err(release(self));
        }
        self.count(|figures| figures.bindings[key.protocol as usize] += 1);
        if let Some(subscriber) = self.subscribers.get_mut(subscriber_number) {
            subscriber.bindings += 1;
        }
        Ok((number, block))
    }

    /// The subscriber of a host, made if it is not known.
    fn subscriber(&mut self, rules: &Rules, key: &Key6) -> Result<u32, Refusal> {
        let address = rules.subscriber_of(key.inside);
        let hash = self.hash(&SubscriberKey(address, key.tenant));
        let is_it = |number| {
            let known = self.subscribers.get(number);
            known.is_some_and(|known| known.address == address && known.tenant == key.tenant)
        };
        if let Some(number) = self.subscribers_by_address.find(hash, is_it) {
            return Ok(number);
        }
        let outside = rules.tenant(key.tenant).pool_address(hash, 0).unwrap_or(Ip4Address::UNSPECIFIED);
        let new = Subscriber {
            address,
            tenant: key.tenant,
            outside,
            sessions: 0,
            bindings: 0,
            blocks: 0,
            last_block: 0,
            reserved: [0; 3],
        };
        let number = self.subscribers.insert(new).map_err(|_| Refusal::TableFull)?;
        if self.subscribers_by_address.insert(hash, number).is_err() {
            self.subscribers.remove(number);
            return Err(Refusal::TableFull);
        }
        Ok(number)
    }
}
