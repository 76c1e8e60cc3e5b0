//! How long it takes from the start of the program to its first forwarded packet, and what memory it then has.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::cases::ip4_one_route;
use super::measure::BenchOptions;
use super::parts::{PartResult, result};
use crate::control::client::Client;
use crate::control::protocol::Format;

/// How often it is started; the median counts.
const STARTS: usize = 9;
/// A start that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(30);

/// Starts `raddle run` with every plugin of the directory and a stream of packets, over and over.
///
/// # Errors
/// It does not start, or forwards nothing.
pub(super) fn run(options: &BenchOptions) -> anyhow::Result<Vec<PartResult>> {
    let program = std::env::current_exe().context("this program has no path")?;
    let plugins = options.plugins.clone().unwrap_or_else(|| program.with_file_name("plugins"));
    let directory = std::env::temp_dir().join(format!("raddle-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let outcome = start_often(&program, &plugins, &directory);
    // Only the report would be worse for it.
    let _ = std::fs::remove_dir_all(&directory);
    let (mut times, resident_kib, loaded) = outcome?;
    times.sort();
    let median = times[STARTS / 2].as_secs_f64() * 1e3;
    let longest = times[STARTS - 1].as_secs_f64() * 1e3;
    let what =
        format!("median from start to the first forwarded packet, {loaded} plugins; longest {longest:.1}");
    let resident = "resident memory then, without packet buffers";
    Ok(vec![
        result("start", median, "ms", &what),
        result("start", resident_kib as f64 / 1024.0, "MiB", resident),
    ])
}

fn start_often(
    program: &Path,
    plugins: &Path,
    directory: &Path,
) -> anyhow::Result<(Vec<Duration>, u64, usize)> {
    let socket = directory.join("raddle.sock");
    let file = directory.join("raddle.toml");
    let configuration = format!(
        "[control]\nsocket = {socket:?}\n[plugins]\npath = {plugins:?}\nstate-directory = {directory:?}\n{}",
        // A few packets a second: what is measured is the start.
        ip4_one_route(1, 64, "").replace("start = true,", "start = true, rate = 10000,")
    );
    std::fs::write(&file, configuration).context("cannot write the configuration")?;
    let (mut times, mut resident_kib, mut loaded) = (Vec::new(), 0, 0);
    for _ in 0..STARTS {
        let began = Instant::now();
        let mut command = Command::new(program);
        command
            .args(["run", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut daemon =
            Daemon { child: command.spawn().context("cannot start raddle")?, socket: socket.clone() };
        let mut client = daemon.wait_for_packet(began)?;
        times.push(began.elapsed());
        resident_kib = daemon.resident_kib()?;
        let active = rows(&mut client, "show plugins")?;
        // The core itself is the first row.
        loaded = active.iter().filter(|row| row["state"] == "active").count().saturating_sub(1);
    }
    Ok((times, resident_kib, loaded))
}

/// A running daemon, ended when dropped.
struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    fn wait_for_packet(&mut self, began: Instant) -> anyhow::Result<Client> {
        loop {
            if let Ok(mut client) = Client::connect(&self.socket)
                && forwarded(&mut client)? > 0
            {
                return Ok(client);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("raddle ended with {status}");
            }
            if began.elapsed() > LIMIT {
                bail!("nothing was forwarded in {} s", LIMIT.as_secs());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Resident memory without shared memory, which is where packet buffers are.
    fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let of = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
        };
        let (anonymous, files) = (of("RssAnon:"), of("RssFile:"));
        anonymous.zip(files).map(|(anonymous, files)| anonymous + files).context("the system does not tell")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has no devices that it would have to take down.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Packets that left by `out`.
fn forwarded(client: &mut Client) -> anyhow::Result<u64> {
    let interfaces = rows(client, "show interface")?;
    let out = interfaces.iter().find(|row| row["name"] == "out");
    Ok(out.and_then(|row| row["tx-packets"].as_u64()).unwrap_or(0))
}

fn rows(client: &mut Client, command: &str) -> anyhow::Result<Vec<Value>> {
    let answer = client.execute(command, Format::Json)?;
    let data = answer.map_err(|failure| anyhow::anyhow!("{command}: {failure:?}"))?.data;
    Ok(data.and_then(|data| data.as_array().cloned()).unwrap_or_default())
}
