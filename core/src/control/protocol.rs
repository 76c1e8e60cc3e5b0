//! What is spoken on the control socket: a JSON object a line each way.
//!
//! A line that does not begin with `{` is a command typed by a person; it is answered as plain text.

use std::io;

use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::language::{CommandError, Completion};

/// Bytes that a request line may have, its newline not counted.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// A request: a command to run, or a line to complete.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Chosen by the client; the response carries the same.
    #[serde(default)]
    pub id: u64,
    /// The command, as a person would type it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The line to complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<CompleteRequest>,
    /// What the response to a command is to hold.
    #[serde(default)]
    pub format: Format,
}

/// Asks what may stand at the cursor of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteRequest {
    /// The line.
    pub line: String,
    /// The cursor, in bytes from the beginning of the line.
    pub cursor: usize,
}

/// What the response to a command holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `text` alone.
    Text,
    /// `data` alone.
    Json,
    /// Both.
    #[default]
    Both,
}

/// The response to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Response {
    /// The id of the request; `null` when the request could not be read.
    pub id: Option<u64>,
    /// Whether the command was carried out.
    pub ok: bool,
    /// Whether another response to the same request follows, with more of what the command returns. Parts that are lists
    /// make one list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// What the command returns; for a completion, see the schema of `completion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// The data for people to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Why it was not carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// One sentence.
    pub message: String,
    /// The usage of the command, when the line was not understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
}

/// What a command returns.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The data.
    pub data: Value,
    /// The data for people to read; when a command brings none it is rendered from the data.
    pub text: Option<String>,
    /// The command that gives what follows, if this is a part only.
    pub rest: Option<String>,
}

/// What a command returns, or why it was not carried out.
pub type Reply = Result<Output, Failure>;

/// Carries out commands for the control socket. It is called by many threads at a time.
pub trait Executor: Send + Sync {
    /// Carries out one line. `format` tells what of the output will be used.
    fn execute(&self, line: &str, format: Format) -> Reply;

    /// What may stand at byte `cursor` of `line`.
    fn complete(&self, line: &str, cursor: usize) -> Completion;
}

impl Failure {
    /// A failure of a command that was understood.
    pub fn new(message: impl Into<String>) -> Self {
        Failure { message: message.into(), usage: None }
    }

    /// For people to read: the sentence and the usage.
    pub fn render(&self) -> String {
        match &self.usage {
            Some(usage) => format!("error: {}\nusage: {}", self.message, usage.replace('\n', "\n       ")),
            None => format!("error: {}", self.message),
        }
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        Failure { message: error.to_string(), usage: error.usage().map(str::to_owned) }
    }
}

impl From<Value> for Output {
    fn from(data: Value) -> Self {
        Output { data, text: None, rest: None }
    }
}

impl Output {
    /// The text, rendered from the data when the command brought none.
    pub fn into_text(self) -> String {
        self.text.unwrap_or_else(|| super::render::text(&self.data))
    }
}

impl Response {
    /// The response to a command.
    pub fn to_command(id: u64, format: Format, reply: Reply) -> Self {
        let mut response =
            Response { id: Some(id), ok: reply.is_ok(), more: false, data: None, text: None, error: None };
        match reply {
            Ok(output) if format == Format::Json => response.data = Some(output.data),
            Ok(output) if format == Format::Text => response.text = Some(output.into_text()),
            Ok(Output { data, text, .. }) => {
                response.text = Some(text.unwrap_or_else(|| super::render::text(&data)));
                response.data = Some(data);
            }
            Err(failure) => response.error = Some(failure),
        }
        response
    }

    /// The response to a request that failed; `id` is `None` when it could not be read.
    pub fn failure(id: Option<u64>, message: impl Into<String>) -> Self {
        Response { id, ok: false, more: false, data: None, text: None, error: Some(Failure::new(message)) }
    }

    /// The response to a completion.
    pub fn to_completion(id: u64, completion: &Completion) -> Self {
        match serde_json::to_value(completion) {
            Ok(data) => {
                Response { id: Some(id), ok: true, more: false, data: Some(data), text: None, error: None }
            }
            Err(error) => Response::failure(Some(id), error.to_string()),
        }
    }
}

impl Response {
    fn to_line(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            // Plain strings always serialize; what failed is the command's data.
            json!(Response::failure(self.id, format!("the answer cannot be written as JSON: {error}")))
                .to_string()
        })
    }
}

/// JSON Schemas of all that is spoken: `request`, `response`, and `completion` (the `data` of a completion's response).
pub fn schema() -> Value {
    json!({
        "request": schema_for!(Request),
        "response": schema_for!(Response),
        "completion": schema_for!(Completion),
    })
}

/// Answers one line of a client, by one or more parts. A part has no newline at its end and, unless it is plain text, none within;
/// the command that gives the next part is run when `write` has taken the one before.
///
/// # Errors
/// Those of `write`.
pub fn answer_each(
    line: &str,
    executor: &dyn Executor,
    write: &mut dyn FnMut(&str) -> io::Result<()>,
) -> io::Result<()> {
    if !line.trim_start().starts_with('{') {
        let mut next = Some(line.to_owned());
        while let Some(line) = next.take() {
            match executor.execute(&line, Format::Text) {
                Ok(mut output) => {
                    next = output.rest.take();
                    write(&output.into_text())?;
                }
                Err(failure) => write(&failure.render())?,
            }
        }
        return Ok(());
    }
    let response = match serde_json::from_str::<Request>(line) {
        Err(error) => Response::failure(None, format!("the request is not understood: {error}")),
        Ok(Request { id, command: Some(command), complete: None, format }) => {
            let mut next = Some(command);
            while let Some(command) = next.take() {
                let mut reply = executor.execute(&command, format);
                next = reply.as_mut().ok().and_then(|output| output.rest.take());
                let response = Response::to_command(id, format, reply);
                write(&Response { more: next.is_some(), ..response }.to_line())?;
            }
            return Ok(());
        }
        Ok(Request { id, command: None, complete: Some(CompleteRequest { line, cursor }), .. }) => {
            Response::to_completion(id, &executor.complete(&line, cursor))
        }
        Ok(Request { id, .. }) => Response::failure(Some(id), "a request has either `command` or `complete`"),
    };
    write(&response.to_line())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::control::language::{Candidate, CommandSet, Interpreted, NoCompleter};

    /// All parts, one a line.
    pub(crate) fn answer(line: &str, executor: &dyn Executor) -> String {
        let mut parts = Vec::new();
        answer_each(line, executor, &mut |part| {
            parts.push(part.to_owned());
            Ok(())
        })
        .unwrap();
        parts.join("\n")
    }

    /// Knows a few commands that need no engine.
    pub(crate) struct Sample {
        set: CommandSet,
    }

    impl Sample {
        pub(crate) fn new() -> Self {
            let mut set = CommandSet::new();
            for usage in ["show thing [<name>]", "fail", "big <bytes:u32>", "sleep <time:duration>"] {
                // The usages are constants of this test.
                set.register(usage, "helps").unwrap();
            }
            Sample { set }
        }
    }

    impl Executor for Sample {
        fn execute(&self, line: &str, _: Format) -> Reply {
            match self.set.interpret(line)? {
                Interpreted::Nothing => Ok(Value::Null.into()),
                Interpreted::Help(page) => {
                    Ok(Output { text: Some(page.to_string()), ..Output::from(json!(page)) })
                }
                Interpreted::Command(invocation) => {
                    let arguments = invocation.arguments;
                    if let Some(bytes) = arguments.get("bytes").and_then(Value::as_u64) {
                        return Ok(json!("x".repeat(bytes as usize)).into());
                    }
                    if let Some(time) = arguments.get("time").and_then(Value::as_u64) {
                        std::thread::sleep(std::time::Duration::from_nanos(time));
                        return Ok(json!("slept").into());
                    }
                    match line.starts_with("fail") {
                        true => Err(Failure::new("it failed")),
                        false => Ok(json!([{"name": arguments.get("name"), "packets": 7}]).into()),
                    }
                }
            }
        }

        fn complete(&self, line: &str, cursor: usize) -> Completion {
            self.set.complete(line, cursor, &NoCompleter)
        }
    }

    fn answered(line: &str) -> Value {
        serde_json::from_str(&answer(line, &Sample::new())).unwrap()
    }

    #[test]
    fn a_command_is_answered_in_the_format_asked_for() {
        let data = json!([{"name": "a", "packets": 7}]);
        let text = "name  packets\na           7";
        assert_eq!(
            answered(r#"{"id":1,"command":"show thing a"}"#),
            json!({"id": 1, "ok": true, "data": data, "text": text})
        );
        assert_eq!(
            answered(r#"{"id":2,"command":"sh th a","format":"json"}"#),
            json!({"id": 2, "ok": true, "data": data})
        );
        assert_eq!(
            answered(r#"{"id":3,"command":"sh th a","format":"text"}"#),
            json!({"id": 3, "ok": true, "text": text})
        );
    }

    #[test]
    fn failures_carry_the_sentence_and_the_usage() {
        assert_eq!(
            answered(r#"{"id":1,"command":"fail"}"#),
            json!({"id": 1, "ok": false, "error": {"message": "it failed"}})
        );
        assert_eq!(
            answered(r#"{"id":1,"command":"show thing a b"}"#),
            json!({"id": 1, "ok": false, "error": {
                "message": "unexpected `b` after `show thing a`; the line should end there",
                "usage": "show thing [<name>]"}})
        );
    }

    #[test]
    fn completion_is_answered_as_data() {
        let answer = answered(r#"{"id":9,"complete":{"line":"sh","cursor":2}}"#);
        let completion: Completion = serde_json::from_value(answer["data"].clone()).unwrap();
        let show = Candidate { text: "show".into(), help: "helps".into(), placeholder: false };
        assert_eq!(completion, Completion { start: 0, candidates: vec![show], may_end: false });
    }

    #[test]
    fn bad_requests_are_answered_not_dropped() {
        for (line, id, part) in [
            ("{", Value::Null, "not understood"),
            (r#"{"id":1}"#, json!(1), "either `command` or `complete`"),
            (r#"{"id":1,"command":"x","complete":{"line":"","cursor":0}}"#, json!(1), "either"),
            (r#"{"id":-1,"command":"x"}"#, Value::Null, "not understood"),
            (r#"{"id":1,"comand":"x"}"#, Value::Null, "unknown field `comand`"),
        ] {
            let answer = answered(line);
            assert_eq!((&answer["id"], &answer["ok"]), (&id, &json!(false)), "{line}");
            assert!(answer["error"]["message"].as_str().unwrap().contains(part), "{answer}");
        }
    }

    #[test]
    fn a_typed_line_is_answered_as_text() {
        let sample = Sample::new();
        assert_eq!(answer("show thing a", &sample), "name  packets\na           7");
        assert_eq!(answer("trow", &sample), "error: unknown command `trow`; `help` lists all commands");
        assert_eq!(
            answer("show thing a b", &sample),
            "error: unexpected `b` after `show thing a`; the line should end there\nusage: show thing [<name>]"
        );
    }

    #[test]
    fn schemas_describe_all_fields() {
        let schema = schema();
        assert!(schema["request"]["properties"]["complete"].is_object());
        assert!(schema["response"]["properties"]["error"].is_object());
        assert!(schema["completion"]["properties"]["candidates"].is_object());
    }

    proptest::proptest! {
        #[test]
        fn every_line_gets_an_answer(line in "\\PC*|\\{[a-z\":,{}0-9 ]{0,60}") {
            let answer = answer(&line, &Sample::new());
            if line.starts_with('{') {
                let response: Response = serde_json::from_str(&answer).unwrap();
                proptest::prop_assert_eq!(response.ok, response.error.is_none());
            }
        }
    }
}
