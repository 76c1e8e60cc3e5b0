//! `cargo raddle run`: raddle with the plugin, between two hosts.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::project::{self, BuildArguments, Built, DaemonArguments};
use crate::tap_hosts::{TapHost, demand_root};

/// What is appended to the configuration, where the plugin's directory has it.
const OWN_LINES: &str = "run.toml";
/// How long raddle may take to answer.
const START: Duration = Duration::from_secs(30);
/// How often something that is waited for is looked after.
const LOOK: Duration = Duration::from_millis(50);

/// Arguments of `cargo raddle run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The hosts are left (10.99.1.2, fd99:0:0:1::2) and right (10.99.2.2, fd99:0:0:2::2); their namespaces are named after \
the plugin. The file run.toml in the plugin's directory, if there is one, is appended to the configuration.

Examples:
  cargo raddle run                                run until Ctrl-C
  cargo raddle run -- ping -c 3 10.99.2.2         run one command on the left host, and end with its exit code")]
pub(crate) struct Arguments {
    #[command(flatten)]
    build: BuildArguments,
    #[command(flatten)]
    daemon: DaemonArguments,
    /// Worker threads
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: u32,
    /// Do not switch the plugin's features on
    #[arg(long)]
    no_features: bool,
    /// A command to run on the left host
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs until it is told to end, or until the command has.
///
/// # Errors
/// The plugin does not build or is refused, this is not root, or something does not start.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    demand_root()?;
    let built = project::build(arguments.build.release)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot handle signals")?;
    }
    let scratch = tempfile::tempdir().context("cannot make a directory to run in")?;
    let hosts = [TapHost::create(&built.name, "left", 1)?, TapHost::create(&built.name, "right", 2)?];
    let socket = scratch.path().join("raddle.sock");
    let config = scratch.path().join("raddle.toml");
    fs::write(&config, configuration(arguments, &built, scratch.path(), &hosts)?)
        .with_context(|| format!("cannot write {}", config.display()))?;
    let mut daemon = Daemon::start(&arguments.daemon, &config, socket)?;
    daemon.await_answer(&stop)?;
    if !arguments.no_features {
        daemon.switch_on(&built.name, &hosts)?;
    }
    hosts.iter().try_for_each(TapHost::connect)?;
    match arguments.command.split_first() {
        Some((program, rest)) => {
            let mut child = hosts[0]
                .command(program)
                .args(rest)
                .env("RADDLE_SOCKET", &daemon.socket)
                .spawn()
                .context("cannot start `ip netns exec`")?;
            let status = child.wait().context("the command cannot be waited for")?;
            daemon.stop()?;
            Ok(u8::try_from(status.code().unwrap_or(1)).map_or(ExitCode::FAILURE, ExitCode::from))
        }
        None => {
            println!("{}", advice(&daemon, &hosts));
            daemon.await_end(&stop)?;
            daemon.stop()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The configuration file: the plugin, both taps, and what the plugin's directory adds.
fn configuration(arguments: &Arguments, built: &Built, scratch: &Path, hosts: &[TapHost]) -> Result<String> {
    let plugins = scratch.join("plugins");
    fs::create_dir(&plugins).with_context(|| format!("cannot make {}", plugins.display()))?;
    let file = plugins.join(format!("{}.so", built.name));
    fs::copy(&built.library, &file).with_context(|| format!("cannot write {}", file.display()))?;
    let text = |path: &Path| toml::Value::String(path.to_string_lossy().into_owned()).to_string();
    let mut config = format!(
        "[control]\nsocket = {}\n\n[runtime]\nworkers = {}\n\n[plugins]\npath = {}\nrequire = [{}]\n",
        text(&scratch.join("raddle.sock")),
        arguments.workers,
        text(&plugins),
        toml::Value::String(built.name.clone())
    );
    hosts.iter().for_each(|host| host.configure(&mut config));
    if Path::new(OWN_LINES).exists() {
        let lines = fs::read_to_string(OWN_LINES).with_context(|| format!("cannot read {OWN_LINES}"))?;
        config.push_str(&format!("\n# {OWN_LINES}\n{lines}"));
    }
    Ok(config)
}

fn advice(daemon: &Daemon<'_>, hosts: &[TapHost; 2]) -> String {
    let [left, right] = hosts;
    format!(
        "raddle runs between {left_name} ({}) and {} ({}). In another terminal, as root:\n\n    \
         ip netns exec {left_name} ping {}\n    \
         ip netns exec {left_name} ping {}\n    \
         raddle ctl --socket {}\n\nCtrl-C ends it.",
        left.ip4(),
        right.namespace,
        right.ip4(),
        right.ip4(),
        right.ip6(),
        daemon.socket.display(),
        left_name = left.namespace,
    )
}

/// A running raddle, killed when this is dropped.
struct Daemon<'a> {
    arguments: &'a DaemonArguments,
    child: Child,
    socket: PathBuf,
}

impl<'a> Daemon<'a> {
    fn start(arguments: &'a DaemonArguments, config: &Path, socket: PathBuf) -> Result<Self> {
        let mut command = arguments.command(["run", "--config"]);
        let child = command.arg(config).spawn().with_context(|| arguments.missing())?;
        Ok(Self { arguments, child, socket })
    }

    fn ctl(&self, command: &str) -> Command {
        let mut ctl = self.arguments.command(["ctl", "--json", "--socket"]);
        ctl.arg(&self.socket).args(command.split(' '));
        ctl
    }

    /// The data that a command gives.
    fn ask(&self, command: &str) -> Result<Value> {
        let output = self.ctl(command).output().with_context(|| self.arguments.missing())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{command}`: {}", said.trim());
        serde_json::from_slice(&output.stdout).or_else(|error| match output.stdout.is_empty() {
            true => Ok(Value::Null),
            false => Err(error).with_context(|| format!("the answer to `{command}` is not JSON")),
        })
    }

    fn demand_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("raddle cannot be waited for")? {
            bail!("raddle has ended ({status}); its own words are above");
        }
        Ok(())
    }

    fn await_answer(&mut self, stop: &AtomicBool) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            self.demand_alive()?;
            if self.socket.exists() && self.ask("show version").is_ok() {
                return Ok(());
            }
            ensure!(!stop.load(Ordering::Relaxed), "told to end");
            ensure!(Instant::now() < deadline, "raddle does not answer");
            std::thread::sleep(LOOK);
        }
    }

    /// Switches the plugin's features on, on both interfaces.
    fn switch_on(&self, plugin: &str, hosts: &[TapHost]) -> Result<()> {
        let plugins = self.ask("show plugins")?;
        let ours = plugins.as_array().and_then(|all| all.iter().find(|one| one["name"] == plugin));
        let features = ours.and_then(|ours| ours["features"].as_array()).into_iter().flatten();
        for feature in features.filter_map(Value::as_str) {
            for host in hosts {
                self.ask(&format!("set interface feature {} {feature} on", host.interface))?;
            }
        }
        Ok(())
    }

    fn await_end(&mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            self.demand_alive()?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Has it end in order.
    fn stop(mut self) -> Result<()> {
        // Ctrl-C on a terminal reaches it without us.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let status = self.child.wait().context("raddle cannot be waited for")?;
        ensure!(status.success(), "raddle ended with {status}");
        Ok(())
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
