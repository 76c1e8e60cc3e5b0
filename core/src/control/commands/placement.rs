//! `show interface rx-placement`, `set interface rx-placement`.

use raddle_plugin_api::command::{NoArguments, Output};
use raddle_plugin_api::{Control, Failure, InterfaceIndex, command};
use serde::{Deserialize, Serialize};

use super::layout::{Align, Table};
use crate::host::RxPlacement;
use crate::runtime::{RxMode, RxState};

#[derive(Serialize)]
#[serde(transparent)]
struct Placements(Vec<RxPlacement>);

impl Output for Placements {
    fn text(&self) -> Option<String> {
        if self.0.is_empty() {
            return Some("no interface has a receive queue".to_owned());
        }
        let mut table = Table::new(&[
            ("interface", Align::Left),
            ("queue", Align::Right),
            ("worker", Align::Right),
            ("thread", Align::Left),
            ("mode", Align::Left),
            ("state", Align::Left),
            ("switches", Align::Right),
        ]);
        for RxPlacement { interface, queue, thread, thread_name, mode, state, switches } in &self.0 {
            let mode = match mode {
                RxMode::Polling => "polling",
                RxMode::Interrupt => "interrupt",
                RxMode::Adaptive => "adaptive",
            };
            let state = match state {
                RxState::Polling => "polling",
                RxState::Interrupt => "interrupt",
            };
            table.row([
                interface.clone(),
                queue.to_string(),
                thread.to_string(),
                thread_name.clone(),
                mode.to_owned(),
                state.to_owned(),
                switches.to_string(),
            ]);
        }
        Some(table.to_string())
    }
}

fn show(control: &mut Control<'_>, _: NoArguments) -> Result<Placements, Failure> {
    Ok(Placements(control.call("interface.rx-placement", &())?))
}

command! {
    "show interface rx-placement", "shows which thread looks after which receive queue, and how; worker 0 is the main thread", show
}

#[derive(Deserialize)]
struct Set {
    interface: String,
    queue: u32,
    worker: u32,
}

#[derive(Serialize)]
struct Move {
    interface: InterfaceIndex,
    queue: u32,
    thread: u32,
}

fn set(control: &mut Control<'_>, arguments: Set) -> Result<(), Failure> {
    let Set { interface, queue, worker } = arguments;
    let interface = control.interface(&interface)?.index;
    control.call("interface.move-rx-queue", &Move { interface, queue, thread: worker })
}

command! {
    "set interface rx-placement <interface> queue <queue:u32> worker <worker:u32>",
    "has another thread look after a receive queue, until raddle ends; worker 0 is the main thread", set
}
