//! All figures of one moment, by the commands that anybody may use.

use std::time::Instant;

use serde::de::DeserializeOwned;

use crate::control::client::{Client, ClientError};
use crate::control::protocol::Format;
use crate::host::InterfaceState;
use crate::host::methods::{BufferReport, ErrorRow, PluginReport, RuntimeReport, ThreadReport};

/// The figures.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub taken: Instant,
    pub interfaces: Vec<InterfaceState>,
    pub runtime: RuntimeReport,
    pub plugins: Vec<PluginReport>,
    pub errors: Vec<ErrorRow>,
    pub buffers: BufferReport,
    pub threads: Vec<ThreadReport>,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub(super) enum SampleError {
    /// The daemon does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It does, but not with figures.
    #[error("`{command}`: {reason}")]
    Answer {
        /// What was asked.
        command: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Asks for all figures.
///
/// # Errors
/// The daemon does not answer, or is of another version.
pub(super) fn take(client: &mut Client) -> Result<Sample, SampleError> {
    Ok(Sample {
        taken: Instant::now(),
        interfaces: ask(client, "show interface")?,
        runtime: ask(client, "show runtime")?,
        plugins: ask(client, "show plugins")?,
        errors: ask(client, "show errors")?,
        buffers: ask(client, "show buffers")?,
        threads: ask(client, "show threads")?,
    })
}

fn ask<T: DeserializeOwned>(client: &mut Client, command: &'static str) -> Result<T, SampleError> {
    let wrong = |reason: String| SampleError::Answer { command, reason };
    let answer = client.execute(command, Format::Json)?.map_err(|failure| wrong(failure.render()))?;
    let data = answer.data.ok_or_else(|| wrong("no data came".to_owned()))?;
    serde_json::from_value(data).map_err(|error| wrong(error.to_string()))
}
