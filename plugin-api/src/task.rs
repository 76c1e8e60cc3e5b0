//! Process nodes: async tasks on the main thread. They sleep ([`sleep`], [`interval`]), wait for named
//! events ([`crate::event`]) and for descriptors ([`crate::file`]), and end when their future does, or with the plugin.

use std::cell::Cell;
use std::ffi::c_void;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::abi::{HostTable, Status, TaskTable, Text};
use crate::guard::guard;
use crate::instance::Instance;
use crate::{Control, Failure};

thread_local! {
    /// The task that is being polled, for the futures in it: its host and id.
    static CURRENT: Cell<Option<(*const HostTable, u64)>> = const { Cell::new(None) };
}

type Body = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    body: Body,
    instance: *const Instance,
}

struct TaskWaker {
    host: *const HostTable,
    task: u64,
}

// SAFETY: the waker calls one host function only, which may be called from any thread.
unsafe impl Send for TaskWaker {}
// SAFETY: as above.
unsafe impl Sync for TaskWaker {}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // SAFETY: the host outlives its tasks' wakers; an id that is gone is ignored there.
        unsafe { ((*self.host).wake)((*self.host).data, self.task) };
    }
}

unsafe extern "C" fn poll_task(state: *mut c_void, task: u64) -> Status {
    // SAFETY: `state` is the boxed `Task` of `spawn`, polled by one thread at a time.
    let this = unsafe { &mut *state.cast::<Task>() };
    // SAFETY: the instance outlives its tasks: the host drops them first.
    let host = unsafe { (*this.instance).host() };
    let waker = Waker::from(Arc::new(TaskWaker { host, task }));
    let before = CURRENT.replace(Some((host, task)));
    let outcome = guard(|| this.body.as_mut().poll(&mut Context::from_waker(&waker)));
    CURRENT.set(before);
    match outcome {
        Ok(Poll::Ready(())) => Status::OK,
        Ok(Poll::Pending) => Status::PENDING,
        Err(_) => Status::PANICKED,
    }
}

unsafe extern "C" fn drop_task(state: *mut c_void) {
    // SAFETY: made by `Box::into_raw` in `spawn`; the host drops it once.
    let drop_it = || drop(unsafe { Box::from_raw(state.cast::<Task>()) });
    let _ = guard(drop_it);
}

/// The control side for a task: to be asked for between two `await`s, and not kept over one.
#[derive(Clone, Copy)]
pub struct TaskControl {
    instance: *const Instance,
}

impl TaskControl {
    /// Runs `body` with the control side.
    pub fn with<R>(&self, body: impl FnOnce(&mut Control<'_>) -> R) -> R {
        // SAFETY: tasks run on the main thread between two passes of its loop; this value is not `Send`, and reaches
        // only the future that `spawn` made it for, which the host drops before the instance.
        let mut control = unsafe { Control::new(&*self.instance) };
        body(&mut control)
    }
}

impl Control<'_> {
    /// Starts a task on the main thread: `make` gets the control side for later and returns the future. It ends when
    /// the future does, or when the plugin goes.
    pub fn spawn<F>(&self, name: &str, make: impl FnOnce(TaskControl) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        let instance: *const Instance = self.instance();
        let body: Body = Box::pin(make(TaskControl { instance }));
        let state = Box::into_raw(Box::new(Task { body, instance })).cast();
        let task = TaskTable { state, poll: poll_task, drop: drop_task };
        // SAFETY: the name lives until the call returns; the host owns the task from here on.
        unsafe { (self.host().spawn)(self.host().data, Text::new(name), task) };
    }

    /// The control side for the future that an `async` command returns: it runs as a task.
    pub fn for_task(&self) -> TaskControl {
        TaskControl { instance: self.instance() }
    }

    /// A handle by which any thread can have a closure run on the main thread, with the control side.
    pub fn remote(&self) -> Remote {
        Remote { instance: self.instance() }
    }
}

/// Has closures run on the main thread, from any thread: the RPC to main.
#[derive(Clone, Copy)]
pub struct Remote {
    instance: *const Instance,
}

// SAFETY: used for `run_on_main` only, which may be called from any thread; the instance is reached on the main thread.
unsafe impl Send for Remote {}
// SAFETY: as above.
unsafe impl Sync for Remote {}

type MainCall = Box<dyn FnOnce(&mut Control<'_>) + Send>;

impl Remote {
    /// Has `call` run on the main thread, soon. The caller does not wait.
    pub fn run(&self, call: impl FnOnce(&mut Control<'_>) + Send + 'static) {
        unsafe extern "C" fn run_call(state: *mut c_void) {
            // SAFETY: made by `Box::into_raw` below and handed over once.
            let (instance, call) = *unsafe { Box::from_raw(state.cast::<(Remote, MainCall)>()) };
            // SAFETY: the host runs this on its main thread, between two passes; instances outlive their calls.
            let mut control = unsafe { Control::new(&*instance.instance) };
            if let Err(panic) = guard(|| call(&mut control)) {
                crate::state::report_panic(&mut control, "a call to the main thread", &panic);
            }
        }
        // SAFETY: the instance outlives its threads, which its exit functions end.
        let host = unsafe { (*self.instance).host() };
        let state: (Remote, MainCall) = (*self, Box::new(call));
        // SAFETY: may be called from any thread; the state is handed over.
        unsafe { ((*host).run_on_main)((*host).data, Box::into_raw(Box::new(state)).cast(), run_call) };
    }
}

/// The host of the task that is being polled.
///
/// # Panics
/// None is.
pub(crate) fn current_host() -> *const HostTable {
    CURRENT.get().expect("this future is awaited in a task of the SDK").0
}

/// The task that is being polled.
///
/// # Panics
/// None is.
pub(crate) fn current_task() -> u64 {
    CURRENT.get().expect("this future is awaited in a task of the SDK").1
}

/// Monotonic time now, in ns, of the host of the task that is being polled.
///
/// # Panics
/// None is.
pub fn now_ns() -> u64 {
    let host = current_host();
    // SAFETY: the host of the task being polled is alive; the function may be called from any thread.
    unsafe { ((*host).now_ns)((*host).data) }
}

/// Waits for `duration`, in a task.
///
/// # Panics
/// Polled outside a task of this SDK.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { duration, until_ns: None }
}

/// Waits until `at_ns` of the monotonic clock, in a task.
///
/// # Panics
/// Polled outside a task of this SDK.
pub fn sleep_until(at_ns: u64) -> Sleep {
    Sleep { duration: Duration::ZERO, until_ns: Some(at_ns) }
}

/// Ticks `period` apart, the first after one period; see [`Interval::tick`].
pub fn interval(period: Duration) -> Interval {
    Interval { period_ns: u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(1), next_ns: None }
}

/// What comes again and again, in a task.
#[derive(Debug)]
pub struct Interval {
    period_ns: u64,
    next_ns: Option<u64>,
}

impl Interval {
    /// Waits for the next tick. Ticks stay on their beat however long the task takes in between; those that pass
    /// meanwhile are left out. Returns the time at which the tick was due, in ns of the monotonic clock.
    ///
    /// # Panics
    /// Polled outside a task of this SDK.
    pub async fn tick(&mut self) -> u64 {
        let now = now_ns();
        let mut at_ns = self.next_ns.unwrap_or_else(|| now.saturating_add(self.period_ns));
        if at_ns < now {
            let missed = (now - at_ns).div_ceil(self.period_ns);
            at_ns = at_ns.saturating_add(missed.saturating_mul(self.period_ns));
        }
        sleep_until(at_ns).await;
        self.next_ns = Some(at_ns.saturating_add(self.period_ns));
        at_ns
    }
}

/// The future of [`sleep`] and [`sleep_until`]. It asks anew whenever its task is polled, so it must be polled with its task
/// (as `await`, [`timeout`] and `join!` do): a collection of futures that polls only those that woke it would forget it.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sleep {
    duration: Duration,
    until_ns: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let (host, task, now) = (current_host(), current_task(), now_ns());
        let duration = u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX);
        let until = *self.until_ns.get_or_insert(now.saturating_add(duration));
        if now >= until {
            return Poll::Ready(());
        }
        // SAFETY: tasks are polled on the main thread.
        unsafe { ((*host).wake_at)((*host).data, task, until) };
        Poll::Pending
    }
}

/// Gives packets, calls and the other tasks a turn.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(move |context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Ends with an error if `future` takes longer than `duration`.
///
/// # Errors
/// The time is over.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Failure> {
    let mut future = std::pin::pin!(future);
    let mut limit = std::pin::pin!(sleep(duration));
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        limit.as_mut().poll(context).map(|()| Err(crate::failure!("timed out after {duration:?}")))
    })
    .await
}
