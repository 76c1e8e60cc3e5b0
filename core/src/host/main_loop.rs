//! The main thread's loop.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::engine::Engine;
use crate::process::{InHand, Polled};
use crate::runtime::Clock;

/// How often interfaces are looked after, in ns.
const LOOK_AFTER_NS: u64 = 1_000_000_000;

/// How soon the main thread looks again whether the workers have passed a quiescent point.
const RETIRE_WAIT: Duration = Duration::from_millis(1);

/// Calls from other threads, and polls of tasks, between two passes.
const BATCH: usize = 256;

impl Engine {
    /// Runs until [`Engine::stop`].
    pub fn run(&self) {
        if let Some(core) = self.config.main_core {
            crate::runtime::pin(core);
        }
        self.threads.borrow().name_nodes_of_main();
        let mut next_look = Clock.now_ns() + LOOK_AFTER_NS;
        while !self.any.stop.load(Ordering::Acquire) {
            self.turn(&mut next_look);
        }
    }

    /// One turn of the loop, and a sleep if there is nothing to do.
    fn turn(&self, next_look: &mut u64) {
        self.run_calls();
        self.run_tasks();
        let received = self.threads.borrow_mut().main_pass();
        self.run_retired();
        let now = Clock.now_ns();
        if now >= *next_look {
            *next_look = now + LOOK_AFTER_NS;
            self.look_after_interfaces();
        }
        if received > 0 || self.threads.borrow().main_is_busy() || !self.any.main.is_empty() {
            return;
        }
        let next_task = self.executor.borrow().next_ns().unwrap_or(u64::MAX);
        let mut wait = Duration::from_nanos(next_task.min(*next_look).saturating_sub(Clock.now_ns()));
        if !self.retired.borrow().is_empty() {
            wait = wait.min(RETIRE_WAIT);
        }
        if let Some(longest) = self.threads.borrow().main_longest_sleep() {
            wait = wait.min(longest);
        }
        let may_sleep = self.threads.borrow().main_may_sleep();
        if may_sleep && !wait.is_zero() && !self.any.stop.load(Ordering::Acquire) {
            let events = self.any.main.poller().sleep(Some(wait));
            self.threads.borrow_mut().main_hears(&events);
        }
        self.threads.borrow().main_is_awake();
    }

    fn run_calls(&self) {
        for _ in 0..BATCH {
            let Some(call) = self.any.main.pop() else { break };
            call();
        }
    }

    fn run_tasks(&self) {
        // A task that wakes itself has its next turn behind what else there is to be done.
        let ready = self.executor.borrow_mut().ready(Clock.now_ns());
        for _ in 0..ready.min(BATCH) {
            let Some(mut hand) = self.executor.borrow_mut().take_ready() else { break };
            match self.enter(hand.owner(), "task", || hand.poll()) {
                Polled::Pending => self.executor.borrow_mut().put_back(hand),
                Polled::Finished => self.end_task(hand),
                Polled::Panicked(owner, name) => {
                    self.end_task(hand);
                    self.quarantine(owner, &format!("its task `{name}` panicked"));
                }
            }
        }
    }

    fn end_task(&self, hand: InHand) {
        self.executor.borrow_mut().let_go();
        // It may drop what calls the engine.
        self.enter(hand.owner(), "task", || drop(hand));
    }

    pub(super) fn run_retired(&self) {
        let threads = self.threads.borrow();
        let ready = self.retired.borrow_mut().take_ready(threads.barrier());
        drop(threads);
        for run in ready {
            run();
        }
    }

    /// Runs turns of the loop until `done`, or until so much time is over; returns whether it was done. For tests, and
    /// for what must be finished before the loop proper starts.
    pub fn run_until(&self, most: Duration, mut done: impl FnMut() -> bool) -> bool {
        let end = Clock.now_ns() + u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        let mut next_look = Clock.now_ns() + LOOK_AFTER_NS;
        loop {
            if done() {
                return true;
            }
            if Clock.now_ns() > end {
                return false;
            }
            next_look = next_look.min(end);
            self.turn(&mut next_look);
        }
    }

    /// Ends everything: interfaces, tasks, exit functions, workers, instances.
    pub(super) fn shut_down(&mut self) {
        self.any.stop.store(true, Ordering::Release);
        drop(self.watchdog.borrow_mut().take());
        // What was captured is in its file before anything goes.
        let _ = self.stop_pcap(None);
        let interfaces: Vec<u32> = self.interfaces.borrow().iter().map(|(index, _)| index).collect();
        for index in interfaces {
            self.remove_interface(index);
        }
        self.run_exits();
        self.threads.borrow_mut().stop();
        while !self.retired.borrow().is_empty() {
            self.run_retired();
        }
        self.replies.borrow_mut().clear();
        let tasks = self.executor.borrow_mut().cancel_all();
        drop(tasks);
        self.drop_images();
    }
}
