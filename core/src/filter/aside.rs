//! Compiling on a thread of its own: names of hosts in an expression are asked of name servers, and nobody waits for
//! those but who wants the filter.
#![forbid(unsafe_code)]

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use raddle_plugin_api::{Failure, failure};

use super::expression::Filter;
use super::libpcap::compile;

#[derive(Default)]
struct Outcome {
    filter: Option<Result<Filter, Failure>>,
    waker: Option<Waker>,
}

/// Compiles an expression without keeping the calling thread.
///
/// # Errors
/// As [`compile`]; no thread is to be had.
pub fn compile_aside(text: String) -> impl Future<Output = Result<Filter, Failure>> {
    let shared = Arc::new(Mutex::new(Outcome::default()));
    let theirs = Arc::clone(&shared);
    let work = move || {
        let filter = compile(&text).map_err(|error| failure!("{error}"));
        let mut shared = theirs.lock().unwrap_or_else(PoisonError::into_inner);
        shared.filter = Some(filter);
        if let Some(waker) = shared.waker.take() {
            waker.wake();
        }
    };
    let mut spawned = std::thread::Builder::new().name("filter".into()).spawn(work).map(drop).err();
    poll_fn(move |context| {
        if let Some(error) = spawned.take() {
            return Poll::Ready(Err(failure!("cannot start a thread to compile the filter: {error}")));
        }
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        match shared.filter.take() {
            Some(filter) => Poll::Ready(filter),
            None => {
                shared.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
}
