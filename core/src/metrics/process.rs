//! What the system says of this process, by the names that all exporters use.

use std::fs;

use super::text::{Kind, Text};

/// Fields of `/proc/self/stat` behind the name in brackets (proc(5)), from 0.
const UTIME: usize = 11;
const STIME: usize = 12;
const START_TIME: usize = 19;
const VSIZE: usize = 20;
const RSS: usize = 21;

/// Writes memory, processor time and descriptors of this process; nothing of what the system does not tell.
pub fn write(text: &mut Text) {
    if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
        write_stat(text, &stat, &fs::read_to_string("/proc/stat").unwrap_or_default());
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        let mut family = text.family("process_open_fds", Kind::Gauge, "", "Descriptors that are open");
        family.sample(&[], open.count());
    }
}

fn write_stat(text: &mut Text, stat: &str, system: &str) {
    let ticks = rustix::param::clock_ticks_per_second().max(1) as f64;
    // The name may hold blanks and brackets.
    let Some((_, rest)) = stat.rsplit_once(") ") else { return };
    let fields: Vec<f64> = rest.split(' ').map(|field| field.trim().parse().unwrap_or(0.0)).collect();
    let field = |index: usize| fields.get(index).copied().unwrap_or(0.0);
    let seconds = (field(UTIME) + field(STIME)) / ticks;
    text.family("process_cpu_seconds", Kind::Counter, "seconds", "Processor time of all threads")
        .sample(&[], seconds);
    let page = rustix::param::page_size() as f64;
    text.family("process_resident_memory_bytes", Kind::Gauge, "bytes", "Memory that is in use")
        .sample(&[], field(RSS) * page);
    text.family("process_virtual_memory_bytes", Kind::Gauge, "bytes", "Address space")
        .sample(&[], field(VSIZE));
    let boot = system.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    if let Some(boot) = boot {
        text.family("process_start_time_seconds", Kind::Gauge, "seconds", "Start of the process, since 1970")
            .sample(&[], boot + field(START_TIME) / ticks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_behind_a_name_with_blanks_and_brackets() {
        let mut text = Text::default();
        let mut fields = vec!["0".to_owned(); 40];
        (fields[UTIME], fields[STIME], fields[VSIZE]) = ("150".into(), "50".into(), "4096".into());
        write_stat(&mut text, &format!("7 (a) b) {}\n", fields.join(" ")), "cpu 1\nbtime 1000\n");
        let text = text.finish();
        for line in
            ["process_cpu_seconds_total 2", "process_virtual_memory_bytes 4096", "start_time_seconds 1000"]
        {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
