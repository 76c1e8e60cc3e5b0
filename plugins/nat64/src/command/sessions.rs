//! `show nat64 sessions`, `clear nat64 sessions`.

use raddle_plugin_api::prelude::*;
use serde::Serialize;

use super::Threads;
use super::filter::{Filter, Wanted};
use crate::errand::Walk;
use crate::service::{TICKS_PER_SECOND, ticks};
use crate::state::{Protocol, Session, TcpState};

/// Sessions that a thread ends in one pass of its loop.
const ENDED_PER_PASS: usize = 128;

command! {
    "show nat64 sessions [protocol <protocol:word>] [tenant <tenant:word>] [inside <inside:word>] [outside <outside:word>] [remote <remote:word>] [count <count:u32>]",
    "shows sessions, all or those of a protocol, a tenant or an address; 100 unless a count is given",
    async show
}
command! {
    "clear nat64 sessions [protocol <protocol:word>] [tenant <tenant:word>] [inside <inside:word>] [outside <outside:word>] [remote <remote:word>]",
    "ends sessions, all or those of a protocol, a tenant or an address",
    async clear
}

/// A session.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SessionRow {
    protocol: Protocol,
    inside: String,
    outside: String,
    remote: String,
    state: Option<TcpState>,
    ends_in_seconds: u32,
    age_seconds: u32,
    thread: u32,
    tenant: Option<String>,
}

fn show(
    control: &mut Control<'_>,
    wanted: Wanted,
) -> Result<impl Future<Output = Result<Vec<SessionRow>, Failure>> + use<>, Failure> {
    let threads = Threads::of(control)?;
    let rules = threads.nat.rules.get(control);
    let filter = wanted.filter(rules)?;
    let names: Vec<String> = rules.tenants.iter().map(|tenant| tenant.name.clone()).collect();
    let now = ticks(control.now_ns());
    Ok(async move {
        let mut rows = Vec::new();
        for thread in 0..threads.count {
            for session in sessions_of(&threads, thread, filter, filter.count - rows.len()).await? {
                rows.push(row(&session, &names, thread, now));
            }
        }
        Ok(rows)
    })
}

async fn sessions_of(
    threads: &Threads,
    thread: u32,
    filter: Filter,
    most: usize,
) -> Result<Vec<Session>, Failure> {
    let (mut walk, mut found) = (Walk::default(), Vec::new());
    threads
        .errands
        .ask(thread, move |_, local| {
            let range = walk.portion(local.shard.session_numbers());
            let page = local.shard.session_page(range).map(|(_, session)| session);
            found.extend(
                page.filter(|session| filter.takes_session(session)).take(most - found.len()).copied(),
            );
            (walk.is_over() || found.len() == most).then(|| std::mem::take(&mut found))
        })
        .await
}

fn row(session: &Session, names: &[String], thread: u32, now: u32) -> SessionRow {
    let outside = session.flow4();
    SessionRow {
        protocol: session.protocol(),
        inside: format!("[{}]:{}", session.inside, session.inside_port),
        outside: format!("{}:{}", session.outside, session.outside_port),
        remote: match session.is_asked() {
            true => "anybody, as the host has asked".to_owned(),
            false => format!("{}:{}", session.remote, outside.remote_port),
        },
        state: (session.protocol() == Protocol::Tcp && !session.is_asked()).then_some(session.state()),
        ends_in_seconds: session.ends.saturating_sub(now) / TICKS_PER_SECOND,
        age_seconds: now.saturating_sub(session.began) / TICKS_PER_SECOND,
        thread,
        tenant: names.get(usize::from(session.tenant)).filter(|name| !name.is_empty()).cloned(),
    }
}

/// What was ended.
#[derive(Debug, Serialize)]
struct Cleared {
    sessions: u64,
}

impl CommandOutput for Cleared {
    fn text(&self) -> Option<String> {
        Some(format!("{} sessions ended\n", self.sessions))
    }
}

fn clear(
    control: &mut Control<'_>,
    wanted: Wanted,
) -> Result<impl Future<Output = Result<Cleared, Failure>> + use<>, Failure> {
    let threads = Threads::of(control)?;
    let filter = wanted.filter(threads.nat.rules.get(control))?;
    Ok(async move {
        let mut sessions = 0;
        for thread in 0..threads.count {
            sessions += end_on(&threads, thread, filter).await?;
        }
        Ok(Cleared { sessions })
    })
}

/// Ends sessions of a thread; returns how many there were.
async fn end_on(threads: &Threads, thread: u32, filter: Filter) -> Result<u64, Failure> {
    let (mut walk, mut ended, nat) = (Walk::default(), 0, threads.nat.clone());
    threads
        .errands
        .ask(thread, move |worker, local| {
            let range = walk.portion(local.shard.session_numbers());
            let page = local.shard.session_page(range).filter(|(_, session)| filter.takes_session(session));
            let (rules, now) = (nat.rules.read(worker), ticks(worker.now_ns()));
            let found: Vec<u32> = page.map(|(number, _)| number).take(ENDED_PER_PASS).collect();
            for &number in &found {
                let Some(over) = local.shard.end(number, rules, now) else { continue };
                ended += 1;
                nat.ended(worker, local, &over);
            }
            if found.len() == ENDED_PER_PASS {
                // There may be more in this portion.
                walk.next = found.last().map_or(walk.next, |&last| last + 1);
            }
            walk.is_over().then_some(ended)
        })
        .await
}
