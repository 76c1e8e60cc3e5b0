//! `show runtime` and `clear runtime`.

use std::fmt::Write;

use raddle_plugin_api::command::{NoArguments, Output};
use raddle_plugin_api::{Control, Failure, command};
use serde::{Deserialize, Serialize};

use super::layout::{Align, Shown, Table, figure};
use crate::host::methods::{RuntimeReport, ThreadRuntime};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Show {
    thread: Option<u32>,
    #[serde(default)]
    clocks: bool,
    #[serde(default)]
    verbose: bool,
}

#[derive(Serialize)]
struct ByThread {
    thread: Option<u32>,
}

impl Output for Shown<RuntimeReport> {
    fn text(&self) -> Option<String> {
        let RuntimeReport { seconds, clocks_per_second, threads } = &self.data;
        let mut text =
            format!("{seconds:.1} s since the last clearing, {:.3} GHz", *clocks_per_second as f64 / 1e9);
        for thread in threads {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n\n{}", thread_text(thread, self.verbose));
        }
        Some(text)
    }
}

fn thread_text(thread: &ThreadRuntime, verbose: bool) -> String {
    let mut text = format!(
        "thread {} ({}): {} packets in, {:.0} packets/s, {} clocks/packet, {} passes\n",
        thread.thread,
        thread.name,
        thread.packets,
        thread.packets_per_second,
        figure(thread.clocks_per_packet, 1),
        thread.passes,
    );
    let figures = ["calls", "packets", "packets/call", "clocks/packet", "clocks/call", "largest call"];
    let columns: Vec<_> = [("node", Align::Left), ("state", Align::Left)]
        .into_iter()
        .chain(figures.map(|name| (name, Align::Right)))
        .collect();
    let mut table = Table::new(&columns);
    for node in thread.nodes.iter().filter(|node| verbose || node.calls > 0) {
        table.row([
            node.name.clone(),
            node.state.clone(),
            node.calls.to_string(),
            node.packets.to_string(),
            figure(node.packets_per_call, 2),
            figure(node.clocks_per_packet, 1),
            figure(node.clocks_per_call, 0),
            node.largest_call.to_string(),
        ]);
    }
    if table.is_empty() {
        text.push_str("  no node has run");
    } else {
        for line in table.to_string().lines() {
            text.push_str("  ");
            text.push_str(line);
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn show(control: &mut Control<'_>, arguments: Show) -> Result<Shown<RuntimeReport>, Failure> {
    let mut data: RuntimeReport = control.call("runtime.show", &ByThread { thread: arguments.thread })?;
    if arguments.clocks {
        for thread in &mut data.threads {
            thread.nodes.sort_by_key(|node| std::cmp::Reverse(node.clocks));
        }
    }
    Ok(Shown { data, verbose: arguments.verbose })
}

command! {
    "show runtime [<thread:u32>] [sort name|clocks] [verbose]",
    "shows what each node did on each thread, and what it cost; `verbose`: also nodes that did nothing", show
}

fn clear(control: &mut Control<'_>, _: NoArguments) -> Result<(), Failure> {
    control.call("runtime.clear", &())
}

command! { "clear runtime", "has the figures of `show runtime` begin anew", clear }
