//! The executor of the main thread: tasks, and when to poll them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use crossbeam_queue::SegQueue;
use raddle_plugin_api::abi::{Status, TaskTable};

use crate::graph::Owner;
use crate::runtime::MainQueue;

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
    polls: u64,
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
    /// How often it was polled.
    pub polls: u64,
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
    timers: BinaryHeap<Reverse<(u64, u64)>>,
    wakes: Arc<WakeQueue>,
    last: u64,
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
        self.task.polls += 1;
        // SAFETY: the task is alive, and polled by the main thread only.
        match unsafe { (self.task.table.poll)(self.task.table.state, self.id) } {
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
            timers: BinaryHeap::new(),
            wakes: Arc::new(WakeQueue { ready: SegQueue::new(), main }),
            last: 0,
        }
    }

    /// Where any thread wakes tasks.
    pub fn wakes(&self) -> &Arc<WakeQueue> {
        &self.wakes
    }

    /// Starts a task; it is polled soon.
    pub fn spawn(&mut self, owner: Owner, name: &str, table: TaskTable) -> u64 {
        self.last += 1;
        self.tasks.insert(self.last, Task { table, name: name.to_owned(), owner, polls: 0 });
        self.wakes.wake(self.last);
        self.last
    }

    /// Has the task polled at a time.
    pub fn wake_at(&mut self, task: u64, at_ns: u64) {
        self.timers.push(Reverse((at_ns, task)));
    }

    /// The next task to poll, taken out.
    pub fn take_ready(&mut self, now_ns: u64) -> Option<InHand> {
        while let Some(&Reverse((at, task))) = self.timers.peek() {
            if at > now_ns {
                break;
            }
            self.timers.pop();
            self.wakes.ready.push(task);
        }
        loop {
            let id = self.wakes.ready.pop()?;
            if let Some(task) = self.tasks.remove(&id) {
                return Some(InHand { id, task });
            }
        }
    }

    /// Puts a task back that goes on.
    pub fn put_back(&mut self, hand: InHand) {
        self.tasks.insert(hand.id, hand.task);
    }

    /// Takes all tasks of an owner out, to be dropped without a borrow.
    #[must_use = "dropping the tasks runs their destructors"]
    pub fn cancel(&mut self, owner: Owner) -> Vec<impl Drop + use<>> {
        let gone: Vec<u64> =
            self.tasks.iter().filter(|(_, task)| task.owner == owner).map(|(&id, _)| id).collect();
        gone.into_iter().filter_map(|id| self.tasks.remove(&id)).collect()
    }

    /// Takes all tasks out, to be dropped without a borrow.
    #[must_use = "dropping the tasks runs their destructors"]
    pub fn cancel_all(&mut self) -> Vec<impl Drop + use<>> {
        self.tasks.drain().map(|(_, task)| task).collect()
    }

    /// When the next timer is due, in ns; 0 when a task is ready.
    pub fn next_ns(&self) -> Option<u64> {
        if !self.wakes.ready.is_empty() {
            return Some(0);
        }
        self.timers.peek().map(|&Reverse((at, _))| at)
    }

    /// All tasks.
    pub fn list(&self) -> Vec<TaskInfo> {
        let info = |(&task, entry): (&u64, &Task)| TaskInfo {
            task,
            name: entry.name.clone(),
            owner: entry.owner,
            polls: entry.polls,
        };
        let mut list: Vec<_> = self.tasks.iter().map(info).collect();
        list.sort_by_key(|info| info.task);
        list
    }
}
