//! Which thread looks after which receive queue, and how one moves.

use raddle_plugin_api::{Failure, bail, failure};
use serde::{Deserialize, Serialize};

use super::engine::Engine;
use super::interfaces::watch;
use super::methods::thread_name;
use crate::runtime::{RxMode, RxState};

/// A receive queue in its place, for `show interface rx-placement`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RxPlacement {
    /// The interface.
    pub interface: String,
    /// The queue's number there.
    pub queue: u32,
    /// The thread: 0 is the main thread, workers count from 1.
    pub thread: u32,
    /// Its name.
    pub thread_name: String,
    /// How the queue is looked after.
    pub mode: RxMode,
    /// What its thread does at present.
    pub state: RxState,
    /// How often an adaptive queue has gone from one state to the other.
    pub switches: u64,
}

impl Engine {
    /// The receive queues of all interfaces, each with its thread.
    pub fn rx_placements(&self) -> Vec<RxPlacement> {
        let interfaces = self.interfaces.borrow();
        let of = |interface: &crate::interface::Interface| {
            let name = interface.name.clone();
            let queues = interface.placement.clone().into_iter().zip(interface.rx_status.clone());
            queues.enumerate().map(move |(queue, (thread, status))| RxPlacement {
                interface: name.clone(),
                queue: queue as u32,
                thread: thread as u32,
                thread_name: thread_name(thread),
                mode: status.mode(),
                state: status.state(),
                switches: status.switches(),
            })
        };
        interfaces.iter().flat_map(|(_, interface)| of(interface)).collect()
    }

    /// Moves a receive queue to another thread, behind the barrier. Packets that wait in it are taken by the new thread.
    ///
    /// # Errors
    /// There is no such interface, queue or thread.
    pub fn move_rx_queue(&self, index: u32, queue: u32, to: usize) -> Result<(), Failure> {
        let threads = self.threads.borrow().count();
        if to >= threads {
            bail!("there is no thread {to}; threads are 0 (main) to {}", threads - 1);
        }
        let mut interfaces = self.interfaces.borrow_mut();
        let interface =
            interfaces.get_mut(index).ok_or_else(|| failure!("there is no interface with index {index}"))?;
        let count = interface.placement.len();
        let Some(place) = interface.placement.get_mut(queue as usize) else {
            bail!("interface `{}` has no receive queue {queue}; it has {count}, from 0 on", interface.name);
        };
        let from = *place;
        if from == to {
            return Ok(());
        }
        let mut all = self.threads.borrow_mut();
        let pollers: Vec<_> = all.all_shared().map(|shared| shared.poller.clone()).collect();
        let mut held = all.hold("interface rx placement");
        let slots = held.thread(from).rx_mut();
        let found = slots.iter().position(|slot| slot.interface == index && slot.number == queue);
        let Some(position) = found else {
            bail!("receive queue {queue} of interface `{}` is not in use", interface.name);
        };
        let mut slot = slots.remove(position);
        slot.attention.call();
        watch(&pollers[from], &slot, false);
        watch(&pollers[to], &slot, slot.enabled);
        held.thread(to).rx_mut().push(slot);
        *place = to;
        drop(held);
        // Its new thread looks at it, whatever it slept on.
        pollers[to].wake();
        Ok(())
    }
}
