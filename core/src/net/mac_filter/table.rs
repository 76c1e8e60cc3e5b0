//! The further addresses of interfaces as `ethernet-input` looks them up.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use raddle_plugin_api::sync::Published;
use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{Control, InterfaceIndex, Worker};

/// Stands for all groups by which neighbours are asked for. No address: those have 48 bits.
pub(super) const ALL_SOLICITED: u64 = u64::MAX;
/// What those groups begin with: 33:33:ff.
const SOLICITED: u64 = 0x00ff_3333;
const SOLICITED_MASK: u64 = 0x00ff_ffff;

/// The further addresses at any moment: of interfaces that have stations besides their own, or filter groups.
pub struct MacTable {
    /// Sorted, in the form of [`word`]; [`ALL_SOLICITED`] among them.
    lists: Published<HashMap<InterfaceIndex, Arc<[u64]>>>,
}

impl MacTable {
    /// No addresses.
    pub fn new(control: &Control<'_>) -> Self {
        Self { lists: Published::new(control, HashMap::new()) }
    }

    /// Whether the interface takes frames for this address too; `mac` as [`word`] gives it. For workers.
    pub fn contains(&self, worker: &Worker<'_>, interface: InterfaceIndex, mac: u64) -> bool {
        let lists = self.lists.read(worker);
        let Some(list) = lists.get(&interface) else { return false };
        // The mark is the largest, and so the last.
        list.binary_search(&mac).is_ok()
            || (mac & SOLICITED_MASK == SOLICITED && list.last() == Some(&ALL_SOLICITED))
    }

    /// These are the interface's further addresses from now on.
    pub(super) fn set(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        addresses: impl Iterator<Item = u64>,
    ) {
        let mut list: Vec<u64> = addresses.collect();
        list.sort_unstable();
        let mut lists = self.lists.get(control).clone();
        if list.is_empty() {
            lists.remove(&interface);
        } else {
            lists.insert(interface, list.into());
        }
        self.lists.publish(control, lists);
    }
}

/// An address as the low six bytes of a word, the first octet lowest: as in an interface's row, and as the head of a frame reads
/// on a little-endian machine.
pub const fn word(mac: MacAddress) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}
