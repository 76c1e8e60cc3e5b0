//! The loop: a sample, a screen, a key.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::keys::{Key, parse};
use super::rates::Rates;
use super::sample::{Sample, SampleError, take};
use super::screen::screen;
use super::terminal::Terminal;
use super::view::View;
use crate::cli::args::TopArguments;
use crate::cli::exit::Exit;
use crate::cli::output::{print, report};
use crate::control::client::Client;
use crate::control::server::default_path;

/// Rows and columns of a screen that nobody looks at.
const PLAIN: (usize, usize) = (24, 80);

/// Shows what the dataplane does until somebody quits; with `--once`, one screen.
pub(in crate::cli) fn top(arguments: &TopArguments) -> Exit {
    let interval = Duration::from_secs_f64(arguments.interval);
    let path = arguments.socket.clone().unwrap_or_else(default_path);
    let mut client = match Client::connect(&path) {
        Ok(client) => client,
        Err(error) => return report(&error.to_string(), Exit::Unreachable),
    };
    let outcome = if arguments.once {
        once(&mut client, interval, arguments.view)
    } else if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return report("this is no terminal; `--once` prints one screen as text", Exit::Usage);
    } else {
        live(&mut client, interval, arguments.view)
    };
    match outcome {
        Ok(exit) => exit,
        Err(TopError::Sample(SampleError::Client(error))) => report(&error.to_string(), Exit::Unreachable),
        Err(error) => report(&error.to_string(), Exit::Failure),
    }
}

#[derive(Debug, thiserror::Error)]
enum TopError {
    #[error(transparent)]
    Sample(#[from] SampleError),
    #[error("the terminal: {0}")]
    Terminal(#[from] std::io::Error),
}

fn once(client: &mut Client, interval: Duration, view: View) -> Result<Exit, TopError> {
    let first = take(client)?;
    std::thread::sleep(interval);
    let second = take(client)?;
    let (rows, columns) = PLAIN;
    Ok(print(&screen(&Rates::between(&first, &second), view, rows, columns).join("\n")))
}

fn live(client: &mut Client, interval: Duration, mut view: View) -> Result<Exit, TopError> {
    let terminal = Terminal::enter()?;
    let mut last = take(client)?;
    let mut rates = Rates::between(&last, &last);
    let mut next = Instant::now() + interval.min(FIRST);
    loop {
        draw(&terminal, &rates, view)?;
        let wait = next.saturating_duration_since(Instant::now());
        match parse(&terminal.keys(wait)?) {
            Key::Quit => return Ok(Exit::Success),
            Key::Show(chosen) => view = chosen,
            Key::Next => view = view.next(),
            Key::Previous => view = view.previous(),
            Key::None => {}
        }
        if Instant::now() >= next {
            let sample: Sample = take(client)?;
            rates = Rates::between(&last, &sample);
            last = sample;
            next = Instant::now() + interval;
        }
    }
}

/// How soon the first rates are shown.
const FIRST: Duration = Duration::from_millis(300);

fn draw(terminal: &Terminal, rates: &Rates, view: View) -> std::io::Result<()> {
    let (rows, columns) = terminal.size();
    let mut text = String::from("\x1b[H");
    for (position, line) in screen(rates, view, rows, columns).iter().enumerate() {
        let end = if position == 0 { "" } else { "\r\n" };
        // Bold head, and what is left of the line before is erased.
        let (on, off) = if position == 0 { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        text.push_str(&format!("{end}{on}{line}{off}\x1b[K"));
    }
    text.push_str("\x1b[J");
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}
