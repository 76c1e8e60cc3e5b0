//! The task that keeps all in line: it works when something happens, and looks once a second.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use raddle_plugin_api::address::ADDRESSES_CHANGED;
use raddle_plugin_api::event::Events;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::route::{ROUTES_PER_TURN, RouteBatch, RouteTarget};
use raddle_plugin_api::task::{self, TaskControl};

use crate::mirror::Changed;
use crate::service::{Mirror, Service};

/// Name of the events that have the task work.
pub const WORK: &str = "tuntap-work";
/// How often it looks without being told to.
const TICK: Duration = Duration::from_secs(1);
/// Changes that are taken from a mirror at a time, in turns.
const AT_A_TIME: usize = 8 * ROUTES_PER_TURN;
/// How soon a mirror is looked at again that its monitor is at work on.
const SOON: Duration = Duration::from_millis(1);

/// Starts it.
pub fn start(control: &Control<'_>) {
    control.spawn("tuntap", |task| {
        // What is signalled before the task first runs is not missed.
        let events = [task.subscribe(WORK), task.subscribe(ADDRESSES_CHANGED)];
        async move {
            let [Ok(mut work), Ok(mut addresses)] = events else {
                task.with(|control| log_error!(control, "tuntap: the host has no events"));
                return;
            };
            loop {
                let Ok(service) = task.with(|control| control.resource::<Service>()) else { return };
                let mirrors = task.with(|control| service.reconcile(control));
                for mirror in mirrors {
                    follow(task, &mirror).await;
                }
                something(&mut work, &mut addresses).await;
            }
        }
    });
}

/// Waits for an event of either kind, or a while; what there is of them counts as one.
async fn something(work: &mut Events, addresses: &mut Events) {
    {
        let (mut work, mut addresses) =
            (pin!(work.next::<serde_json::Value>()), pin!(addresses.next::<serde_json::Value>()));
        let mut tick = pin!(task::sleep(TICK));
        poll_fn(|context| {
            // All are polled, so that each wakes the task.
            let ready = [
                work.as_mut().poll(context).is_ready(),
                addresses.as_mut().poll(context).is_ready(),
                tick.as_mut().poll(context).is_ready(),
            ];
            if ready.contains(&true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    for events in [work, addresses] {
        poll_fn(|context| {
            while pin!(events.next::<serde_json::Value>()).poll(context).is_ready() {}
            Poll::Ready(())
        })
        .await;
    }
}

/// Takes over what a mirror has to change, in turns between which the main thread does all else.
async fn follow(task: TaskControl, mirror: &Arc<Mirror>) {
    let mut made = 0;
    loop {
        let taken = mirror.try_routes().map(|mut routes| {
            routes.settled(std::mem::take(&mut made));
            routes.take_changes(AT_A_TIME)
        });
        let Some(changes) = taken else {
            task::sleep(SOON).await;
            continue;
        };
        if changes.is_empty() {
            return;
        }
        for turn in changes.chunks(ROUTES_PER_TURN) {
            task.with(|control| change(control, mirror, turn));
            // Behind what else there is to be done.
            task::yield_now().await;
        }
        made = changes.len();
    }
}

/// Makes changes; those that are refused are noted, and their prefixes have no route of ours.
fn change(control: &Control<'_>, mirror: &Mirror, changes: &[Changed]) {
    if control.change_routes(&batch(mirror, changes)).is_ok() {
        return;
    }
    for single in changes.chunks(1) {
        let Err(failure) = control.change_routes(&batch(mirror, single)) else { continue };
        let prefix = single[0].0;
        // Whatever was there before is not what the kernel has.
        let _ = control.change_routes(&batch(mirror, &[(prefix, None)]));
        mirror.routes().refused(prefix, failure.to_string());
    }
}

/// The changes as the host takes them, each target once.
fn batch(mirror: &Mirror, changes: &[Changed]) -> RouteBatch {
    let (mut targets, mut places) = (Vec::new(), HashMap::<*const RouteTarget, u32>::new());
    let routes = changes
        .iter()
        .map(|(prefix, target)| {
            let place = target.as_ref().map(|target| {
                *places.entry(Arc::as_ptr(target)).or_insert_with(|| {
                    targets.push(RouteTarget::clone(target));
                    targets.len() as u32 - 1
                })
            });
            (*prefix, place)
        })
        .collect();
    let (table, preference) = (mirror.config.table.clone(), mirror.config.preference.get() as u8);
    RouteBatch { table, preference, owner: crate::service::OWNER, targets, routes }
}
