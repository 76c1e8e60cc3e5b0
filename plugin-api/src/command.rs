//! Commands: arguments in by type, data out, text made of the data.

use std::ffi::c_void;
use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::abi::{Status, Text};
use crate::guard::guard;
use crate::instance::Instance;
use crate::{Control, Failure};

/// What a command returns: data for `--json`, and text for people.
///
/// Without a `text` of its own, the host lays the data out: a list of records as a table, a record as lines.
pub trait Output: Serialize {
    /// The text for people.
    fn text(&self) -> Option<String> {
        None
    }

    /// The command that gives what follows, where this is a part of the answer only. The control socket runs it when this part
    /// has been taken, so an answer of any size costs the main thread short turns and little memory. Parts that are lists
    /// make one list.
    fn rest(&self) -> Option<String> {
        None
    }
}

/// A command that has nothing to say when it succeeds.
impl Output for () {
    fn text(&self) -> Option<String> {
        Some(String::new())
    }
}

impl<T: Serialize> Output for Vec<T> {}

impl Output for serde_json::Value {}

/// Text that is the whole answer.
impl Output for String {
    fn text(&self) -> Option<String> {
        Some(self.clone())
    }
}

/// No arguments.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
pub struct NoArguments {}

/// Data of a command, laid out by the host.
#[derive(Debug)]
pub struct Data<T>(pub T);

impl<T: Serialize> Serialize for Data<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<T: Serialize> Output for Data<T> {}

/// Tells the host that the data has no text of its own.
#[doc(hidden)]
pub const LAY_OUT: &str = "\u{0}";

/// Stands between a command's text and the command that gives the rest.
#[doc(hidden)]
pub const CONTINUES: char = '\u{1}';

fn answer<T: Output>(instance: &Instance, command: u64, outcome: Result<Result<T, Failure>, String>) {
    let (status, json, text) = match outcome {
        Ok(Ok(output)) => match serde_json::to_string(&output) {
            Ok(json) => {
                let mut text = output.text().unwrap_or_else(|| LAY_OUT.to_owned());
                if let Some(rest) = output.rest() {
                    text.push(CONTINUES);
                    text.push_str(&rest);
                }
                (Status::OK, json, text)
            }
            Err(error) => (Status::FAILED, String::new(), format!("the answer is not JSON: {error}")),
        },
        Ok(Err(failure)) => (Status::FAILED, String::new(), failure.to_string()),
        Err(panic) => (Status::PANICKED, String::new(), panic),
    };
    // SAFETY: the host outlives its instances.
    let host = unsafe { &*instance.host() };
    // SAFETY: the texts live until the call returns; each command is answered once: see the callers.
    unsafe { (host.reply)(host.data, command, status, Text::new(&json), Text::new(&text)) };
}

/// # Safety
/// Called by the host as `CommandRegistration::run`, on its main thread.
#[doc(hidden)]
pub unsafe fn run_command<A: DeserializeOwned, T: Output>(
    function: fn(&mut Control<'_>, A) -> Result<T, Failure>,
    instance: *mut c_void,
    arguments: Text,
    command: u64,
) {
    // SAFETY: the host hands over the instance that the plugin made.
    let instance = unsafe { Instance::from_ptr(instance) };
    let outcome = guard(|| {
        // SAFETY: commands run on the main thread, between two passes; the text lives until the call returns.
        let (mut control, arguments) = unsafe { (Control::new(instance), arguments.as_str()) };
        function(&mut control, serde_json::from_str(arguments.unwrap_or("{}"))?)
    });
    answer(instance, command, outcome);
}

/// # Safety
/// As [`run_command`].
#[doc(hidden)]
pub unsafe fn run_async_command<A, T, F>(
    function: fn(&mut Control<'_>, A) -> Result<F, Failure>,
    instance: *mut c_void,
    arguments: Text,
    command: u64,
) where
    A: DeserializeOwned,
    T: Output,
    F: Future<Output = Result<T, Failure>> + 'static,
{
    // SAFETY: as in `run_command`.
    let instance = unsafe { Instance::from_ptr(instance) };
    let outcome = guard(|| {
        // SAFETY: as in `run_command`.
        let (mut control, arguments) = unsafe { (Control::new(instance), arguments.as_str()) };
        let future = function(&mut control, serde_json::from_str(arguments.unwrap_or("{}"))?)?;
        control.spawn("command", |task| {
            let pending = PendingAnswer { task: Some(task), command };
            async move {
                let outcome = future.await;
                pending.answer(outcome);
            }
        });
        Ok(())
    });
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => answer::<()>(instance, command, Ok(Err(failure))),
        Err(panic) => answer::<()>(instance, command, Err(panic)),
    }
}

/// Answers a command whose task ended before it could.
struct PendingAnswer {
    task: Option<crate::task::TaskControl>,
    command: u64,
}

impl PendingAnswer {
    fn answer<T: Output>(mut self, outcome: Result<T, Failure>) {
        if let Some(task) = self.task.take() {
            task.with(|control| answer(control.instance(), self.command, Ok(outcome)));
        }
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            let gone = Err::<(), _>(Failure::new("the command was given up"));
            task.with(|control| answer(control.instance(), self.command, Ok(gone)));
        }
    }
}
