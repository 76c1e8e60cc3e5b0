//! Receive and transmit queues of interfaces: into the threads, and out of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use raddle_plugin_api::driver::Properties;
use raddle_plugin_api::{Failure, bail, failure};

use super::life::is_passing;
use crate::graph::DROP_NODE;
use crate::host::Engine;
use crate::runtime::{Attention, Poller, RxMode, RxSlot, RxStatus, TxSlot};

impl Engine {
    /// Takes the device's queues and puts them into the threads.
    pub(super) fn place_queues(&self, index: u32) {
        let (queues, driver, modes, is_faulty, entry) = {
            let interfaces = self.interfaces.borrow();
            let Some(interface) = interfaces.get(index) else { return };
            let Properties { rx_queues, fault, mac, .. } = &interface.properties;
            // Without an Ethernet header packets begin with that of IP.
            let entry = if mac.is_some() { "ethernet-input" } else { "ip-input" };
            (*rx_queues, interface.driver.clone(), interface.rx_modes.clone(), fault.is_some(), entry)
        };
        let Ok(driver) = self.driver(&driver) else { return };
        if !driver.has_queues {
            return;
        }
        let threads = self.threads.borrow().count();
        let taken = self.with_device(index, |device| {
            let rx: Vec<_> =
                (0..queues).filter_map(|number| Some((number, device.rx_queue(number)?))).collect();
            let tx: Vec<_> = (0..threads as u32).map(|thread| device.tx_queue(thread)).collect();
            Ok((rx, tx))
        });
        let Ok((rx, tx)) = taken else { return };
        let target = self.graph.borrow().find(entry).unwrap_or(DROP_NODE);
        let enabled = {
            let interfaces = self.interfaces.borrow();
            is_passing(interfaces.row(index).flags.load(Ordering::Relaxed))
        };
        let (mut placement, mut rx_status) = (Vec::new(), Vec::new());
        {
            let mut all = self.threads.borrow_mut();
            let pollers: Vec<_> = all.all_shared().map(|shared| shared.poller.clone()).collect();
            let mut held = all.hold("interface queues");
            for (number, queue) in rx {
                let thread = self.next_rx_place(threads);
                let status = Arc::new(RxStatus::new(modes.of(number)));
                placement.push(thread);
                rx_status.push(Arc::clone(&status));
                let slot = RxSlot {
                    queue,
                    interface: index,
                    number,
                    node: driver.input_node,
                    target,
                    enabled,
                    attention: Attention::new(status),
                };
                watch(&pollers[thread], &slot, enabled);
                held.thread(thread).rx_mut().push(slot);
            }
            for (thread, queue) in tx.into_iter().enumerate() {
                match queue {
                    Ok(queue) => drop(held.thread(thread).set_tx(index, Some(TxSlot { queue }))),
                    // What is wrong with the device has been said.
                    Err(_) if is_faulty => {}
                    Err(failure) => tracing::warn!(interface = index, thread, "no transmit queue: {failure}"),
                }
            }
        }
        if let Some(interface) = self.interfaces.borrow_mut().get_mut(index) {
            interface.placement = placement;
            interface.rx_status = rx_status;
        }
    }

    /// The thread of the next receive queue: the workers in turn, or the main thread where there are none.
    fn next_rx_place(&self, threads: usize) -> usize {
        if threads == 1 {
            return 0;
        }
        let next = self.next_rx_thread.get();
        self.next_rx_thread.set((next + 1) % (threads - 1));
        1 + next
    }

    /// Takes the interface's queues out of the threads.
    pub(super) fn drop_queues(&self, index: u32) {
        let (mut rx, mut tx) = (Vec::new(), Vec::new());
        {
            let mut all = self.threads.borrow_mut();
            let mut held = all.hold("interface queues");
            held.each(|thread| {
                rx.extend(thread.rx_mut().extract_if(.., |slot| slot.interface == index));
                tx.extend(thread.set_tx(index, None));
            });
        }
        let threads = self.threads.borrow();
        for slot in &rx {
            if let Some(fd) = slot.queue.fd() {
                threads.all_shared().for_each(|shared| shared.poller.unwatch(fd));
            }
        }
        drop(threads);
        drop((rx, tx));
    }

    /// Has the queues polled, or not, as the interface passes packets.
    pub(super) fn enable_queues(&self, index: u32) {
        let (enabled, placed) = {
            let interfaces = self.interfaces.borrow();
            let placed = interfaces.get(index).is_some_and(|interface| !interface.placement.is_empty());
            (is_passing(interfaces.row(index).flags.load(Ordering::Relaxed)), placed)
        };
        if !placed {
            return;
        }
        let mut all = self.threads.borrow_mut();
        let pollers: Vec<_> = all.all_shared().map(|shared| shared.poller.clone()).collect();
        let mut held = all.hold("interface state");
        held.each(|thread| {
            let poller = &pollers[thread.index() as usize];
            for slot in thread.rx_mut().iter_mut().filter(|slot| slot.interface == index) {
                slot.enabled = enabled;
                slot.attention.call();
                watch(poller, slot, enabled);
            }
        });
        drop(held);
        pollers.iter().for_each(crate::runtime::Poller::wake);
    }

    /// Says how the receive queues of an interface are looked after, and the first of them, whether they are there yet or not.
    pub fn set_rx_modes(&self, index: u32, all: RxMode, first: &[RxMode]) {
        if let Some(interface) = self.interfaces.borrow_mut().get_mut(index) {
            interface.rx_modes.set(all, first);
            for (queue, status) in (0..).zip(&interface.rx_status) {
                status.set_mode(interface.rx_modes.of(queue));
            }
        }
        self.threads.borrow().all_shared().for_each(|shared| shared.poller.wake());
    }

    /// Says how a receive queue of an interface is looked after, or all of them. No worker stands for it.
    ///
    /// # Errors
    /// There is no such interface or queue.
    pub fn set_rx_mode(&self, index: u32, queue: Option<u32>, mode: RxMode) -> Result<(), Failure> {
        let mut interfaces = self.interfaces.borrow_mut();
        let interface =
            interfaces.get_mut(index).ok_or_else(|| failure!("there is no interface with index {index}"))?;
        match queue {
            Some(queue) => {
                let count = interface.rx_status.len();
                let Some(status) = interface.rx_status.get(queue as usize) else {
                    bail!(
                        "interface `{}` has no receive queue {queue}; it has {count}, from 0 on",
                        interface.name
                    );
                };
                interface.rx_modes.set_one(queue, mode);
                status.set_mode(mode);
            }
            None => {
                interface.rx_modes.set_all(mode);
                interface.rx_status.iter().for_each(|status| status.set_mode(mode));
            }
        }
        self.threads.borrow().all_shared().for_each(|shared| shared.poller.wake());
        Ok(())
    }
}

/// Has the thread of `poller` told of packets in a queue, or not any more.
pub(in crate::host) fn watch(poller: &Poller, slot: &RxSlot, enabled: bool) {
    let Some(fd) = slot.queue.fd() else { return };
    poller.unwatch(fd);
    if enabled && let Err(error) = poller.watch(fd, slot.key()) {
        tracing::warn!(interface = slot.interface, %error, "a receive queue cannot be slept on");
    }
}
