//! What the operator wants of each interface besides forwarding: source checks, martians, redirects.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::abi::MAX_INTERFACES;
use raddle_plugin_api::{Control, Failure, InterfaceChange, InterfaceEvent, InterfaceIndex};
use serde::{Deserialize, Serialize};

/// Features that are switched by a policy alone. The configuration names the policy, not them.
pub const FEATURES: [&str; 4] = ["ip4-urpf", "ip6-urpf", "ip4-martians", "ip6-martians"];

/// How the way back to a packet's source is checked (RFC 3704).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UrpfMode {
    /// Not at all.
    #[default]
    Off = 0,
    /// There must be a route to it, by whatever interface (RFC 3704 §2.4).
    Loose = 1,
    /// A path of the route to it must lead out by the interface that the packet came in by (RFC 3704 §2.2, §2.3).
    Strict = 2,
}

impl UrpfMode {
    const fn from_bits(bits: u32) -> Self {
        match bits & 3 {
            2 => Self::Strict,
            1 => Self::Loose,
            _ => Self::Off,
        }
    }
}

impl std::fmt::Display for UrpfMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Off => "off",
            Self::Loose => "loose",
            Self::Strict => "strict",
        })
    }
}

/// The policy of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPolicy {
    /// Check of IPv4 sources.
    pub ip4_urpf: UrpfMode,
    /// Check of IPv6 sources.
    pub ip6_urpf: UrpfMode,
    /// Whether the default route counts as a route to a source (RFC 3704 §2.5 is without).
    pub urpf_allow_default: bool,
    /// Whether senders are told that the check failed (RFC 4443 §3.1 code 5; RFC 1812 §5.2.7.1 code 13).
    pub urpf_notify: bool,
    /// Whether redirects are sent to hosts on the link.
    pub redirects: bool,
    /// Whether special-purpose addresses are checked; `None`: as on all interfaces.
    pub martians: Option<bool>,
    /// Whether IPv4 groups are reported to the link's routers.
    pub igmp: bool,
    /// Whether IPv6 groups are reported to the link's routers.
    pub mld: bool,
}

impl Default for PortPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

const IP6_SHIFT: u32 = 2;
const ALLOW_DEFAULT: u32 = 1 << 4;
const NOTIFY: u32 = 1 << 5;
const REDIRECTS: u32 = 1 << 6;

impl PortPolicy {
    const DEFAULT: Self = Self {
        ip4_urpf: UrpfMode::Off,
        ip6_urpf: UrpfMode::Off,
        urpf_allow_default: true,
        urpf_notify: false,
        redirects: true,
        martians: None,
        igmp: true,
        mld: true,
    };

    /// What packets need to know, in a word.
    const fn bits(self) -> u32 {
        self.ip4_urpf as u32
            | (self.ip6_urpf as u32) << IP6_SHIFT
            | if self.urpf_allow_default { ALLOW_DEFAULT } else { 0 }
            | if self.urpf_notify { NOTIFY } else { 0 }
            | if self.redirects { REDIRECTS } else { 0 }
    }
}

/// An interface's policy as its packets see it.
#[derive(Clone, Copy, Debug)]
pub struct PolicyWord(u32);

impl PolicyWord {
    /// Check of IPv4 sources.
    pub const fn ip4_urpf(self) -> UrpfMode {
        UrpfMode::from_bits(self.0)
    }

    /// Check of IPv6 sources.
    pub const fn ip6_urpf(self) -> UrpfMode {
        UrpfMode::from_bits(self.0 >> IP6_SHIFT)
    }

    /// Whether the default route counts as a route to a source.
    pub const fn urpf_allow_default(self) -> bool {
        self.0 & ALLOW_DEFAULT != 0
    }

    /// Whether senders are told that the source check failed.
    pub const fn urpf_notify(self) -> bool {
        self.0 & NOTIFY != 0
    }

    /// Whether redirects are sent.
    #[inline(always)]
    pub const fn redirects(self) -> bool {
        self.0 & REDIRECTS != 0
    }
}

/// The policies of all interfaces. A resource of the core: the main thread writes, workers read a word.
pub struct PortPolicies {
    words: Box<[AtomicU32]>,
    changed: Mutex<BTreeMap<InterfaceIndex, PortPolicy>>,
    martians: AtomicBool,
}

impl Default for PortPolicies {
    fn default() -> Self {
        let word = PortPolicy::default().bits();
        Self {
            words: (0..MAX_INTERFACES).map(|_| AtomicU32::new(word)).collect(),
            changed: Mutex::default(),
            martians: AtomicBool::new(false),
        }
    }
}

impl PortPolicies {
    /// The interface's policy, for its packets. What has no interface gets no redirects.
    #[inline(always)]
    pub fn word(&self, interface: InterfaceIndex) -> PolicyWord {
        let none = const { PortPolicy { redirects: false, ..PortPolicy::DEFAULT }.bits() };
        PolicyWord(self.words.get(interface.0 as usize).map_or(none, |word| word.load(Ordering::Relaxed)))
    }

    /// The interface, if redirects are sent there: what comes in and leaves by it goes the way on which they are made.
    #[inline(always)]
    pub fn redirecting(&self, interface: InterfaceIndex) -> InterfaceIndex {
        if self.word(interface).redirects() { interface } else { InterfaceIndex::NONE }
    }

    /// The interface's policy, for the operator.
    pub fn get(&self, interface: InterfaceIndex) -> PortPolicy {
        self.changed().get(&interface).copied().unwrap_or_default()
    }

    /// Whether martians are checked on interfaces that say nothing of it.
    pub fn checks_martians(&self) -> bool {
        self.martians.load(Ordering::Relaxed)
    }

    /// Changes the policy of an interface, and switches its features accordingly.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn change(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        change: impl FnOnce(&mut PortPolicy),
    ) -> Result<(), Failure> {
        let mut policy = self.get(interface);
        change(&mut policy);
        self.switch(control, interface, &policy)?;
        if let Some(word) = self.words.get(interface.0 as usize) {
            word.store(policy.bits(), Ordering::Relaxed);
        }
        self.changed().insert(interface, policy);
        Ok(())
    }

    /// Whether martians are checked on all interfaces that say nothing else of it.
    ///
    /// # Errors
    /// A feature cannot be switched.
    pub fn check_martians(&self, control: &Control<'_>, check: bool) -> Result<(), Failure> {
        self.martians.store(check, Ordering::Relaxed);
        for interface in control.interfaces()? {
            self.switch(control, interface.index, &self.get(interface.index))?;
        }
        Ok(())
    }

    /// What has become of an interface: a new one begins with the usual policy.
    ///
    /// # Errors
    /// A feature cannot be switched.
    pub fn interface_changed(&self, control: &Control<'_>, event: &InterfaceEvent) -> Result<(), Failure> {
        let interface = event.interface.index;
        match event.change {
            InterfaceChange::Deleted => {
                self.changed().remove(&interface);
                if let Some(word) = self.words.get(interface.0 as usize) {
                    word.store(PortPolicy::default().bits(), Ordering::Relaxed);
                }
                Ok(())
            }
            InterfaceChange::Created if self.checks_martians() => {
                self.switch(control, interface, &self.get(interface))
            }
            _ => Ok(()),
        }
    }

    fn switch(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        policy: &PortPolicy,
    ) -> Result<(), Failure> {
        let martians = policy.martians.unwrap_or_else(|| self.checks_martians());
        let wanted = [policy.ip4_urpf != UrpfMode::Off, policy.ip6_urpf != UrpfMode::Off, martians, martians];
        for (feature, enabled) in FEATURES.into_iter().zip(wanted) {
            control.set_feature(interface, feature, enabled)?;
        }
        Ok(())
    }

    fn changed(&self) -> MutexGuard<'_, BTreeMap<InterfaceIndex, PortPolicy>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_what_the_policy_says() {
        for ip4_urpf in [UrpfMode::Off, UrpfMode::Loose, UrpfMode::Strict] {
            for ip6_urpf in [UrpfMode::Off, UrpfMode::Loose, UrpfMode::Strict] {
                for flags in 0..8 {
                    let policy = PortPolicy {
                        ip4_urpf,
                        ip6_urpf,
                        urpf_allow_default: flags & 1 != 0,
                        urpf_notify: flags & 2 != 0,
                        redirects: flags & 4 != 0,
                        ..PortPolicy::default()
                    };
                    let word = PolicyWord(policy.bits());
                    assert_eq!((word.ip4_urpf(), word.ip6_urpf()), (ip4_urpf, ip6_urpf));
                    assert_eq!(word.urpf_allow_default(), policy.urpf_allow_default);
                    assert_eq!(word.urpf_notify(), policy.urpf_notify);
                    assert_eq!(word.redirects(), policy.redirects);
                }
            }
        }
    }

    #[test]
    fn what_has_no_interface_gets_no_redirects() {
        let policies = PortPolicies::default();
        assert!(policies.word(InterfaceIndex(1)).redirects());
        assert!(!policies.word(InterfaceIndex::NONE).redirects());
        assert_eq!(policies.redirecting(InterfaceIndex(1)), InterfaceIndex(1));
    }
}
