//! Commands for IPv4 options.

use raddle_plugin_api::prelude::*;
use serde::{Deserialize, Serialize};

use super::mode::{Ip4OptionsMode, Ip4OptionsPolicy, SourceRoutes};

command! {
    "set ip4 options ignore|process|drop",
    "leaves IPv4 options as they are, fills them in, or drops packets with options",
    set_options
}
command! {
    "set ip4 source-route reject|drop",
    "tells senders that source routes are not followed, or does not",
    set_source_route
}
command! {
    "show ip4 options",
    "shows what is done with IPv4 options",
    show
}

#[derive(Deserialize)]
struct Options {
    #[serde(default)]
    process: bool,
    #[serde(default)]
    drop: bool,
}

fn set_options(control: &mut Control<'_>, arguments: Options) -> Result<(), Failure> {
    let policy = control.resource::<Ip4OptionsPolicy>()?;
    let mode = match arguments {
        Options { process: true, .. } => Ip4OptionsMode::Process,
        Options { drop: true, .. } => Ip4OptionsMode::Drop,
        Options { .. } => Ip4OptionsMode::Ignore,
    };
    policy.set(mode, policy.source_routes());
    Ok(())
}

#[derive(Deserialize)]
struct SourceRoute {
    #[serde(default)]
    drop: bool,
}

fn set_source_route(control: &mut Control<'_>, arguments: SourceRoute) -> Result<(), Failure> {
    let policy = control.resource::<Ip4OptionsPolicy>()?;
    policy.set(policy.mode(), if arguments.drop { SourceRoutes::Drop } else { SourceRoutes::Reject });
    Ok(())
}

/// The policy for IPv4 options.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Shown {
    options: Ip4OptionsMode,
    source_route: SourceRoutes,
}

fn show(control: &mut Control<'_>, _: NoArguments) -> Result<Data<Shown>, Failure> {
    let policy = control.resource::<Ip4OptionsPolicy>()?;
    Ok(Data(Shown { options: policy.mode(), source_route: policy.source_routes() }))
}
