//! Fails in whatever way a test asks for: at init by the file that `switch` in its section names, later by command.

mod device;
mod network;
mod overrun;
mod signals;

use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raddle_plugin_api::file::Interest;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::state::{Arena, KeptPerThread, KeptState, KeptTable};
use raddle_plugin_api::table::{HashSeed, Kept, SessionTable};
use raddle_plugin_api::task::sleep;
use serde::{Deserialize, Serialize};
use tally_service::{Tally, TallyClient};

plugin! { "faulty", "fails as tests ask for" }
config! { "faulty", FaultyConfig }
init! { "faulty", init }
exit! { "faulty", exit }
state! { "note", version: 1, oldest: 1, export: export, import: import }
driver!(device::FaultyDriver);
node!(Open);
node!(Closed);
feature! { "faulty", node: Open, arc: "ip4-unicast" }
feature! { "faulty-closed", node: Closed, arc: "ip4-unicast", fail_closed }
on_event! { "interface", interface_changed }
command! { "faulty show", "shows what it has seen", show }
command! { "faulty note <text>", "keeps a text, also over an upgrade", note }
command! { "faulty fail <where>", "fails there: command, task, call, event, or in the node: panic, hang, leak, crash, bus, illegal, divide, abort, overrun", fail }
command! { "faulty watch", "watches a descriptor that is always ready, on every thread", watch }
command! { "faulty route <prefix>", "adds a route that drops", network::add_route }
command! { "faulty neighbor <interface> <address:ip> <mac>", "sets a neighbour", network::set_neighbor }
command! { "faulty group <interface> <group:ip>", "joins a group", network::join_group }

/// The section `[faulty]`.
#[derive(Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct FaultyConfig {
    /// A file with the word that says how to fail at init; none if it is not there.
    switch: Option<String>,
    /// A file that the exit function writes.
    mark: Option<String>,
}

/// How the node fails.
mod fault {
    pub const NONE: u32 = 0;
    pub const PANIC: u32 = 1;
    pub const HANG: u32 = 2;
    pub const LEAK: u32 = 3;
    pub const CRASH: u32 = 4;
    pub const ABORT: u32 = 5;
    pub const BUS: u32 = 6;
    pub const ILLEGAL: u32 = 7;
    pub const DIVIDE: u32 = 8;
}

struct State {
    config: FaultyConfig,
    word: String,
    fault: AtomicU32,
    event_panics: AtomicU32,
    note: Mutex<String>,
    /// Packets, by thread; kept by the host.
    seen: KeptTable<u64>,
    /// Packets by their addresses; kept by the host.
    flows: KeptPerThread<Flows>,
    /// Packets of this version.
    own: AtomicU64,
    /// Calls of watches.
    wakes: AtomicU64,
}

impl Tally for State {
    fn own(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }
}

/// Both addresses, and packets.
struct Flows(HashSeed);

/// A flow ends when it was silent for so long, in ns.
const SILENCE_NS: u64 = 600_000_000_000;

impl KeptState for Flows {
    type Of<'m> = SessionTable<u64, u64, Kept<'m>>;

    fn place<'m>(&self, _: u32, arena: &mut Arena<'m>) -> Self::Of<'m> {
        SessionTable::kept(arena, 65_536, 10_000_000, self.0)
    }
}

fn init(control: &mut Control<'_>) -> Result<(), Failure> {
    let config: FaultyConfig = control.config("faulty")?;
    let word = config.switch.as_ref().and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    let word = word.trim().to_owned();
    match word.as_str() {
        "panic-in-init" => panic!("as the switch says"),
        "fail-in-init" => bail!("the switch says so"),
        _ => {}
    }
    let layout = if word == "another-layout" { 2 } else { 1 };
    let seen = control.kept_table("seen", layout, 1)?;
    let seed = HashSeed::kept(control, "seed")?;
    let flows = control.kept_per_thread("flows", layout, Flows(seed))?;
    if word == "network-then-fail-in-node" {
        network::change_all(control)?;
    }
    let state = Arc::new(State {
        config,
        word,
        fault: AtomicU32::new(fault::NONE),
        event_panics: AtomicU32::new(0),
        note: Mutex::default(),
        seen,
        flows,
        own: AtomicU64::new(0),
        wakes: AtomicU64::new(0),
    });
    control.provide(Arc::clone(&state))?;
    TallyClient::export(control, state)?;
    control.spawn("faulty", |_| async {
        loop {
            sleep(Duration::from_secs(1)).await;
        }
    });
    Ok(())
}

fn exit(control: &mut Control<'_>) -> Result<(), Failure> {
    let state: Arc<State> = control.resource()?;
    if let Some(mark) = &state.config.mark {
        let word = if control.is_being_replaced() { "replaced" } else { "gone" };
        std::fs::write(mark, format!("{word} {}", env!("CARGO_PKG_VERSION")))?;
    }
    Ok(())
}

fn export(control: &mut Control<'_>) -> Result<Vec<u8>, Failure> {
    let state: Arc<State> = control.resource()?;
    Ok(state.note.lock().map_err(|_| failure!("the note is locked"))?.clone().into_bytes())
}

fn import(control: &mut Control<'_>, _: u32, bytes: &[u8]) -> Result<(), Failure> {
    let state: Arc<State> = control.resource()?;
    match state.word.as_str() {
        "panic-in-import" => panic!("as the switch says"),
        "fail-in-import" => bail!("the switch says so"),
        _ => {}
    }
    *state.note.lock().map_err(|_| failure!("the note is locked"))? = String::from_utf8(bytes.to_vec())?;
    Ok(())
}

fn interface_changed(control: &mut Control<'_>, _: raddle_plugin_api::InterfaceEvent) -> Result<(), Failure> {
    let state: Arc<State> = control.resource()?;
    assert!(state.event_panics.load(Ordering::Relaxed) == 0, "as a command has said");
    Ok(())
}

#[derive(Serialize)]
struct Shown {
    version: &'static str,
    seen: u64,
    own: u64,
    note: String,
    flows: u64,
    flow_packets: u64,
    wakes: u64,
}

fn show(control: &mut Control<'_>, _: NoArguments) -> Result<Data<Shown>, Failure> {
    let state: Arc<State> = control.resource()?;
    let (mut seen, mut flows, mut flow_packets) = (0, 0, 0);
    let mut barrier = control.barrier("faulty");
    state.seen.each(&mut barrier, |_, entries| seen += entries.iter().sum::<u64>());
    state.flows.each(&mut barrier, |_, sessions| {
        flows += sessions.len() as u64;
        flow_packets += sessions.iter().map(|(_, flow)| flow.value).sum::<u64>();
    });
    let own = state.own.load(Ordering::Relaxed);
    drop(barrier);
    let note = state.note.lock().map_err(|_| failure!("the note is locked"))?.clone();
    Ok(Data(Shown {
        version: env!("CARGO_PKG_VERSION"),
        seen,
        own,
        note,
        flows,
        flow_packets,
        wakes: state.wakes.load(Ordering::Relaxed),
    }))
}

#[derive(Deserialize)]
struct Note {
    text: String,
}

fn note(control: &mut Control<'_>, arguments: Note) -> Result<(), Failure> {
    let state: Arc<State> = control.resource()?;
    *state.note.lock().map_err(|_| failure!("the note is locked"))? = arguments.text;
    Ok(())
}

#[derive(Deserialize)]
struct Fail {
    r#where: String,
}

fn fail(control: &mut Control<'_>, arguments: Fail) -> Result<(), Failure> {
    let state: Arc<State> = control.resource()?;
    let fault = match arguments.r#where.as_str() {
        "command" => panic!("as a command has said"),
        "task" => {
            control.spawn("short", |_| async { panic!("as a command has said") });
            return Ok(());
        }
        "call" => {
            control.remote().run(|_| panic!("as a command has said"));
            return Ok(());
        }
        "event" => {
            state.event_panics.store(1, Ordering::Relaxed);
            return Ok(());
        }
        "overrun" => {
            overrun::WRITES.store(true, Ordering::Relaxed);
            return Ok(());
        }
        "none" => fault::NONE,
        "panic" => fault::PANIC,
        "hang" => fault::HANG,
        "leak" => fault::LEAK,
        "crash" => fault::CRASH,
        "abort" => fault::ABORT,
        "bus" => fault::BUS,
        "illegal" => fault::ILLEGAL,
        "divide" => fault::DIVIDE,
        other => bail!("it cannot fail in `{other}`"),
    };
    state.fault.store(fault, Ordering::Relaxed);
    Ok(())
}

/// Has every thread called in each pass for a descriptor that nobody reads.
fn watch(control: &mut Control<'_>, _: NoArguments) -> Result<(), Failure> {
    let state: Arc<State> = control.resource()?;
    let (readable, other) = std::os::unix::net::UnixDatagram::pair()?;
    other.send(b"for ever")?;
    for thread in 0..control.thread_count() {
        let state = Arc::clone(&state);
        control.watch_file(readable.as_fd(), Interest::Readable, thread, move |_, _| {
            state.wakes.fetch_add(1, Ordering::Relaxed);
        })?;
    }
    Ok(())
}

/// Counts packets, or fails.
struct Counting {
    state: Arc<State>,
    /// Packets that it made and keeps.
    held: Vec<HeldPacket>,
}

impl Counting {
    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let state: Arc<State> = init.resource()?;
        if state.word.ends_with("fail-in-node") {
            bail!("the switch says so");
        }
        Ok(Self { state, held: Vec::new() })
    }

    /// Counts a packet for its flow.
    fn note_flow(&self, worker: &raddle_plugin_api::Worker<'_>, header: &[u8]) {
        let Some(Ok(addresses)) = header.get(12..20).map(<[u8; 8]>::try_from) else { return };
        let (key, ends_ns) = (u64::from_be_bytes(addresses), worker.now_ns() + SILENCE_NS);
        self.state.flows.with(worker, |flows| {
            let hash = flows.hash(&key);
            match flows.find(hash, &key).and_then(|number| flows.get_mut(number)) {
                Some(flow) => {
                    flow.value += 1;
                    flow.keep_until(ends_ns);
                }
                // A full table forgets.
                None => {
                    let _ = flows.insert(hash, key, 1, ends_ns);
                }
            }
        });
    }

    fn process<N: Node<Error = NoError>>(&mut self, vector: Vector<'_, N>) {
        match self.state.fault.load(Ordering::Relaxed) {
            fault::HANG => {
                while self.state.fault.load(Ordering::Relaxed) == fault::HANG {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            // Neither sent on nor dropped.
            fault::LEAK => return drop(vector),
            fault::CRASH => {
                // SAFETY: none; this is a fault on purpose, as a wild pointer in a C library would be.
                unsafe { std::hint::black_box(8 as *const u8).read_volatile() };
            }
            fault::ABORT => std::process::abort(),
            fault::BUS => signals::bus(),
            fault::ILLEGAL => signals::illegal(),
            fault::DIVIDE => signals::divide(),
            _ => {}
        }
        let mut count = 0;
        vector.each(|env, packet| {
            count += 1;
            self.note_flow(env.worker(), packet.bytes());
            self.state.seen.with(env.worker(), |entries| entries[0] += 1);
            self.state.own.fetch_add(1, Ordering::Relaxed);
            if self.state.fault.load(Ordering::Relaxed) == fault::PANIC {
                // A packet made and in hand when it happens.
                self.held.extend(env.worker().allocate());
                panic!("as a command has said, at packet {count}");
            }
            Verdict::Continue
        });
    }
}

macro_rules! counting_node {
    ($name:ident, $node:literal) => {
        struct $name(Counting);

        impl Node for $name {
            const NAME: &'static str = $node;
            type Next = NoNext;
            type Error = NoError;

            fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
                Counting::new(init).map(Self)
            }

            fn process(&mut self, vector: Vector<'_, Self>) {
                self.0.process(vector);
            }
        }
    };
}

counting_node!(Open, "faulty");
counting_node!(Closed, "faulty-closed");
