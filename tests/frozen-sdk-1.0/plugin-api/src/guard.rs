//! Where a panic ends: at the edge of the plugin that it happened in.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::abi::{Sink, Status};

/// Runs `body`; a panic becomes `Err` with its message. Used once around each function that the host calls.
pub(crate) fn guard<R>(body: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
        if let Some(text) = payload.downcast_ref::<&str>() {
            (*text).to_owned()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.clone()
        } else {
            "a panic without a message".to_owned()
        }
    })
}

/// Runs `body` for the host: the outcome as a status, the reason into `error`.
///
/// # Safety
/// `error` is the sink of the call that is being served.
pub(crate) unsafe fn status(error: Sink, body: impl FnOnce() -> Result<(), crate::Failure>) -> Status {
    let (status, text) = match guard(body) {
        Ok(Ok(())) => return Status::OK,
        Ok(Err(failure)) => (Status::FAILED, failure.to_string()),
        Err(panic) => (Status::PANICKED, panic),
    };
    // SAFETY: the call is still being served.
    unsafe { error.write(&text) };
    status
}

/// As [`status`], for functions that return a pointer to a value that they made; null where it failed.
///
/// # Safety
/// As [`status`].
pub(crate) unsafe fn boxed<T>(
    error: Sink,
    body: impl FnOnce() -> Result<T, crate::Failure>,
) -> *mut std::ffi::c_void {
    let mut made = None;
    // SAFETY: passed on to the caller.
    unsafe {
        status(error, || {
            made = Some(Box::new(body()?));
            Ok(())
        });
    }
    made.map_or(std::ptr::null_mut(), |value| Box::into_raw(value).cast())
}
