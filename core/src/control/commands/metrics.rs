//! `show metrics`.

use raddle_plugin_api::command::NoArguments;
use raddle_plugin_api::{Control, Failure, command};

fn show(control: &mut Control<'_>, _: NoArguments) -> Result<String, Failure> {
    control.call("metric.show", &())
}

command! { "show metrics", "shows all metrics as OpenMetrics text, as they are served by HTTP", show }
