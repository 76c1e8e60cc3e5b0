//! The screen as lines of text, none longer than the terminal is wide, and no more than it has rows.

use super::rates::{CostRate, DropRate, InterfaceRate, Rates, ThreadRate};
use super::view::View;

/// Lines above a view's own.
const HEAD_LINES: usize = 2;

/// The screen of a view.
pub(super) fn screen(rates: &Rates, view: View, rows: usize, columns: usize) -> Vec<String> {
    let mut lines = vec![head(rates), tabs(view)];
    let room = rows.saturating_sub(HEAD_LINES);
    match view {
        View::All => lines.extend(all(rates, room)),
        View::Interfaces => lines.extend(interfaces(&rates.interfaces, room)),
        View::Nodes => lines.extend(costs("node", &rates.nodes, room)),
        View::Plugins => lines.extend(costs("plugin", &rates.plugins, room)),
        View::Drops => lines.extend(drops(&rates.drops, room)),
        View::Threads => lines.extend(threads(&rates.threads, room)),
    }
    lines.truncate(rows);
    lines.into_iter().map(|line| fit(&line, columns)).collect()
}

/// As much of a line as there is room for. What other people named (interfaces) cannot move the cursor.
fn fit(line: &str, columns: usize) -> String {
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(columns).collect();
    line.trim_end().to_owned()
}

fn head(rates: &Rates) -> String {
    let (in_use, total) = rates.buffers;
    let percent = in_use as f64 * 100.0 / total.max(1) as f64;
    let busiest = rates.threads.iter().map(|thread| thread.load).fold(0.0, f64::max);
    format!(
        "raddle {}  in {} pps  busiest thread {busiest:.0} %  buffers {in_use}/{total} ({percent:.0} %)",
        env!("CARGO_PKG_VERSION"),
        short(rates.rx_packets())
    )
}

fn tabs(view: View) -> String {
    let tab = |(position, one): (usize, &View)| {
        let (open, close) = if *one == view { ('[', ']') } else { (' ', ' ') };
        format!("{open}{} {}{close}", position + 1, one.name())
    };
    let tabs: Vec<String> = View::ALL.iter().enumerate().map(tab).collect();
    format!("{}  q quit", tabs.join(""))
}

/// Of each view the first lines; with little room, less of each.
fn all(rates: &Rates, room: usize) -> Vec<String> {
    // Interfaces, threads, nodes and drops, each with a line above.
    let interface_room = (room / 3).min(rates.interfaces.len() + 1);
    let thread_room = (room / 5).min(rates.threads.len() + 1);
    let drop_room = (room / 5).min(rates.drops.len().max(1) + 1);
    let node_room = room.saturating_sub(interface_room + thread_room + drop_room);
    let mut lines = interfaces(&rates.interfaces, interface_room);
    lines.extend(threads(&rates.threads, thread_room));
    lines.extend(costs("node", &rates.nodes, node_room));
    lines.extend(drops(&rates.drops, drop_room));
    lines
}

/// A header and rows, as many as there is room for; the last one tells how many are not shown.
fn table<T>(header: String, rows: &[T], room: usize, line: impl Fn(&T) -> String) -> Vec<String> {
    let mut lines = vec![header];
    let left = room.saturating_sub(1);
    let hidden = rows.len().saturating_sub(left);
    let shown = if hidden > 0 { left.saturating_sub(1) } else { rows.len() };
    lines.extend(rows[..shown].iter().map(line));
    if hidden > 0 && left > 0 {
        lines.push(format!("… and {} more", rows.len() - shown));
    }
    lines
}

fn interfaces(rates: &[InterfaceRate], room: usize) -> Vec<String> {
    let header = format!(
        "{:<20} {:<10} {:>8} {:>9} {:>8} {:>9} {:>8}",
        "INTERFACE", "STATE", "RX pps", "RX bit/s", "TX pps", "TX bit/s", "LOST/s"
    );
    table(header, rates, room, |one| {
        format!(
            "{:<20} {:<10} {:>8} {:>9} {:>8} {:>9} {:>8}",
            clip(&one.name, 20),
            one.state,
            short(one.rx_packets),
            short(one.rx_bits),
            short(one.tx_packets),
            short(one.tx_bits),
            short(one.lost)
        )
    })
}

fn costs(what: &str, rates: &[CostRate], room: usize) -> Vec<String> {
    let header = format!(
        "{:<28} {:<12} {:>8} {:>7} {:>10} {:>8}",
        what.to_uppercase(),
        if what == "plugin" { "STATE" } else { "" },
        "pps",
        "pkt/call",
        "clocks/pkt",
        "CLOCKS %"
    );
    table(header, rates, room, |one| {
        let ratio =
            |amount: f64, of: f64| if of > 0.0 { format!("{:.1}", amount / of) } else { "-".to_owned() };
        format!(
            "{:<28} {:<12} {:>8} {:>7} {:>10} {:>8.1}",
            clip(&one.name, 28),
            one.state,
            short(one.packets),
            ratio(one.packets, one.calls),
            ratio(one.clocks, one.packets),
            one.share
        )
    })
}

fn drops(rates: &[DropRate], room: usize) -> Vec<String> {
    let header = format!("{:<24} {:<28} {:>10} {:>14}", "DROPPED BY", "REASON", "pps", "TOTAL");
    if rates.is_empty() {
        return vec![header, "no packet was dropped".to_owned()];
    }
    table(header, rates, room, |one| {
        format!(
            "{:<24} {:<28} {:>10} {:>14}",
            clip(&one.node, 24),
            clip(&one.reason, 28),
            short(one.packets),
            one.total
        )
    })
}

fn threads(rates: &[ThreadRate], room: usize) -> Vec<String> {
    let header = format!(
        "{:<12} {:>5} {:<8} {:>6} {:>9} {:>10} {:>7}",
        "THREAD", "CORE", "STATE", "LOAD %", "IN pps", "PASSES/s", "QUEUES"
    );
    table(header, rates, room, |one| {
        format!(
            "{:<12} {:>5} {:<8} {:>6.1} {:>9} {:>10} {:>7}",
            clip(&one.name, 12),
            one.core.map_or_else(|| "-".to_owned(), |core| core.to_string()),
            one.state,
            one.load,
            short(one.packets),
            short(one.passes),
            one.queues
        )
    })
}

fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// A number in at most six characters.
fn short(value: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match UNITS.iter().find(|(unit, _)| value >= *unit) {
        Some((unit, name)) if value / unit >= 100.0 => format!("{:.0}{name}", value / unit),
        Some((unit, name)) => format!("{:.2}{name}", value / unit),
        None if value == 0.0 => "0".to_owned(),
        None if value < 10.0 => format!("{value:.1}"),
        None => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates() -> Rates {
        let many = |prefix: &str| (0..40).map(|number| format!("{prefix}{number}")).collect::<Vec<_>>();
        let cost =
            |name: String| CostRate { name, calls: 2.0, packets: 9.0, clocks: 90.0, ..CostRate::default() };
        Rates {
            seconds: 1.0,
            interfaces: many("east-with-a-very-long-name\n")
                .into_iter()
                .map(|name| InterfaceRate {
                    name,
                    state: "admin-down".into(),
                    rx_packets: 1.5e6,
                    ..InterfaceRate::default()
                })
                .collect(),
            nodes: many("node").into_iter().map(cost).collect(),
            plugins: many("plugin").into_iter().map(cost).collect(),
            drops: many("reason")
                .into_iter()
                .map(|reason| DropRate { node: "ip4-input".into(), reason, packets: 3.0, total: 7 })
                .collect(),
            threads: many("worker-")
                .into_iter()
                .map(|name| ThreadRate {
                    name,
                    state: "polling".into(),
                    load: 99.96,
                    ..ThreadRate::default()
                })
                .collect(),
            buffers: (12, 16384),
        }
    }

    #[test]
    fn each_view_fits_the_smallest_terminal_that_is_usual() {
        for (rates, rows, columns) in
            [(rates(), 24, 80), (Rates::default(), 24, 80), (rates(), 8, 40), (rates(), 60, 200)]
        {
            for view in View::ALL {
                let lines = screen(&rates, view, rows, columns);
                assert!(lines.len() <= rows, "{view:?}: {} lines", lines.len());
                for line in &lines {
                    assert!(line.chars().count() <= columns && !line.contains('\n'), "{view:?}: {line:?}");
                }
            }
        }
    }

    #[test]
    fn no_column_of_a_usual_row_is_cut_off_at_80() {
        for view in View::ALL {
            let (narrow, wide) = (screen(&rates(), view, 24, 80), screen(&rates(), view, 24, 300));
            assert_eq!(narrow, wide, "{view:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let lines = screen(&rates(), View::Nodes, 24, 80);
        assert_eq!((lines.len(), lines[23].as_str()), (24, "… and 20 more"));
        assert!(lines[1].contains("[3 nodes]") && lines[1].ends_with("q quit"));
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (42.0, "42"),
            (1234.0, "1.23k"),
            (250_000.0, "250k"),
            (1.5e9, "1.50G"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
