//! What happened, and what a thread notes of it.

use std::sync::mpsc::SyncSender;
use std::time::SystemTime;

use raddle_plugin_api::Worker;
use raddle_plugin_api::table::Kept;
use raddle_plugin_api::wire::{Ip4Address, Ip6Address};

use crate::service::{Count, Nat64, TICKS_PER_SECOND};
use crate::state::{Binding, Ended, Flow6, Opened, Protocol, Refusal, Rules, Session, Shard, Ticks};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A session began.
    SessionCreated,
    /// A session is over.
    SessionDeleted,
    /// A host's port was given a port outside.
    BindingCreated,
    /// It has it no more.
    BindingDeleted,
    /// A subscriber was given a block of ports.
    BlockAllocated,
    /// It has it no more.
    BlockReleased,
    /// No port was left for a host.
    PortsExhausted,
    /// There was no room for one more session.
    TableFull,
    /// A subscriber has as much as it may.
    SubscriberLimit,
    /// There are as many bindings as the operator wants to be told of.
    MappingsHigh,
    /// A subscriber has as many bindings as the operator wants to be told of.
    SubscriberMappingsHigh,
    /// As many addresses of a pool are in use as the operator wants to be told of.
    PoolHigh,
    /// No more of them are in use again.
    PoolLow,
}

impl EventKind {
    /// Its name: the message id of syslog.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SessionCreated => "session-created",
            Self::SessionDeleted => "session-deleted",
            Self::BindingCreated => "binding-created",
            Self::BindingDeleted => "binding-deleted",
            Self::BlockAllocated => "block-allocated",
            Self::BlockReleased => "block-released",
            Self::PortsExhausted => "ports-exhausted",
            Self::TableFull => "table-full",
            Self::SubscriberLimit => "subscriber-limit",
            Self::MappingsHigh => "mappings-high",
            Self::SubscriberMappingsHigh => "subscriber-mappings-high",
            Self::PoolHigh => "pool-high",
            Self::PoolLow => "pool-low",
        }
    }

    /// Whether it is of a host or a subscriber, and not of all of them.
    pub const fn has_inside(self) -> bool {
        !matches!(self, Self::MappingsHigh | Self::PoolHigh | Self::PoolLow)
    }

    /// Whether it is of a port outside.
    pub const fn has_outside(self) -> bool {
        !matches!(self, Self::PortsExhausted | Self::TableFull | Self::SubscriberLimit)
            && !self.is_threshold()
    }

    /// Whether it says that a mark was reached (RFC 8158 §4.3).
    pub const fn is_threshold(self) -> bool {
        matches!(self, Self::MappingsHigh | Self::SubscriberMappingsHigh | Self::PoolHigh | Self::PoolLow)
    }
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// What.
    pub kind: EventKind,
    /// Number of the tenant.
    pub tenant: u8,
    /// Protocol; none of blocks.
    pub protocol: Option<Protocol>,
    /// The inside host and its port.
    pub inside: (Ip6Address, u16),
    /// The pool address and the port; of a block its first one.
    pub outside: (Ip4Address, u16),
    /// Of a session: whom it talks to, outside and as it is known inside, and the port.
    pub remote: Option<(Ip4Address, Ip6Address, u16)>,
    /// Ports of a block, the limit that was met, or the mark that was reached.
    pub amount: u32,
}

impl Event {
    /// Of a session.
    fn of_session(kind: EventKind, rules: &Rules, session: &Session) -> Self {
        let remote6 = rules.prefix(session.prefix).embed(session.remote);
        Self {
            at: SystemTime::now(),
            kind,
            tenant: session.tenant,
            protocol: Some(session.protocol()),
            inside: (session.inside, session.inside_port),
            outside: (session.outside, session.outside_port),
            remote: Some((session.remote, remote6, session.remote_port)),
            amount: 0,
        }
    }

    /// Of a binding, or of a block that it was or is in.
    fn of_binding(kind: EventKind, binding: &Binding) -> Self {
        Self {
            at: SystemTime::now(),
            kind,
            tenant: binding.tenant,
            protocol: Some(binding.protocol()),
            inside: (binding.inside, binding.inside_port),
            outside: (binding.outside, binding.outside_port),
            remote: None,
            amount: 0,
        }
    }

    /// Of a mark that was reached, by all of a tenant's hosts or by a subscriber.
    pub fn of_threshold(kind: EventKind, tenant: u8, subscriber: Ip6Address, amount: u32) -> Self {
        Self {
            at: SystemTime::now(),
            kind,
            tenant,
            protocol: None,
            inside: (subscriber, 0),
            outside: (Ip4Address::UNSPECIFIED, 0),
            remote: None,
            amount,
        }
    }

    /// The same, of a block of so many ports from `first` on.
    fn of_block(self, kind: EventKind, first: u16, size: u32) -> Self {
        let (inside, outside) = ((self.inside.0, 0), (self.outside.0, first));
        Self { kind, protocol: None, inside, outside, remote: None, amount: size, ..self }
    }
}

/// A thread's end of the log.
#[derive(Default)]
pub struct SessionLog {
    sender: Option<SyncSender<Event>>,
    logs_sessions: bool,
    /// Bindings of a subscriber at which the log says so, each time that a new one makes it as many; 0: never.
    subscriber_mark: u32,
    /// When the last refusal of each kind was noted, as they may be as many as packets.
    refused: [Option<Ticks>; 3],
}

impl SessionLog {
    /// An end that notes bindings, or sessions too, and when a new binding makes a subscriber have
    /// `subscriber_mark` of them.
    pub fn new(sender: Option<SyncSender<Event>>, logs_sessions: bool, subscriber_mark: u32) -> Self {
        Self { sender, logs_sessions, subscriber_mark, refused: [None; 3] }
    }

    /// Ends it.
    pub fn close(&mut self) {
        self.sender = None;
    }

    fn send(&self, nat: &Nat64, worker: &Worker<'_>, event: Event) {
        if self.sender.as_ref().is_some_and(|log| log.try_send(event).is_err()) {
            nat.count(worker, Count::LogLost, 1);
        }
    }

    /// Notes a new session, and what was made for it.
    pub fn opened(&self, nat: &Nat64, worker: &Worker<'_>, shard: &Shard<Kept<'_>>, opened: &Opened) {
        if self.sender.is_none() {
            return;
        }
        let Some(session) = shard.session(opened.session) else { return };
        let event = Event::of_session(EventKind::SessionCreated, nat.rules.read(worker), session);
        if let Some(first) = opened.block {
            self.send(nat, worker, event.of_block(EventKind::BlockAllocated, first, 1 << nat.share_bits));
        } else if opened.binding_is_new {
            self.send(nat, worker, Event { remote: None, kind: EventKind::BindingCreated, ..event });
        }
        if self.logs_sessions && !session.is_asked() {
            self.send(nat, worker, event);
        }
        // There is no low mark to be kept with each subscriber: one who goes below it and comes back is told of again.
        if opened.binding_is_new
            && let Some(subscriber) = shard.subscriber_of_session(opened.session)
            && subscriber.bindings == self.subscriber_mark
        {
            let kind = EventKind::SubscriberMappingsHigh;
            let amount = self.subscriber_mark;
            self.send(nat, worker, Event::of_threshold(kind, subscriber.tenant, subscriber.address, amount));
        }
    }

    /// Notes the end of a session, and what ended with it.
    pub fn ended(&self, nat: &Nat64, worker: &Worker<'_>, ended: &Ended) {
        if self.sender.is_none() {
            return;
        }
        if self.logs_sessions && !ended.session.is_asked() {
            let rules = nat.rules.read(worker);
            self.send(nat, worker, Event::of_session(EventKind::SessionDeleted, rules, &ended.session));
        }
        let Some(binding) = &ended.binding else { return };
        let event = Event::of_binding(EventKind::BindingDeleted, binding);
        self.send(
            nat,
            worker,
            match ended.block {
                Some(first) => event.of_block(EventKind::BlockReleased, first, 1 << nat.share_bits),
                None => event,
            },
        );
    }

    /// Notes that a packet of a host inside was refused a session: once a second of each reason.
    pub fn refused(&mut self, nat: &Nat64, worker: &Worker<'_>, flow: &Flow6, refusal: Refusal, now: Ticks) {
        if self.sender.is_none() {
            return;
        }
        let rules = nat.rules.read(worker);
        let (kind, amount) = match refusal {
            Refusal::NoPort => (EventKind::PortsExhausted, 0),
            Refusal::TableFull => (EventKind::TableFull, nat.most_sessions),
            Refusal::SubscriberLimit => {
                let limits = rules.limits;
                (EventKind::SubscriberLimit, limits.sessions.min(limits.bindings))
            }
            _ => return,
        };
        let last = &mut self.refused[kind as usize - EventKind::PortsExhausted as usize];
        if last.is_some_and(|last| now.wrapping_sub(last) < TICKS_PER_SECOND) {
            return;
        }
        *last = Some(now);
        let outside = rules.tenant(flow.tenant).pool_address(0, 0).unwrap_or(Ip4Address::UNSPECIFIED);
        let event = Event {
            at: SystemTime::now(),
            kind,
            tenant: flow.tenant,
            protocol: Some(flow.protocol),
            inside: (flow.inside, flow.inside_port),
            outside: (outside, 0),
            remote: None,
            amount,
        };
        self.send(nat, worker, event);
    }
}
