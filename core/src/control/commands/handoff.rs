//! `show handoff`.

use raddle_plugin_api::command::{NoArguments, Output};
use raddle_plugin_api::{Control, Failure, command};
use serde::Serialize;

use super::layout::{Align, Table};
use crate::host::methods::HandoffReport;

#[derive(Serialize)]
#[serde(transparent)]
struct Ways(Vec<HandoffReport>);

impl Output for Ways {
    fn text(&self) -> Option<String> {
        if self.0.is_empty() {
            return Some("no packet was handed from one thread to another".to_owned());
        }
        let figures = ["packets", "congested", "waiting", "capacity"].map(|name| (name, Align::Right));
        let columns: Vec<_> =
            [("from", Align::Left), ("to", Align::Left)].into_iter().chain(figures).collect();
        let mut table = Table::new(&columns);
        for HandoffReport { from, to, packets, congested, waiting, capacity } in &self.0 {
            table.row([
                from.clone(),
                to.clone(),
                packets.to_string(),
                congested.to_string(),
                waiting.to_string(),
                capacity.to_string(),
            ]);
        }
        Some(table.to_string())
    }
}

fn show(control: &mut Control<'_>, _: NoArguments) -> Result<Ways, Failure> {
    Ok(Ways(control.call("handoff.list", &())?))
}

command! { "show handoff", "shows the packets that threads handed to each other, and those that found the way full", show }
