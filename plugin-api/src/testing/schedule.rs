//! What the main thread of a harness has to do: tasks, calls, and what waits for a quiescent point.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::c_void;

use crate::abi::TaskTable;

/// A function that is called once with its state.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) state: *mut c_void,
    pub(super) run: unsafe extern "C" fn(*mut c_void),
}

impl Call {
    /// Makes the call.
    pub(super) fn make(self) {
        // SAFETY: the state is what the SDK handed over with the function, for one call on the main thread; each call
        // leaves its queue before it is made.
        unsafe { (self.run)(self.state) };
    }
}

struct Task {
    name: String,
    table: TaskTable,
}

#[derive(Default)]
pub(super) struct Schedule {
    last: u64,
    tasks: BTreeMap<u64, Task>,
    ready: BTreeSet<u64>,
    timers: BTreeSet<(u64, u64)>,
    calls: VecDeque<Call>,
    retired: VecDeque<Call>,
}

impl Schedule {
    pub(super) fn spawn(&mut self, name: String, table: TaskTable) -> u64 {
        self.last += 1;
        self.tasks.insert(self.last, Task { name, table });
        self.ready.insert(self.last);
        self.last
    }

    pub(super) fn wake(&mut self, task: u64) {
        if self.tasks.contains_key(&task) {
            self.ready.insert(task);
        }
    }

    pub(super) fn wake_at(&mut self, task: u64, at_ns: u64) {
        self.timers.insert((at_ns, task));
    }

    pub(super) fn call(&mut self, call: Call) {
        self.calls.push_back(call);
    }

    pub(super) fn retire(&mut self, call: Call) {
        self.retired.push_back(call);
    }

    /// The tasks that are ready, which they are not any more then.
    pub(super) fn take_ready(&mut self) -> BTreeSet<u64> {
        let ready = std::mem::take(&mut self.ready);
        // A poll has the times forgotten that the task asked for.
        self.timers.retain(|(_, task)| !ready.contains(task));
        ready
    }

    pub(super) fn take_calls(&mut self) -> VecDeque<Call> {
        std::mem::take(&mut self.calls)
    }

    pub(super) fn take_retired(&mut self) -> VecDeque<Call> {
        std::mem::take(&mut self.retired)
    }

    pub(super) fn table(&self, task: u64) -> Option<TaskTable> {
        self.tasks.get(&task).map(|task| task.table)
    }

    /// Takes the task out, to be dropped by the caller; its name beside it.
    pub(super) fn remove(&mut self, task: u64) -> Option<(String, TaskTable)> {
        self.ready.remove(&task);
        self.timers.retain(|&(_, timed)| timed != task);
        self.tasks.remove(&task).map(|task| (task.name, task.table))
    }

    /// Names of the tasks, in the order in which they were started.
    pub(super) fn names(&self) -> Vec<String> {
        self.tasks.values().map(|task| task.name.clone()).collect()
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.tasks.keys().next().copied()
    }

    /// Whether there is something to be done now.
    pub(super) fn is_busy(&self) -> bool {
        !(self.ready.is_empty() && self.calls.is_empty() && self.retired.is_empty())
    }

    /// When the next timer is due.
    pub(super) fn next_timer(&self) -> Option<u64> {
        self.timers.first().map(|&(at_ns, _)| at_ns)
    }

    /// Makes the tasks ready whose timers are due.
    pub(super) fn expire(&mut self, now_ns: u64) {
        while self.timers.first().is_some_and(|&(at_ns, _)| at_ns <= now_ns) {
            if let Some((_, task)) = self.timers.pop_first() {
                self.wake(task);
            }
        }
    }
}
