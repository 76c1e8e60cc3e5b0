//! `show buffers`, `show barrier`, `show processes`, `show threads`.

use std::fmt::Write;

use raddle_plugin_api::command::{NoArguments, Output};
use raddle_plugin_api::{Control, Failure, command};
use serde::Serialize;

use super::layout::{Align, Table, list, or_dash, size_bytes, time_ns};
use crate::host::methods::{BarrierReport, BufferReport, ProcessReport, ThreadReport};
use crate::runtime::LateWorker;

/// Characters of the longest bar of a histogram.
const BAR: u64 = 40;

impl Output for BufferReport {
    fn text(&self) -> Option<String> {
        let Self { total, free, cached, in_use, exhausted, buffer_bytes, bytes, pages, threads } = self;
        let mut text = format!(
            "{total} buffers of {buffer_bytes} bytes, {} on {pages}\n\
             {in_use} in use, {cached} in caches of threads, {free} in the pool; {exhausted} asked for in vain\n",
            size_bytes(*bytes)
        );
        let mut table =
            Table::new(&[("thread", Align::Left), ("cached", Align::Right), ("in vain", Align::Right)]);
        for thread in threads {
            table.row([thread.name.clone(), thread.cached.to_string(), thread.exhausted.to_string()]);
        }
        text.push_str(&table.to_string());
        Some(text)
    }
}

fn show_buffers(control: &mut Control<'_>, _: NoArguments) -> Result<BufferReport, Failure> {
    control.call("buffer.show", &())
}

command! { "show buffers", "shows the packet buffers, and where they are", show_buffers }

impl Output for BarrierReport {
    fn text(&self) -> Option<String> {
        if self.holds == 0 {
            return Some("the workers never had to stand".to_owned());
        }
        let mut table = Table::new(&[
            ("cause", Align::Left),
            ("holds", Align::Right),
            ("mean", Align::Right),
            ("longest", Align::Right),
            ("in total", Align::Right),
            ("mean wait", Align::Right),
            ("longest wait", Align::Right),
        ]);
        for cause in &self.causes {
            let (mean, longest, total) =
                (time_ns(cause.mean_ns), time_ns(cause.longest_ns), time_ns(cause.total_ns));
            let (wait, longest_wait) = (time_ns(cause.mean_wait_ns), time_ns(cause.longest_wait_ns));
            table.row([
                cause.cause.clone(),
                cause.holds.to_string(),
                mean,
                longest,
                total,
                wait,
                longest_wait,
            ]);
        }
        let mut text = format!("{table}\n\n");
        let mut bands =
            Table::new(&[("held for less than", Align::Right), ("holds", Align::Right), ("", Align::Left)]);
        let most = self.histogram.iter().map(|band| band.holds).max().unwrap_or(1);
        for band in &self.histogram {
            let bar = "#".repeat((band.holds * BAR).div_ceil(most) as usize);
            bands.row([time_ns(band.below_ns), band.holds.to_string(), bar]);
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{bands}");
        if let Some(LateWorker { thread, node, plugin, cause }) = &self.last_late {
            let place = match (node, plugin) {
                (Some(node), Some(plugin)) => format!("{node} of {plugin}"),
                (Some(node), None) => node.clone(),
                _ => "no node".to_owned(),
            };
            let _ = write!(
                text,
                "\n\n{} times a worker did not come within a second; the last was thread {thread} in {place}, for `{cause}`",
                self.late
            );
        }
        Some(text)
    }
}

fn show_barrier(control: &mut Control<'_>, _: NoArguments) -> Result<BarrierReport, Failure> {
    control.call("barrier.show", &())
}

command! { "show barrier", "shows how often and how long the workers had to stand, and why", show_barrier }

#[derive(Serialize)]
#[serde(transparent)]
struct Processes(Vec<ProcessReport>);

impl Output for Processes {
    fn text(&self) -> Option<String> {
        let mut table = Table::new(&[
            ("task", Align::Right),
            ("name", Align::Left),
            ("plugin", Align::Left),
            ("state", Align::Left),
            ("wakes", Align::Right),
            ("spent", Align::Right),
            ("longest", Align::Right),
        ]);
        for task in &self.0 {
            table.row([
                task.task.to_string(),
                task.name.clone(),
                task.plugin.clone(),
                match task.sleeps_ns {
                    Some(left_ns) => format!("{}, {} left", task.state, time_ns(left_ns)),
                    None => task.state.clone(),
                },
                task.wakes.to_string(),
                time_ns(task.spent_ns),
                time_ns(task.longest_ns),
            ]);
        }
        Some(table.to_string())
    }
}

fn show_processes(control: &mut Control<'_>, _: NoArguments) -> Result<Processes, Failure> {
    Ok(Processes(control.call("process.list", &())?))
}

command! { "show processes", "shows the tasks of the main thread, what they wait for and what they took", show_processes }

#[derive(Serialize)]
#[serde(transparent)]
struct Threads(Vec<ThreadReport>);

impl Output for Threads {
    fn text(&self) -> Option<String> {
        let mut table = Table::new(&[
            ("thread", Align::Right),
            ("name", Align::Left),
            ("core", Align::Right),
            ("state", Align::Left),
            ("passes", Align::Right),
            ("rx queues", Align::Left),
        ]);
        for thread in &self.0 {
            table.row([
                thread.thread.to_string(),
                thread.name.clone(),
                or_dash(thread.core),
                thread.state.clone(),
                thread.passes.to_string(),
                list(&thread.rx_queues),
            ]);
        }
        Some(table.to_string())
    }
}

fn show_threads(control: &mut Control<'_>, _: NoArguments) -> Result<Threads, Failure> {
    Ok(Threads(control.call("thread.list", &())?))
}

command! { "show threads", "shows the threads of the graph, and what they look after", show_threads }
