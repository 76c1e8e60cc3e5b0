//! The trials of addresses as a state machine: events, time and chance in, effects out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use raddle_plugin_api::wire::MacAddress;

use crate::net::neighbor::{NeighborKey, Random};

const SECOND_NS: u64 = 1_000_000_000;
/// RFC 4862 §5.4.2: the first solicitation waits up to MAX_RTR_SOLICITATION_DELAY, so that not all start at once.
const MAX_DELAY6_NS: u64 = SECOND_NS;
/// RFC 5227 §1.1 has 1 s for PROBE_WAIT, 1 to 2 s between probes and 2 s for ANNOUNCE_WAIT. That would keep a gateway from its
/// work for 5 to 7 s at every start; a station that is there answers a probe within milliseconds, and one that does not is
/// found out by the defence. So the waits are shorter here.
const MAX_DELAY4_NS: u64 = SECOND_NS / 5;
const PROBE_INTERVAL_NS: u64 = SECOND_NS;
const ANNOUNCE_WAIT_NS: u64 = SECOND_NS / 2;
/// RFC 7527 §4.1: further probes after one that was looped back (MAX_MULTICAST_SOLICIT).
const PROBES_AFTER_LOOP: u32 = 3;
/// ANNOUNCE_INTERVAL (RFC 5227 §1.1), also for unsolicited advertisements.
const ANNOUNCE_INTERVAL_NS: u64 = 2 * SECOND_NS;
/// DEFEND_INTERVAL (RFC 5227 §1.1).
const DEFEND_INTERVAL_NS: u64 = 10 * SECOND_NS;
/// How long until a duplicate address is tried again.
const RETRY_NS: u64 = 60 * SECOND_NS;
/// Own nonces that are remembered of one trial.
const MAX_NONCES: usize = 4;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Ask whether somebody has the address.
    Probe {
        /// Which.
        key: NeighborKey,
        /// By what the question is known again.
        nonce: [u8; 6],
    },
    /// Nobody else has it: it may be used.
    Unique {
        /// Which.
        key: NeighborKey,
    },
    /// Somebody else has it.
    Duplicate {
        /// Which.
        key: NeighborKey,
        /// Who, if it was told.
        holder: Option<MacAddress>,
        /// This is news.
        first: bool,
    },
    /// Tell the link of an address in use once more.
    Announce {
        /// Which.
        key: NeighborKey,
    },
    /// Somebody else uses an address in use: tell the link whose it is.
    Defend {
        /// Which.
        key: NeighborKey,
        /// Who, if it was told.
        holder: Option<MacAddress>,
    },
    /// The link gives back what is sent to it (RFC 7527): the address cannot be told to be unique as yet.
    Looped {
        /// Which.
        key: NeighborKey,
    },
}

/// What was heard of an own address from somebody else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// He has it.
    Claim,
    /// He tries it too, with this nonce (its first six bytes), if there is one.
    Probe(Option<[u8; 6]>),
}

/// Addresses that are tried, and those in use that somebody else claims.
#[derive(Debug, Default)]
pub struct Detection {
    trials: BTreeMap<NeighborKey, Trial>,
    announcements: BTreeMap<NeighborKey, u64>,
    defended: HashMap<NeighborKey, u64>,
}

#[derive(Debug)]
struct Trial {
    transmits: u32,
    interval_ns: u64,
    left: u32,
    due_ns: u64,
    nonces: Vec<[u8; 6]>,
    looped: bool,
    /// Somebody has it: `due_ns` is when it is tried again.
    is_duplicate: bool,
    /// It was a duplicate before.
    retried: bool,
}

impl Detection {
    /// Begins to try an address by `transmits` questions, `interval_ns` apart (RetransTimer; IPv6 only).
    pub fn begin(
        &mut self,
        now_ns: u64,
        key: NeighborKey,
        transmits: u32,
        interval_ns: u64,
        random: &mut Random,
    ) {
        let trial = Trial {
            transmits,
            interval_ns: if key.address.is_ipv4() { PROBE_INTERVAL_NS } else { interval_ns },
            left: transmits,
            due_ns: now_ns.saturating_add(random.up_to(max_delay(key.address))),
            nonces: Vec::new(),
            looped: false,
            is_duplicate: false,
            retried: false,
        };
        self.trials.insert(key, trial);
    }

    /// Forgets an address: it is gone, or its interface is down.
    pub fn end(&mut self, key: &NeighborKey) {
        self.trials.remove(key);
        self.announcements.remove(key);
        self.defended.remove(key);
    }

    /// An address came into use and was announced: it is so once more (RFC 5227 §2.3, RFC 4861 §7.2.6).
    pub fn announced(&mut self, now_ns: u64, key: NeighborKey) {
        self.announcements.insert(key, now_ns.saturating_add(ANNOUNCE_INTERVAL_NS));
    }

    /// The addresses that are being tried now.
    pub fn tried(&self) -> impl Iterator<Item = NeighborKey> {
        self.trials.iter().filter(|(_, trial)| !trial.is_duplicate).map(|(key, _)| *key)
    }

    /// When [`Detection::expire`] has something to do next.
    pub fn next_ns(&self) -> Option<u64> {
        let trials = self.trials.values().map(|trial| trial.due_ns);
        trials.chain(self.announcements.values().copied()).min()
    }

    /// Somebody else said something of an address that is tried (RFC 5227 §2.1.1, RFC 4862 §5.4.3 and §5.4.4).
    pub fn heard_of_tried(
        &mut self,
        now_ns: u64,
        key: NeighborKey,
        word: Word,
        holder: Option<MacAddress>,
        out: &mut Vec<Effect>,
    ) {
        let Some(trial) = self.trials.get_mut(&key).filter(|trial| !trial.is_duplicate) else { return };
        if let Word::Probe(Some(nonce)) = word
            && trial.nonces.contains(&nonce)
        {
            // RFC 7527 §4.2: our own question, looped back.
            if !trial.looped {
                out.push(Effect::Looped { key });
            }
            trial.looped = true;
            return;
        }
        out.push(Effect::Duplicate { key, holder, first: !trial.retried });
        trial.is_duplicate = true;
        trial.due_ns = now_ns.saturating_add(RETRY_NS);
    }

    /// Somebody else claims an address in use. It is defended, but no more often than every ten seconds: two who both hold on to it
    /// do not flood the link (RFC 5227 §2.4 c).
    pub fn heard_of_used(
        &mut self,
        now_ns: u64,
        key: NeighborKey,
        holder: Option<MacAddress>,
        out: &mut Vec<Effect>,
    ) {
        let last = self.defended.get(&key);
        if last.is_none_or(|last| now_ns.saturating_sub(*last) >= DEFEND_INTERVAL_NS) {
            self.defended.insert(key, now_ns);
            out.push(Effect::Defend { key, holder });
        }
    }

    /// Does what is due by now.
    pub fn expire(&mut self, now_ns: u64, random: &mut Random, out: &mut Vec<Effect>) {
        let due: Vec<_> =
            self.trials.iter().filter(|(_, trial)| trial.due_ns <= now_ns).map(|(key, _)| *key).collect();
        for key in due {
            self.expire_trial(now_ns, key, random, out);
        }
        let due = self.announcements.extract_if(.., |_, due| *due <= now_ns);
        out.extend(due.map(|(key, _)| Effect::Announce { key }));
    }

    fn expire_trial(&mut self, now_ns: u64, key: NeighborKey, random: &mut Random, out: &mut Vec<Effect>) {
        // Whose key was just found.
        let Some(trial) = self.trials.get_mut(&key) else { return };
        if trial.is_duplicate {
            trial.is_duplicate = false;
            trial.retried = true;
            trial.left = trial.transmits;
        }
        if trial.left == 0 && trial.looped {
            (trial.left, trial.looped) = (PROBES_AFTER_LOOP, false);
        }
        if trial.left == 0 {
            self.trials.remove(&key);
            out.push(Effect::Unique { key });
            return;
        }
        trial.left -= 1;
        let nonce = random.nonce();
        if trial.nonces.len() >= MAX_NONCES {
            trial.nonces.remove(0);
        }
        trial.nonces.push(nonce);
        let wait_ns = match key.address {
            IpAddr::V4(_) if trial.left == 0 => ANNOUNCE_WAIT_NS,
            _ => trial.interval_ns,
        };
        trial.due_ns = now_ns.saturating_add(wait_ns);
        out.push(Effect::Probe { key, nonce });
    }
}

fn max_delay(address: IpAddr) -> u64 {
    if address.is_ipv4() { MAX_DELAY4_NS } else { MAX_DELAY6_NS }
}
