//! Reading the daemon's own figures from the data of its commands.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::{Map, Value};

use crate::Daemon;

/// Packets that a node dropped or remarked on, by reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorCount {
    /// The node that counted.
    pub node: String,
    /// Why.
    pub reason: String,
    /// How many packets since the start.
    pub count: u64,
}

/// What `show errors` counts.
///
/// # Errors
/// When the command fails or its data has another shape.
pub fn errors(daemon: &Daemon<'_>) -> Result<Vec<ErrorCount>> {
    let data = daemon.ctl_json("show errors")?;
    let rows = rows(&data).ok_or_else(|| anyhow!("`show errors` has no rows: {data}"))?;
    rows.map(|row| {
        Ok(ErrorCount {
            node: text(row, "node")?,
            reason: text(row, "reason")?,
            count: number(row, "count")?,
        })
    })
    .collect()
}

/// The sum of all that `show errors` counts.
///
/// # Errors
/// As [`errors`].
pub fn total_errors(daemon: &Daemon<'_>) -> Result<u64> {
    Ok(errors(daemon)?.iter().map(|error| error.count).sum())
}

/// Packet buffers that neither the pool nor a thread's cache has: those of packets under way.
///
/// # Errors
/// When the command fails or its data has another shape.
pub fn buffers_in_use(daemon: &Daemon<'_>) -> Result<u64> {
    let data = daemon.ctl_json("show buffers")?;
    data["in-use"].as_u64().ok_or_else(|| anyhow!("no number \"in-use\" in {data}"))
}

/// One row of `show interface`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceRow {
    /// Its name.
    pub name: String,
    /// Whether an operator has set it up.
    pub is_up: bool,
    /// Packets received since the start.
    pub rx_packets: u64,
    /// Packets sent since the start.
    pub tx_packets: u64,
    /// Bytes received since the start.
    pub rx_bytes: u64,
    /// Bytes sent since the start.
    pub tx_bytes: u64,
}

/// The row of one interface in `show interface`; `None` when there is none of that name.
///
/// # Errors
/// When the command fails or its data has another shape.
pub fn interface(daemon: &Daemon<'_>, name: &str) -> Result<Option<InterfaceRow>> {
    let data = daemon.ctl_json("show interface")?;
    let mut rows = rows(&data).ok_or_else(|| anyhow!("`show interface` has no rows: {data}"))?;
    let Some(row) = rows.find(|row| row.get("name").and_then(Value::as_str) == Some(name)) else {
        return Ok(None);
    };
    let read = || {
        anyhow::Ok(InterfaceRow {
            name: name.to_owned(),
            is_up: text(row, "state")? == "up",
            rx_packets: number(row, "rx-packets")?,
            tx_packets: number(row, "tx-packets")?,
            rx_bytes: number(row, "rx-bytes")?,
            tx_bytes: number(row, "tx-bytes")?,
        })
    };
    read().map(Some).with_context(|| format!("`show interface`: {data}"))
}

/// Processor time that each thread of a process has taken, by thread id and name (`/proc/PID/task/TID/schedstat`).
///
/// # Errors
/// When the process is gone.
pub fn thread_cpu(pid: u32) -> Result<BTreeMap<String, Duration>> {
    let mut times = BTreeMap::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?;
        let read = |file: &str| std::fs::read_to_string(thread.path().join(file));
        // A thread may end while it is looked at.
        let (Ok(name), Ok(times_ns)) = (read("comm"), read("schedstat")) else { continue };
        let on_cpu_ns = times_ns.split_whitespace().next().and_then(|time| time.parse().ok());
        let on_cpu = Duration::from_nanos(on_cpu_ns.with_context(|| format!("schedstat: {times_ns}"))?);
        times.insert(format!("{} {}", thread.file_name().to_string_lossy(), name.trim()), on_cpu);
    }
    Ok(times)
}

/// The rows of a command's data: the list itself, or the list that is one of its members.
fn rows(data: &Value) -> Option<impl Iterator<Item = &Map<String, Value>>> {
    let list = match data {
        Value::Object(members) => members.values().find_map(Value::as_array),
        other => other.as_array(),
    };
    list.map(|list| list.iter().filter_map(Value::as_object))
}

fn text(row: &Map<String, Value>, key: &str) -> Result<String> {
    let value = row.get(key).and_then(Value::as_str);
    value.map(str::to_owned).ok_or_else(|| anyhow!("no text {key:?} in {row:?}"))
}

fn number(row: &Map<String, Value>, key: &str) -> Result<u64> {
    row.get(key).and_then(Value::as_u64).ok_or_else(|| anyhow!("no number {key:?} in {row:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_rows_in_a_list_or_in_a_member() {
        for data in [json!([{"a": 1}]), json!({"rows": [{"a": 1}]}), json!({"n": 3, "rows": [{"a": 1}]})] {
            let found: Vec<_> = rows(&data).expect("rows").collect();
            assert_eq!(number(found[0], "a").unwrap(), 1, "{data}");
        }
        assert!(rows(&json!("text")).is_none());
    }
}
