//! Hosts outside that a binding lets in, where only those may come to whom a session of it has gone (RFC 6146 §3.5.1: address-dependent
//! filtering).

use raddle_plugin_api::state::Arena;
use raddle_plugin_api::table::{HashIndex, HashSeed, IndexFull, Kept, Memory, Own, Slab};
use raddle_plugin_api::wire::Ip4Address;
use zerocopy::{FromBytes, Immutable, IntoBytes};

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Permit {
    binding: u32,
    remote: Ip4Address,
    /// Sessions of the binding with that host.
    sessions: u32,
}

/// All of them.
pub struct Permits<M: Memory = Own> {
    seed: HashSeed,
    permits: Slab<Permit, M>,
    index: HashIndex<M>,
}

impl Permits {
    /// None yet.
    ///
    /// # Errors
    /// There is no address space for them.
    pub fn new(most: u32, seed: HashSeed) -> Result<Self, IndexFull> {
        let permits = Slab::try_with_capacity(most).ok_or(IndexFull)?;
        Ok(Self { seed, permits, index: HashIndex::with_capacity(most as usize)? })
    }
}

impl<'m> Permits<Kept<'m>> {
    /// As another version of the plugin left them.
    pub fn kept(arena: &mut Arena<'m>, most: u32, seed: HashSeed) -> Self {
        Self { seed, permits: Slab::kept(arena, most), index: HashIndex::kept(arena, most as usize) }
    }
}

impl<M: Memory> Permits<M> {
    /// Whether a host may come in.
    pub fn has(&self, binding: u32, remote: Ip4Address) -> bool {
        self.find(binding, remote).is_some()
    }

    /// A session with that host has begun. Where there is no room, it does not count: there is one for each session.
    pub fn give(&mut self, binding: u32, remote: Ip4Address) {
        if let Some(permit) = self.find(binding, remote).and_then(|number| self.permits.get_mut(number)) {
            permit.sessions += 1;
            return;
        }
        let Ok(number) = self.permits.insert(Permit { binding, remote, sessions: 1 }) else { return };
        if self.index.insert(self.hash(binding, remote), number).is_err() {
            self.permits.remove(number);
        }
    }

    /// A session with that host is over.
    pub fn take_back(&mut self, binding: u32, remote: Ip4Address) {
        let Some(number) = self.find(binding, remote) else { return };
        let Some(permit) = self.permits.get_mut(number) else { return };
        permit.sessions -= 1;
        if permit.sessions == 0 {
            self.permits.remove(number);
            self.index.remove(self.hash(binding, remote), |found| found == number);
        }
    }

    fn find(&self, binding: u32, remote: Ip4Address) -> Option<u32> {
        let is_it = |number| {
            let permit = self.permits.get(number);
            permit.is_some_and(|permit| permit.binding == binding && permit.remote == remote)
        };
        self.index.find(self.hash(binding, remote), is_it)
    }

    fn hash(&self, binding: u32, remote: Ip4Address) -> u64 {
        self.seed.hash([u64::from(binding) << 32 | u64::from(remote.to_bits())])
    }
}
