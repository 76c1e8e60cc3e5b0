//! Bindings that a host asks for itself (RFC 6887): each stands for as long as was said, without a packet, and lets anybody in.
//!
//! It is kept by a session with nobody, which no packet finds, and which ends in its time as others do.

use raddle_plugin_api::table::Memory;
use raddle_plugin_api::wire::{Ip4Address, Ip6Address};

use super::bib::{IS_ASKED, Key6};
use super::openings::{Opened, Refusal};
use super::port_hold::Reuse;
use super::rules::Rules;
use super::session::{ASKED, Flow6, Protocol};
use super::shard::{Shard, Ticks};
use super::tcp::TcpState;

/// A port that a host asks a binding for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The host.
    pub inside: Ip6Address,
    /// Its port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Number of its tenant.
    pub tenant: u8,
    /// What tells the host from others that claim to be it: part of a hash of what it has sent for that.
    pub secret: [u8; 6],
}

/// The binding that a host was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// The port outside.
    pub outside: (Ip4Address, u16),
    /// What was made for it, if it is new.
    pub opened: Option<Opened>,
}

/// Why a host is not given what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedRefusal {
    /// It asks about what somebody else has asked for.
    NotIts,
    /// As for a packet.
    Refused(Refusal),
}

impl<M: Memory> Shard<M> {
    /// Gives a host's port a binding for `lifetime`, or has the one that it has asked for stand so long from now on.
    ///
    /// # Errors
    /// See [`AskedRefusal`].
    pub fn ask(
        &mut self,
        rules: &Rules,
        asked: &Asked,
        lifetime: Ticks,
        now: Ticks,
    ) -> Result<Given, AskedRefusal> {
        let ends = now.wrapping_add(lifetime);
        if let Some(number) = self.find_asked(asked) {
            let session = self.sessions.get_mut(number).filter(|session| session.reserved == asked.secret);
            let session = session.ok_or(AskedRefusal::NotIts)?;
            session.ends = ends;
            self.timers.restart(session.timer, ends.into());
            return Ok(Given { outside: (session.outside, session.outside_port), opened: None });
        }
        let refused = AskedRefusal::Refused;
        let prefix = rules.first_prefix(asked.tenant).ok_or(refused(Refusal::NoBinding))?;
        let key = asked.key();
        let known = self.find_binding6(&key);
        let (binding, block) = match known {
            Some(binding) => (binding, None),
            None => self.bind(rules, &key, now).map_err(refused)?,
        };
        let nobody = (Ip4Address::UNSPECIFIED, 0);
        let opened = self.open(rules, binding, nobody, prefix, TcpState::None, now);
        if opened.is_err() && known.is_none() {
            self.unbind(binding, (now, Reuse::AT_ONCE));
        }
        let number = opened.map_err(refused)?;
        if let Some(binding) = self.bindings.get_mut(binding) {
            binding.flags |= IS_ASKED;
        }
        let session = self.sessions.get_mut(number).ok_or(refused(Refusal::TableFull))?;
        session.protocol |= ASKED;
        (session.reserved, session.ends) = (asked.secret, ends);
        self.timers.restart(session.timer, ends.into());
        let opened = Opened { session: number, binding_is_new: known.is_none(), block };
        Ok(Given { outside: (session.outside, session.outside_port), opened: Some(opened) })
    }

    /// The number of the session that keeps what a host has asked for, for it to be ended.
    ///
    /// # Errors
    /// Somebody else has asked for it.
    pub fn asked(&self, asked: &Asked) -> Result<Option<u32>, AskedRefusal> {
        let Some(number) = self.find_asked(asked) else { return Ok(None) };
        let is_its = self.sessions.get(number).is_some_and(|session| session.reserved == asked.secret);
        if is_its { Ok(Some(number)) } else { Err(AskedRefusal::NotIts) }
    }

    pub(super) fn find_asked(&self, asked: &Asked) -> Option<u32> {
        let flow = Flow6 {
            inside: asked.inside,
            inside_port: asked.port,
            remote: Ip4Address::UNSPECIFIED,
            remote_port: 0,
            protocol: asked.protocol,
            tenant: asked.tenant,
        };
        self.sessions6.find(self.hash(&flow), |number| {
            let session = self.sessions.get(number).filter(|session| session.is_asked());
            session.is_some_and(|session| session.flow6() == flow)
        })
    }
}

impl Asked {
    fn key(&self) -> Key6 {
        Key6 { inside: self.inside, port: self.port, protocol: self.protocol, tenant: self.tenant }
    }
}
