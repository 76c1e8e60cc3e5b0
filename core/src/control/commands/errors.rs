//! `show errors` and `clear errors`.

use raddle_plugin_api::command::{NoArguments, Output};
use raddle_plugin_api::{Control, Failure, command};
use serde::Serialize;

use super::layout::{Align, Table};
use crate::host::methods::ErrorRow;

#[derive(Serialize)]
#[serde(transparent)]
struct Errors(Vec<ErrorRow>);

impl Output for Errors {
    fn text(&self) -> Option<String> {
        if self.0.is_empty() {
            return Some("no packet was dropped".to_owned());
        }
        let mut table = Table::new(&[
            ("count", Align::Right),
            ("node", Align::Left),
            ("reason", Align::Left),
            ("meaning", Align::Left),
        ]);
        for row in &self.0 {
            table.row([row.count.to_string(), row.node.clone(), row.reason.clone(), row.text.clone()]);
        }
        Some(table.to_string())
    }
}

fn show(control: &mut Control<'_>, _: NoArguments) -> Result<Errors, Failure> {
    Ok(Errors(control.call("error.list", &())?))
}

command! { "show errors", "shows the packets dropped, by node and reason", show }

fn clear(control: &mut Control<'_>, _: NoArguments) -> Result<(), Failure> {
    control.call("error.clear", &())
}

command! { "clear errors", "has the counts of dropped packets begin anew", clear }
