//! The executor of the main thread: tasks, and when to poll them.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_queue::SegQueue;
use raddle_plugin_api::abi::{Status, TaskTable};
use raddle_plugin_api::event::Subscriptions;
use raddle_plugin_api::timer::{Timer, TimerWheel};

use super::Watches;
use crate::graph::Owner;
use crate::runtime::{Clock, FileBody, MainQueue};

/// How finely tasks sleep, in ns.
const TICK_NS: u64 = 100_000;

/// Tasks to poll, from any thread.
pub struct WakeQueue {
    ready: SegQueue<u64>,
    main: Arc<MainQueue>,
}

impl WakeQueue {
    /// Has the task polled soon.
    pub fn wake(&self, task: u64) {
        self.ready.push(task);
        self.main.ring();
    }
}

struct Task {
    table: TaskTable,
    name: String,
    owner: Owner,
    /// The timer that has it polled, and when that is.
    timer: Option<(Timer, u64)>,
    wakes: u64,
    clocks: u64,
    longest: u64,
}

impl Drop for Task {
    fn drop(&mut self) {
        // SAFETY: the task is the executor's own; dropped once.
        unsafe { (self.table.drop)(self.table.state) };
    }
}

/// A task, for `show processes`.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// Its number.
    pub task: u64,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// When its timer has it polled, in ns of the monotonic clock; `None`: it waits for something else.
    pub sleeps_until_ns: Option<u64>,
    /// How often it was woken and polled: each time it suspended itself again.
    pub wakes: u64,
    /// Clocks (TSC) of all its polls.
    pub clocks: u64,
    /// Clocks of its longest poll.
    pub longest: u64,
}

/// What a poll came to.
pub enum Polled {
    /// The task goes on.
    Pending,
    /// The task is finished.
    Finished,
    /// The task panicked: its owner's fault.
    Panicked(Owner, String),
}

/// The tasks of the main thread.
pub struct Executor {
    tasks: HashMap<u64, Task>,
    timers: TimerWheel<u64>,
    wakes: Arc<WakeQueue>,
    last: u64,
    /// The task that is being polled, and the time that it asked for.
    in_hand: Option<(u64, Option<u64>)>,
    events: Subscriptions<Owner>,
    watches: Watches,
}

/// What an owner had here, taken out of it.
pub struct Cancelled {
    /// Tasks go first: what they hold may end watches and subscriptions.
    _tasks: Vec<Task>,
    _watches: Vec<FileBody>,
}

/// A task that is being polled.
pub struct InHand {
    id: u64,
    task: Task,
}

impl InHand {
    /// Whose task it is.
    pub fn owner(&self) -> Owner {
        self.task.owner
    }

    /// Polls the task. The executor is not borrowed meanwhile.
    pub fn poll(&mut self) -> Polled {
        let start = Clock::ticks();
        // SAFETY: the task is alive, and polled by the main thread only.
        let status = unsafe { (self.task.table.poll)(self.task.table.state, self.id) };
        let clocks = Clock::ticks().wrapping_sub(start);
        self.task.wakes += 1;
        self.task.clocks += clocks;
        self.task.longest = self.task.longest.max(clocks);
        match status {
            Status::OK => Polled::Finished,
            Status::PENDING => Polled::Pending,
            _ => Polled::Panicked(self.task.owner, self.task.name.clone()),
        }
    }
}

impl Executor {
    /// No tasks; `main` is rung when one is to be polled.
    pub fn new(main: Arc<MainQueue>) -> Self {
        Self {
            tasks: HashMap::new(),
            timers: TimerWheel::new(TICK_NS, 0),
            wakes: Arc::new(WakeQueue { ready: SegQueue::new(), main }),
            last: 0,
            in_hand: None,
            events: Subscriptions::default(),
            watches: Watches::default(),
        }
    }

    /// Where any thread wakes tasks.
    pub fn wakes(&self) -> &Arc<WakeQueue> {
        &self.wakes
    }

    /// Starts a task; it is polled soon.
    pub fn spawn(&mut self, owner: Owner, name: &str, table: TaskTable) -> u64 {
        self.last += 1;
        let name = name.to_owned();
        let task = Task { table, name, owner, timer: None, wakes: 0, clocks: 0, longest: 0 };
        self.tasks.insert(self.last, task);
        self.wakes.wake(self.last);
        self.last
    }

    /// Has the task polled at a time, or before. The earliest time counts that was asked for since its last poll began.
    pub fn wake_at(&mut self, task: u64, at_ns: u64) {
        if let Some((id, asked_ns)) = &mut self.in_hand
            && *id == task
        {
            *asked_ns = Some(asked_ns.map_or(at_ns, |earlier| earlier.min(at_ns)));
        } else if let Some(entry) = self.tasks.get_mut(&task) {
            start_timer(&mut self.timers, entry, task, at_ns);
        }
    }

    /// Has the tasks polled whose time has come; returns how many are to be polled. What they wake, itself or others, is for later.
    pub fn ready(&mut self, now_ns: u64) -> usize {
        while let Some(task) = self.timers.expire(now_ns) {
            if let Some(task) = self.tasks.get_mut(&task) {
                task.timer = None;
            }
            self.wakes.ready.push(task);
        }
        self.wakes.ready.len()
    }

    /// The next task to poll, taken out; [`Self::put_back`] or [`Self::let_go`] follows.
    pub fn take_ready(&mut self) -> Option<InHand> {
        loop {
            let id = self.wakes.ready.pop()?;
            if let Some(mut task) = self.tasks.remove(&id) {
                if let Some((timer, _)) = task.timer.take() {
                    self.timers.stop(timer);
                }
                self.in_hand = Some((id, None));
                return Some(InHand { id, task });
            }
        }
    }

    /// Puts a task back that goes on.
    pub fn put_back(&mut self, hand: InHand) {
        let InHand { id, mut task } = hand;
        if let Some((_, Some(at_ns))) = self.in_hand.take() {
            start_timer(&mut self.timers, &mut task, id, at_ns);
        }
        self.tasks.insert(id, task);
    }

    /// Notes that the task in hand is not put back.
    pub fn let_go(&mut self) {
        self.in_hand = None;
    }

    /// Takes out all tasks of an owner, the descriptors that it watches and its subscriptions to events, to be dropped
    /// without a borrow.
    #[must_use = "dropping it runs destructors"]
    pub fn cancel(&mut self, owner: Owner) -> Cancelled {
        let gone: Vec<u64> =
            self.tasks.iter().filter(|(_, task)| task.owner == owner).map(|(&id, _)| id).collect();
        self.events.forget(&owner);
        Cancelled {
            _tasks: gone.into_iter().filter_map(|id| self.take(id)).collect(),
            _watches: self.watches.remove_owned(owner),
        }
    }

    /// Takes all of it out, to be dropped without a borrow.
    #[must_use = "dropping it runs destructors"]
    pub fn cancel_all(&mut self) -> Cancelled {
        let all: Vec<u64> = self.tasks.keys().copied().collect();
        self.events = Subscriptions::default();
        Cancelled {
            _tasks: all.into_iter().filter_map(|id| self.take(id)).collect(),
            _watches: self.watches.remove_all(),
        }
    }

    /// Who waits for which named events.
    pub fn events(&mut self) -> &mut Subscriptions<Owner> {
        &mut self.events
    }

    /// The descriptors that are watched.
    pub fn watches(&mut self) -> &mut Watches {
        &mut self.watches
    }

    fn take(&mut self, id: u64) -> Option<Task> {
        let task = self.tasks.remove(&id)?;
        if let Some((timer, _)) = task.timer {
            self.timers.stop(timer);
        }
        Some(task)
    }

    /// When to look for tasks again, in ns: not after the next timer is due; 0 when a task is ready.
    pub fn next_ns(&self) -> Option<u64> {
        if !self.wakes.ready.is_empty() {
            return Some(0);
        }
        self.timers.next_ns()
    }

    /// Number of tasks.
    pub fn count(&self) -> usize {
        self.tasks.len()
    }

    /// All tasks.
    pub fn list(&self) -> Vec<TaskInfo> {
        let info = |(&task, entry): (&u64, &Task)| TaskInfo {
            task,
            name: entry.name.clone(),
            owner: entry.owner,
            sleeps_until_ns: entry.timer.map(|(_, at_ns)| at_ns),
            wakes: entry.wakes,
            clocks: entry.clocks,
            longest: entry.longest,
        };
        let mut list: Vec<_> = self.tasks.iter().map(info).collect();
        list.sort_by_key(|info| info.task);
        list
    }
}

fn start_timer(timers: &mut TimerWheel<u64>, task: &mut Task, id: u64, at_ns: u64) {
    match &mut task.timer {
        Some((_, earlier)) if *earlier <= at_ns => {}
        Some((timer, when)) => {
            timers.restart(*timer, at_ns);
            *when = at_ns;
        }
        none => *none = Some((timers.start(at_ns, id), at_ns)),
    }
}

#[cfg(all(test, not(loom)))]
#[path = "executor_tests.rs"]
mod tests;
