//! What device, queues and commands of an interface share, and the table of all of them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use raddle_plugin_api::{Failure, bail};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use super::capture::Capture;
use super::stream::Stream;

/// Streams that an interface may have.
const MAX_STREAMS: usize = 1024;

/// A packet generator's interface.
#[derive(Debug)]
pub struct Generator {
    name: String,
    alarms: Box<[Alarm]>,
    streams: Mutex<Vec<Arc<Stream>>>,
    generation: AtomicU64,
    capture: Option<Capture>,
    taken: Mutex<Vec<Arc<Taken>>>,
}

/// What a thread sent to the interface.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Taken {
    packets: AtomicU64,
}

/// Wakes the thread of a queue: at a time that the thread says, or now, when somebody else rings.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: OwnedFd,
}

impl Alarm {
    fn create() -> Result<Self, Failure> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self { timer: rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)? })
    }

    /// Makes the descriptor readable in `wait_ns`.
    pub(super) fn set(&self, wait_ns: u64) {
        // Zero would disarm it.
        let wait_ns = wait_ns.max(1);
        let value =
            Timespec { tv_sec: (wait_ns / 1_000_000_000) as i64, tv_nsec: (wait_ns % 1_000_000_000) as i64 };
        let time = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // Cannot fail: the descriptor is a timer, and the time is in range.
        let _ = rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time);
    }

    /// Makes the descriptor silent; `false` if it was.
    pub(super) fn clear(&self) -> bool {
        rustix::io::read(&self.timer, &mut [0; 8]).is_ok()
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

impl Taken {
    /// Counts packets. The one thread.
    #[inline]
    pub(super) fn add(&self, packets: u64) {
        // Only this thread writes here, so that reading and writing apart loses nothing.
        self.packets.store(self.packets.load(Ordering::Relaxed) + packets, Ordering::Relaxed);
    }
}

impl Generator {
    /// A generator without streams.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn create(name: &str, queues: u32, capture: Option<Capture>) -> Result<Self, Failure> {
        Ok(Self {
            name: name.to_owned(),
            alarms: (0..queues).map(|_| Alarm::create()).collect::<Result<_, _>>()?,
            streams: Mutex::default(),
            // Queues begin at zero, so that they look at once.
            generation: AtomicU64::new(1),
            capture,
            taken: Mutex::default(),
        })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of receive queues.
    pub fn queue_count(&self) -> u32 {
        self.alarms.len() as u32
    }

    /// The capture file, if there is one.
    pub fn capture(&self) -> Option<&Capture> {
        self.capture.as_ref()
    }

    /// Its streams at present.
    pub fn streams(&self) -> Vec<Arc<Stream>> {
        lock(&self.streams).clone()
    }

    /// The stream of this name, or all without one.
    ///
    /// # Errors
    /// There is none.
    pub fn select(&self, name: Option<&str>) -> Result<Vec<Arc<Stream>>, Failure> {
        let streams = self.streams();
        let Some(name) = name else {
            if streams.is_empty() {
                bail!("interface {} has no streams; add one by `packet-generator add`", self.name);
            }
            return Ok(streams);
        };
        let known: Vec<String> = streams.iter().map(|stream| stream.plan().name.clone()).collect();
        match streams.into_iter().find(|stream| stream.plan().name == name) {
            Some(stream) => Ok(vec![stream]),
            None => match raddle_plugin_api::config::nearest(name, known.iter().map(String::as_str)) {
                Some(near) => bail!("interface {} has no stream {name}; did you mean {near}?", self.name),
                None => bail!("interface {} has no stream {name}", self.name),
            },
        }
    }

    /// Adds a stream.
    ///
    /// # Errors
    /// The name is taken, a queue does not exist, or there are too many streams.
    pub fn add(&self, stream: Stream) -> Result<(), Failure> {
        let plan = stream.plan();
        if let Some(queue) = plan.queues.iter().find(|&&queue| queue >= self.queue_count()) {
            let most = self.queue_count() - 1;
            bail!("stream {}: there is no queue {queue} on {}: they are 0 to {most}", plan.name, self.name);
        }
        {
            let mut streams = lock(&self.streams);
            if streams.iter().any(|known| known.plan().name == plan.name) {
                bail!("interface {} has a stream {} already", self.name, plan.name);
            }
            if streams.len() >= MAX_STREAMS {
                bail!("interface {} has {MAX_STREAMS} streams already", self.name);
            }
            streams.push(Arc::new(stream));
        }
        self.tell_queues();
        Ok(())
    }

    /// Takes a stream away.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn remove(&self, name: &str) -> Result<(), Failure> {
        for gone in self.select(Some(name))? {
            lock(&self.streams).retain(|stream| !Arc::ptr_eq(stream, &gone));
        }
        self.tell_queues();
        Ok(())
    }

    /// Has the queues look at the streams again, and wakes their threads.
    pub fn tell_queues(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        for alarm in &self.alarms {
            alarm.set(0);
        }
    }

    /// Packets that the router has sent to the interface since it was made.
    pub fn taken(&self) -> u64 {
        lock(&self.taken).iter().map(|taken| taken.packets.load(Ordering::Relaxed)).sum()
    }

    /// A new place to count what one thread sends.
    pub(super) fn new_taken(&self) -> Arc<Taken> {
        let taken = Arc::<Taken>::default();
        lock(&self.taken).push(taken.clone());
        taken
    }

    #[inline(always)]
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// The streams, unless the main thread is changing them just now: queues do not wait.
    pub(super) fn try_streams(&self) -> Option<MutexGuard<'_, Vec<Arc<Stream>>>> {
        match self.streams.try_lock() {
            Ok(streams) => Some(streams),
            Err(TryLockError::Poisoned(streams)) => Some(streams.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(super) fn alarm(&self, queue: u32) -> Option<&Alarm> {
        self.alarms.get(queue as usize)
    }
}

/// All packet generators, by interface name: a resource of the core.
#[derive(Debug, Default)]
pub struct Generators {
    by_name: Mutex<BTreeMap<String, Arc<Generator>>>,
}

impl Generators {
    /// The generator of an interface.
    ///
    /// # Errors
    /// There is no such interface, or it is none of this driver.
    pub fn find(&self, name: &str) -> Result<Arc<Generator>, Failure> {
        let by_name = lock(&self.by_name);
        if let Some(found) = by_name.get(name) {
            return Ok(found.clone());
        }
        match raddle_plugin_api::config::nearest(name, by_name.keys().map(String::as_str)) {
            Some(near) => bail!("{name} is not an interface of the packet generator; did you mean {near}?"),
            None => bail!("{name} is not an interface of the packet generator"),
        }
    }

    /// All, by name.
    pub fn all(&self) -> Vec<Arc<Generator>> {
        lock(&self.by_name).values().cloned().collect()
    }

    pub(super) fn insert(&self, generator: Arc<Generator>) {
        lock(&self.by_name).insert(generator.name.clone(), generator);
    }

    pub(super) fn remove(&self, generator: &Arc<Generator>) {
        let mut by_name = lock(&self.by_name);
        if by_name.get(&generator.name).is_some_and(|known| Arc::ptr_eq(known, generator)) {
            by_name.remove(&generator.name);
        }
    }
}

/// Locks; what a panic elsewhere left is whole here: each change is one call.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
