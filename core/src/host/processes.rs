//! What tasks wait for, on the engine's side: named events and descriptors.

use std::io;

use raddle_plugin_api::abi::FileRequest;
use raddle_plugin_api::event::{Signal, Subscribe, Take, Taken};
use raddle_plugin_api::{Failure, bail, failure};
use serde_json::Value;

use super::engine::Engine;
use super::methods::typed;
use crate::graph::Owner;

impl Engine {
    /// Watches a descriptor for `owner`; returns the watch's number.
    ///
    /// # Errors
    /// It cannot be watched, or there is no such thread; the request's state is still the caller's then.
    ///
    /// # Safety
    /// The request is as the ABI says.
    pub(super) unsafe fn watch_file(&self, owner: Owner, request: &FileRequest) -> Result<u64, Failure> {
        let threads = self.threads.borrow();
        if request.thread as usize >= threads.count() {
            bail!("there is no thread {}; threads are 0 (main) to {}", request.thread, threads.count() - 1);
        }
        let remote = self.remote();
        let on_panic = move || {
            remote.run(move |engine| {
                engine.quarantine(owner, "the function of a watched descriptor panicked");
            });
        };
        let shared = threads.shared(request.thread as usize);
        let mut executor = self.executor.borrow_mut();
        // SAFETY: as the caller vouches.
        let watched = unsafe { executor.watches().add(owner, shared, request, Box::new(on_panic)) };
        watched.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                failure!("descriptor {} cannot be watched: it is always ready", request.fd)
            }
            _ => failure!("descriptor {} cannot be watched: {error}", request.fd),
        })
    }

    /// Ends a watch; its function is not called any more.
    pub(super) fn unwatch_file(&self, number: u64) {
        let gone = self.executor.borrow_mut().watches().remove(number);
        drop(gone);
    }

    pub(super) fn add_event_methods(&self) {
        self.add_method("event.subscribe", |engine, arguments| {
            let Subscribe { name } = typed(arguments)?;
            let owner = engine.current_owner.get();
            Ok(engine.executor.borrow_mut().events().subscribe(owner, name).into())
        });
        self.add_method("event.unsubscribe", |engine, arguments| {
            engine.executor.borrow_mut().events().unsubscribe(typed(arguments)?);
            Ok(Value::Null)
        });
        self.add_method("event.take", |engine, arguments| {
            let Take { subscription, task } = typed(arguments)?;
            let taken = engine.executor.borrow_mut().events().take(subscription, task)?;
            Ok(serde_json::to_value(taken.map(|data| Taken { data }))?)
        });
        self.add_method("event.signal", |engine, arguments| {
            let Signal { name, data } = typed(arguments)?;
            let (heard, tasks) = engine.executor.borrow_mut().events().signal(&name, &data);
            tasks.into_iter().for_each(|task| engine.any.wakes.wake(task));
            Ok(heard.into())
        });
    }
}
