//! Uses a service of the plugin `faulty` without saying that it needs that plugin.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use serde::Serialize;
use tally_service::TallyClient;

plugin! { "listener", "uses a service of the plugin faulty" }
init! { "listener", init, runs_after: ["faulty"] }
command! { "listener ask", "asks the service that it has found, and whether there is one to find now", ask }

struct Found(TallyClient);

fn init(control: &mut Control<'_>) -> Result<(), Failure> {
    let found = TallyClient::find(control)?;
    control.provide(Arc::new(Found(found)))
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Answer {
    own: u64,
    is_offered: bool,
}

fn ask(control: &mut Control<'_>, _: NoArguments) -> Result<Data<Answer>, Failure> {
    let found: Arc<Found> = control.resource()?;
    let own = found.0.own()?;
    Ok(Data(Answer { own, is_offered: TallyClient::find(control).is_ok() }))
}
