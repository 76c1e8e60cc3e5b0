//! Carries out the lines of the control socket by the engine's commands.
//!
//! Lines are read on the socket's own threads; commands run on the main thread, between two passes of its loop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::language::{CommandId, CommandSet, Completion, Interpreted, NoCompleter};
use super::names::EngineNames;
use super::pending::{Abandoned, Pending};
use super::protocol::{Executor, Failure, Format, Output, Reply};
use crate::host::{Engine, Remote};

/// How often a line is read anew because the commands have changed meanwhile.
const MOST_READINGS: usize = 8;

/// Carries out commands by the engine. Any number of threads may call it, but not the main one: it is waited for.
pub struct EngineExecutor {
    remote: Remote,
    pending: Pending,
    known: Mutex<Arc<Known>>,
}

/// The commands of one version.
struct Known {
    /// `None` before the engine was first asked.
    version: Option<u64>,
    set: CommandSet,
    /// The usage strings as they were registered.
    usages: HashMap<CommandId, String>,
}

/// The commands as the engine lists them.
struct Listing {
    version: u64,
    commands: Vec<Listed>,
}

struct Listed {
    usage: String,
    summary: String,
    owner: String,
}

enum Run {
    Done(Reply),
    /// The commands have changed since the line was read.
    Changed(Listing),
}

impl EngineExecutor {
    /// An executor for the engine behind `remote`.
    pub fn new(remote: Remote) -> Self {
        let known = Known { version: None, set: CommandSet::new(), usages: HashMap::new() };
        Self { remote, pending: Pending::default(), known: Mutex::new(Arc::new(known)) }
    }

    /// Ends all calls that wait for the engine with an error, and refuses those that come. To be called when the main
    /// loop has ended, before the control socket's server is stopped.
    pub fn stop(&self) {
        self.pending.stop();
    }

    /// Asks the main thread.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Result<T, Abandoned> {
        self.pending.ask(|answerer| self.remote.run(move |engine| answerer.answer(question(engine))))
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn learn(&self, listing: Listing) -> Arc<Known> {
        let known = Arc::new(Known::new(listing));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&known);
        known
    }

    /// The commands of now, if they are others than `known`.
    fn newer(&self, known: &Known) -> Result<Option<Arc<Known>>, Abandoned> {
        let version = known.version;
        let listing =
            self.ask(move |engine| (Some(engine.commands_version()) != version).then(|| list(engine)))?;
        Ok(listing.map(|listing| self.learn(listing)))
    }

    fn run(
        &self,
        known: &Known,
        command: CommandId,
        arguments: Map<String, Value>,
    ) -> Result<Run, Abandoned> {
        let (version, usage) = (known.version, known.usages.get(&command).cloned().unwrap_or_default());
        self.pending.ask(|answerer| {
            self.remote.run(move |engine| {
                let (now, commands) = engine.commands();
                let entry = commands.into_iter().find(|entry| entry.usage == usage);
                let Some(entry) = entry.filter(|_| Some(now) == version) else {
                    return answerer.answer(Run::Changed(list(engine)));
                };
                let reply = move |outcome: Result<crate::host::Answer, raddle_plugin_api::Failure>| {
                    answerer.answer(Run::Done(match outcome {
                        Ok(answer) => Ok(Output { data: answer.data, text: answer.text, rest: answer.rest }),
                        Err(failure) => Err(Failure::new(failure.to_string())),
                    }));
                };
                engine.run_command(&entry, &Value::Object(arguments), Box::new(reply));
            });
        })
    }
}

impl Executor for EngineExecutor {
    fn execute(&self, line: &str, _: Format) -> Reply {
        let mut known = self.known();
        for _ in 0..MOST_READINGS {
            let reading = known.set.interpret(line);
            let failure = match reading {
                Ok(Interpreted::Nothing) => {
                    return Ok(Output { text: Some(String::new()), ..Output::from(Value::Null) });
                }
                Ok(Interpreted::Command(invocation)) => {
                    match self.run(&known, invocation.command, invocation.arguments)? {
                        Run::Done(reply) => return reply,
                        Run::Changed(listing) => known = self.learn(listing),
                    }
                    continue;
                }
                Ok(Interpreted::Help(page)) => {
                    Ok(Output { text: Some(page.to_string()), ..Output::from(json!(page)) })
                }
                Err(error) => Err(error.into()),
            };
            // What the line is not, it may be by a command that has come since.
            match self.newer(&known)? {
                Some(newer) => known = newer,
                None => return failure,
            }
        }
        Err(Failure::new("the commands change faster than the line can be read; try again"))
    }

    fn complete(&self, line: &str, cursor: usize) -> Completion {
        let known = self.known();
        match self.newer(&known) {
            Ok(newer) => newer.unwrap_or(known).set.complete(line, cursor, &EngineNames::new(self)),
            Err(Abandoned) => CommandSet::new().complete(line, cursor, &NoCompleter),
        }
    }
}

impl From<Abandoned> for Failure {
    fn from(abandoned: Abandoned) -> Self {
        Failure::new(abandoned.to_string())
    }
}

impl Known {
    fn new(listing: Listing) -> Self {
        let (mut set, mut usages) = (CommandSet::new(), HashMap::new());
        for Listed { usage, summary, owner } in listing.commands {
            match set.register(&usage, &summary) {
                Ok(id) => {
                    usages.insert(id, usage);
                }
                Err(error) => tracing::warn!(plugin = owner, %error, "a command is left out"),
            }
        }
        Self { version: Some(listing.version), set, usages }
    }
}

fn list(engine: &Engine) -> Listing {
    let (version, commands) = engine.commands();
    let mut names = HashMap::new();
    engine.for_each_image(|image| {
        names.insert(image.owner, image.parts.name.clone());
    });
    let listed = commands.into_iter().map(|command| Listed {
        owner: names.get(&command.owner).cloned().unwrap_or_default(),
        usage: command.usage,
        summary: command.summary,
    });
    Listing { version, commands: listed.collect() }
}
