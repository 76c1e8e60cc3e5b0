//! Commands for many routes: read from a file by a thread of their own, put in by the main thread in short turns.
#![forbid(unsafe_code)]

use std::fs::File;
use std::future::Future;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::task::{self, Remote};
use raddle_plugin_api::wire::IpPrefix;
use serde::{Deserialize, Serialize};

use super::fib::Source;
use super::route_text::RouteText;
use super::routes::{Bulk, BulkChange, Routes};

command! {
    "route load <file:path> [table <table:word>]",
    "adds the routes of a file, one a line, as `10.0.0.0/8 via 192.0.2.1`",
    async load
}
command! {
    "route unload <file:path> [table <table:word>]",
    "removes the routes of a file from those that were loaded",
    async unload
}
command! {
    "route batch [table <table:word>] <routes:string>",
    "adds routes, separated by semicolons, as a line of a file has them",
    async batch
}
command! {
    "route flush [table <table:word>]",
    "removes all routes of a table but those of interfaces and plugins",
    async flush
}

/// How long the main thread changes routes before it does something else.
const TURN_NS: u64 = 500_000;
/// Bytes that a file of routes may have.
const MAX_FILE_BYTES: u64 = 2 << 30;
/// How often it is looked whether a file has been read.
const LOOK: Duration = Duration::from_millis(2);

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Loaded {
    /// Changes that were made.
    routes: usize,
    /// Sets of next hops that they share.
    path_sets: usize,
    milliseconds: u64,
}

impl CommandOutput for Loaded {
    fn text(&self) -> Option<String> {
        let Self { routes, path_sets, milliseconds } = self;
        Some(format!("{routes} routes with {path_sets} different next hops in {milliseconds} ms"))
    }
}

#[derive(Deserialize)]
struct FileArguments {
    file: PathBuf,
    table: Option<String>,
}

#[derive(Deserialize)]
struct BatchArguments {
    routes: String,
    table: Option<String>,
}

#[derive(Deserialize)]
struct FlushArguments {
    table: Option<String>,
}

/// The table that was named, or the default one.
fn table(name: Option<&str>) -> TableKey {
    // Any text names a table, whether there is one or not.
    name.and_then(|name| name.parse().ok()).unwrap_or_default()
}

fn load(
    control: &mut Control<'_>,
    arguments: FileArguments,
) -> Result<impl Future<Output = Result<Loaded, Failure>> + use<>, Failure> {
    from_file(control, arguments, false)
}

fn unload(
    control: &mut Control<'_>,
    arguments: FileArguments,
) -> Result<impl Future<Output = Result<Loaded, Failure>> + use<>, Failure> {
    from_file(control, arguments, true)
}

fn from_file(
    control: &mut Control<'_>,
    arguments: FileArguments,
    removes: bool,
) -> Result<impl Future<Output = Result<Loaded, Failure>> + use<>, Failure> {
    let table = table(arguments.table.as_deref());
    control.resource::<Routes>()?.find_table(&table)?;
    let (remote, start_ns) = (control.remote(), control.now_ns());
    let reader = std::thread::Builder::new()
        .name("route-load".into())
        .spawn(move || read(&arguments.file))
        .map_err(|error| failure!("no thread can be started to read the file: {error}"))?;
    Ok(async move {
        while !reader.is_finished() {
            task::sleep(LOOK).await;
        }
        let text = reader.join().map_err(|_| failure!("the file's reader panicked"))??;
        carry_out(remote, Job::new(table, text, removes, start_ns)).await
    })
}

fn batch(
    control: &mut Control<'_>,
    arguments: BatchArguments,
) -> Result<impl Future<Output = Result<Loaded, Failure>> + use<>, Failure> {
    let table = table(arguments.table.as_deref());
    control.resource::<Routes>()?.find_table(&table)?;
    let text = RouteText::parse(arguments.routes.split(';'))?;
    Ok(carry_out(control.remote(), Job::new(table, text, false, control.now_ns())))
}

fn flush(
    control: &mut Control<'_>,
    arguments: FlushArguments,
) -> Result<impl Future<Output = Result<Loaded, Failure>> + use<>, Failure> {
    let table = table(arguments.table.as_deref());
    control.resource::<Routes>()?.flush(control, &table)?;
    Ok(carry_out(control.remote(), Job::flush(table, control.now_ns())))
}

/// Reads a file of routes; on a thread of its own, as the disk may be slow.
fn read(path: &Path) -> Result<RouteText, Failure> {
    let named = |error: std::io::Error| failure!("{} cannot be read: {error}", path.display());
    let file = File::open(path).map_err(named)?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(named)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        bail!("{} has more than {MAX_FILE_BYTES} bytes", path.display());
    }
    let mut routes = RouteText::parse(text.lines()).map_err(|failure| failure.context(path.display()))?;
    // Neighbours in the table are changed one after the other, with what they share still in the cache; of one prefix the
    // order stays.
    routes.routes.sort_by_key(|(prefix, _)| *prefix);
    Ok(routes)
}

/// What is to be done, and how far it is.
struct Job {
    table: TableKey,
    /// What the routes are to do; taken when the work begins.
    text: RouteText,
    changes: Vec<BulkChange>,
    next: usize,
    bulk: Option<Bulk>,
    /// Of a flush: where to go on looking for routes.
    flushing: Option<Option<IpPrefix>>,
    done: usize,
    turns: u64,
    start_ns: u64,
    outcome: Option<Result<Loaded, Failure>>,
}

impl Job {
    fn new(table: TableKey, mut text: RouteText, removes: bool, start_ns: u64) -> Self {
        let routes = std::mem::take(&mut text.routes);
        let changes = routes.into_iter().map(|(prefix, at)| (prefix, (!removes).then_some(at))).collect();
        Self {
            table,
            text,
            changes,
            next: 0,
            bulk: None,
            flushing: None,
            done: 0,
            turns: 0,
            start_ns,
            outcome: None,
        }
    }

    fn flush(table: TableKey, start_ns: u64) -> Self {
        Self { flushing: Some(None), ..Self::new(table, RouteText::default(), true, start_ns) }
    }

    /// Works for a turn's time; what it comes to at the end is the outcome.
    fn turn(&mut self, control: &Control<'_>) {
        self.turns += 1;
        if self.outcome.is_some() {
            return;
        }
        if let Some(outcome) = self.work(control).transpose() {
            if let (Some(bulk), Ok(routes)) = (self.bulk.take(), control.resource::<Routes>()) {
                routes.end(control, bulk);
            }
            self.outcome = Some(outcome);
        }
    }

    fn work(&mut self, control: &Control<'_>) -> Result<Option<Loaded>, Failure> {
        let routes = control.resource::<Routes>()?;
        let until_ns = control.now_ns() + TURN_NS;
        let bulk = match &mut self.bulk {
            Some(bulk) => bulk,
            None => {
                let actions = routes.actions(control, &self.text.targets)?;
                self.bulk.insert(routes.begin(&self.table, Source::LOADED, actions)?)
            }
        };
        if self.next == self.changes.len()
            && let Some(after) = self.flushing
        {
            let (prefixes, go_on) = routes.prefixes_of(&self.table, Source::LOADED, after, 512)?;
            self.changes = prefixes.into_iter().map(|prefix| (prefix, None)).collect();
            self.next = 0;
            self.flushing = go_on.map(Some);
        }
        let turn = routes.turn(control, bulk, &self.changes[self.next..], until_ns);
        self.next += turn.done;
        self.done += turn.done;
        if let Some(failure) = turn.failure {
            let done = self.done;
            return Err(failure.context(format_args!("stopped behind {done} routes, which stay")));
        }
        if self.next < self.changes.len() || self.flushing.is_some() {
            return Ok(None);
        }
        Ok(Some(Loaded {
            routes: self.done,
            path_sets: self.text.targets.len(),
            milliseconds: (control.now_ns() - self.start_ns) / 1_000_000,
        }))
    }
}

/// Has the main thread work on the job in turns, between which it does all else.
async fn carry_out(remote: Remote, job: Job) -> Result<Loaded, Failure> {
    let job = Arc::new(Mutex::new(job));
    loop {
        let turns = lock(&job).turns;
        let shared = Arc::clone(&job);
        remote.run(move |control| lock(&shared).turn(control));
        while lock(&job).turns == turns {
            // Behind what else there is to be done.
            task::yield_now().await;
        }
        if let Some(outcome) = lock(&job).outcome.take() {
            return outcome;
        }
    }
}

fn lock(job: &Mutex<Job>) -> MutexGuard<'_, Job> {
    job.lock().unwrap_or_else(PoisonError::into_inner)
}
