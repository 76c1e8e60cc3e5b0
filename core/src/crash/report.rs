//! The handler of fatal signals.
//!
//! It writes what it can tell without allocating or locking first: signal, thread, plugin, version, node. Only then does it
//! try for a backtrace with names, which takes the allocator's locks; should that never end, an alarm does. The process
//! then dies of the signal as it would have without a handler, core dump and all.

use std::cell::Cell;
use std::fmt::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Instant;

use super::labels::{NodeLabel, PluginLabel, current_call, mapped, node_label};
use super::scribe::{Scribe, write_all};

/// The file in the state directory that says what the last crash was.
pub const LAST_CRASH: &str = "last-crash.json";

/// Signals that mean that the code is wrong, with their names.
const FATAL: [(libc::c_int, &str); 5] = [
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGABRT, "SIGABRT"),
];

/// Bytes of the stack on which a thread's handler runs: a backtrace with names takes some.
const STACK_BYTES: usize = 512 << 10;
/// Seconds that the backtrace with names may take.
const PATIENCE_SECONDS: libc::c_uint = 20;
/// Frames of a backtrace without names.
const MOST_FRAMES: usize = 64;

/// The state directory.
static DIRECTORY: AtomicI32 = AtomicI32::new(-1);
/// The thread that writes the report; 0: none.
static REPORTING: AtomicI32 = AtomicI32::new(0);
/// The signal of which the process dies.
static SIGNAL: AtomicI32 = AtomicI32::new(libc::SIGABRT);
static START: OnceLock<Instant> = OnceLock::new();

thread_local! {
    /// Where the thread keeps the index of the node that it is in; null on threads that are none of the graph's.
    static CURRENT: Cell<*const AtomicU32> = const { Cell::new(std::ptr::null()) };
    /// Whether the thread's handler has a stack of [`STACK_BYTES`].
    static HAS_STACK: Cell<bool> = const { Cell::new(false) };
}

/// Has fatal signals reported: on stderr, and as a file of `directory` if there is one.
///
/// # Errors
/// The system takes no handler.
pub fn install(directory: Option<OwnedFd>) -> std::io::Result<()> {
    START.get_or_init(Instant::now);
    if let Some(directory) = directory {
        DIRECTORY.store(directory.as_raw_fd(), Ordering::Release);
        // Open for the life of the process.
        std::mem::forget(directory);
    }
    // The first call loads the unwinder, which allocates.
    let mut frames = [std::ptr::null_mut(); 1];
    // SAFETY: there is room for one frame.
    unsafe { libc::backtrace(frames.as_mut_ptr(), 1) };
    for (signal, _) in FATAL {
        handle(signal, on_fatal)?;
    }
    Ok(())
}

fn handle(
    signal: libc::c_int,
    handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void),
) -> std::io::Result<()> {
    // SAFETY: all-zero bytes are a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // SAFETY: the action is whole, and its handler does what handlers may, or dies trying.
    if unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error())
}

/// Makes the calling thread one whose crash names the node that it is in: `current` has its index. It stays valid for the
/// thread's life.
pub fn this_thread(current: &'static AtomicU32) {
    CURRENT.set(current);
    if HAS_STACK.get() {
        return;
    }
    let stack = Box::leak(vec![0_u8; STACK_BYTES].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: STACK_BYTES };
    // SAFETY: the stack is the thread's alone, and stays for good.
    HAS_STACK.set(unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) } == 0);
}

/// Whose code it is that crashed.
struct Culprit {
    plugin: Option<&'static PluginLabel>,
    node: Option<&'static NodeLabel>,
    doing: &'static str,
}

impl Culprit {
    /// Of the calling thread, whose instruction is at `address`.
    fn find(address: usize) -> Self {
        let current = CURRENT.get();
        // SAFETY: valid for the thread's life: see `this_thread`.
        let index = unsafe { current.as_ref() }.map(|current| current.load(Ordering::Relaxed));
        let node = index.and_then(node_label);
        let here = mapped().find(|mapped| (mapped.start..mapped.end).contains(&address));
        let is_core = |plugin: &&'static PluginLabel| plugin.name == "core";
        let call = current_call().filter(|_| is_main());
        let (caller, doing) = call.map_or((None, ""), |call| (Some(call.plugin), call.doing));
        let of_node = node.map(|node| node.plugin);
        let (plugin, doing) = match (of_node.filter(|plugin| !is_core(plugin)), here, caller) {
            (Some(plugin), ..) => (Some(plugin), ""),
            (None, Some(here), _) => (Some(here.plugin), doing),
            (None, None, Some(caller)) => (Some(caller), doing),
            (None, None, None) => (of_node, ""),
        };
        Self { plugin, node, doing }
    }
}

fn is_main() -> bool {
    // SAFETY: these calls have no preconditions.
    unsafe { libc::getpid() == libc::gettid() }
}

extern "C" fn on_fatal(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: no preconditions.
    let thread = unsafe { libc::gettid() };
    match REPORTING.compare_exchange(0, thread, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        // The report itself crashed.
        Err(reporting) if reporting == thread => die(),
        // Another thread reports, and ends the process.
        Err(_) => loop {
            // SAFETY: no preconditions.
            unsafe { libc::pause() };
        },
    }
    SIGNAL.store(signal, Ordering::Release);
    // SAFETY: the system hands over a context of the thread that was interrupted, and what it knows of the signal.
    let (address, at) = unsafe {
        let context = context.cast::<libc::ucontext_t>();
        (instruction(context), (*info).si_addr().addr())
    };
    let culprit = Culprit::find(address);
    let now = seconds_since_1970();
    let file = open_report(now);
    let mut text = Scribe::<4096>::new();
    describe(&mut text, signal, at, address, &culprit);
    write_all(libc::STDERR_FILENO, text.bytes());
    write_all(file, text.bytes());
    note_last(&culprit, now);
    backtrace(file);
    die();
}

#[cfg(target_arch = "x86_64")]
unsafe fn instruction(context: *const libc::ucontext_t) -> usize {
    // SAFETY: as the caller vouches.
    unsafe { (*context).uc_mcontext.gregs[libc::REG_RIP as usize] as usize }
}

#[cfg(target_arch = "aarch64")]
unsafe fn instruction(context: *const libc::ucontext_t) -> usize {
    // SAFETY: as the caller vouches.
    unsafe { (*context).uc_mcontext.pc as usize }
}

fn seconds_since_1970() -> i64 {
    // SAFETY: a null pointer asks for the result only.
    unsafe { libc::time(std::ptr::null_mut()) }
}

fn uptime_seconds() -> u64 {
    START.get().map_or(0, |start| start.elapsed().as_secs())
}

/// What can be told at once.
fn describe(text: &mut Scribe<4096>, signal: libc::c_int, at: usize, address: usize, culprit: &Culprit) {
    let name = FATAL.iter().find(|(number, _)| *number == signal).map_or("a signal", |(_, name)| name);
    let mut thread = [0_u8; 16];
    // SAFETY: there is room for the 16 bytes of a thread's name.
    unsafe { libc::prctl(libc::PR_GET_NAME, thread.as_mut_ptr()) };
    let length = thread.iter().position(|&byte| byte == 0).unwrap_or(thread.len());
    let thread = std::str::from_utf8(&thread[..length]).unwrap_or("?");
    let version = env!("CARGO_PKG_VERSION");
    // Writing to a scribe cannot fail.
    let _ = writeln!(
        text,
        "raddle {version} crashed: {name} at address {at:#x}, by the instruction at {address:#x}"
    );
    let _ = writeln!(text, "  thread   {thread}");
    match culprit.plugin {
        Some(plugin) => {
            let _ = writeln!(text, "  plugin   {}\n  version  {}", plugin.name, plugin.version);
        }
        None => {
            let _ = writeln!(text, "  plugin   none");
        }
    }
    if let Some(node) = culprit.node {
        let _ = writeln!(text, "  node     {}", node.name);
    }
    if !culprit.doing.is_empty() {
        let _ = writeln!(text, "  in its   {}", culprit.doing);
    }
    let _ = writeln!(text, "  uptime   {} s", uptime_seconds());
    for code in mapped() {
        let plugin = code.plugin;
        let _ = writeln!(
            text,
            "  code     {:#x}-{:#x} {} {} {}",
            code.start, code.end, plugin.name, plugin.version, code.path
        );
    }
}

/// Opens the report's file; -1 if it cannot be.
fn open_report(now: i64) -> RawFd {
    let mut name = Scribe::<128>::new();
    let _ = write!(name, "{}", report_name(now, std::process::id()));
    create(&mut name)
}

struct ReportName(i64, u32);

impl std::fmt::Display for ReportName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "crash-{}-{}.txt", self.0, self.1)
    }
}

fn report_name(now: i64, process: u32) -> ReportName {
    ReportName(now, process)
}

fn create<const N: usize>(name: &mut Scribe<N>) -> RawFd {
    let directory = DIRECTORY.load(Ordering::Acquire);
    if directory < 0 {
        return -1;
    }
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
    // SAFETY: the path ends with a zero byte.
    unsafe { libc::openat(directory, name.path(), flags, 0o600 as libc::c_uint) }
}

/// Leaves a word for the next start. Names and versions are words without quotes.
fn note_last(culprit: &Culprit, now: i64) {
    let Some(plugin) = culprit.plugin else { return };
    let mut name = Scribe::<64>::new();
    let _ = write!(name, "{LAST_CRASH}");
    let file = create(&mut name);
    let mut text = Scribe::<1024>::new();
    let _ = writeln!(
        text,
        "{{\"plugin\":\"{}\",\"version\":\"{}\",\"report\":\"{}\",\"uptime-seconds\":{}}}",
        plugin.name,
        plugin.version,
        report_name(now, std::process::id()),
        uptime_seconds()
    );
    write_all(file, text.bytes());
}

/// Appends the backtrace: its addresses at once, then with names if that can be had.
fn backtrace(file: RawFd) {
    let mut frames = [std::ptr::null_mut(); MOST_FRAMES];
    // SAFETY: there is room for so many frames; the unwinder was loaded by `install`.
    let count = unsafe { libc::backtrace(frames.as_mut_ptr(), MOST_FRAMES as libc::c_int) };
    let mut text = Scribe::<2048>::new();
    let _ = write!(text, "  frames  ");
    for frame in frames.iter().take(usize::try_from(count).unwrap_or(0)) {
        let _ = write!(text, " {:#x}", frame.addr());
    }
    let _ = writeln!(text);
    write_all(libc::STDERR_FILENO, text.bytes());
    write_all(file, text.bytes());
    if !HAS_STACK.get() || handle(libc::SIGALRM, on_alarm).is_err() {
        return;
    }
    // SAFETY: no preconditions.
    unsafe { libc::alarm(PATIENCE_SECONDS) };
    // From here on anything may fail: all that is needed has been written.
    let trace = std::backtrace::Backtrace::force_capture().to_string();
    write_all(libc::STDERR_FILENO, trace.as_bytes());
    write_all(file, trace.as_bytes());
}

extern "C" fn on_alarm(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    die();
}

/// Ends the process by the signal that it was hit by.
fn die() -> ! {
    let signal = SIGNAL.load(Ordering::Acquire);
    // SAFETY: the signal's default is to end the process.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
        // Should the signal be blocked.
        libc::_exit(128 + signal)
    }
}
