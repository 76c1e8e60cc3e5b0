//! `show nat64 bib`.

use raddle_plugin_api::prelude::*;
use serde::Serialize;

use super::Threads;
use super::filter::Wanted;
use crate::errand::Walk;
use crate::state::{Binding, Protocol};

command! {
    "show nat64 bib [protocol <protocol:word>] [tenant <tenant:word>] [inside <inside:word>] [outside <outside:word>] [count <count:u32>]",
    "shows bindings, all or those of a protocol, a tenant or an address; 100 unless a count is given",
    async show
}

/// A binding.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct BindingRow {
    protocol: Protocol,
    inside: String,
    outside: String,
    sessions: u32,
    is_static: bool,
    thread: u32,
    tenant: Option<String>,
}

fn show(
    control: &mut Control<'_>,
    wanted: Wanted,
) -> Result<impl Future<Output = Result<Vec<BindingRow>, Failure>> + use<>, Failure> {
    let threads = Threads::of(control)?;
    let rules = threads.nat.rules.get(control);
    let filter = wanted.filter(rules)?;
    let names: Vec<String> = rules.tenants.iter().map(|tenant| tenant.name.clone()).collect();
    Ok(async move {
        let mut rows: Vec<BindingRow> = Vec::new();
        for thread in 0..threads.count {
            let (mut walk, mut found, most) = (Walk::default(), Vec::new(), filter.count - rows.len());
            let bindings: Vec<Binding> = threads
                .errands
                .ask(thread, move |_, local| {
                    let page = local.shard.binding_page(walk.portion(local.shard.binding_numbers()));
                    let wanted = page.filter(|binding| filter.takes_binding(binding));
                    found.extend(wanted.take(most - found.len()).copied());
                    (walk.is_over() || found.len() == most).then(|| std::mem::take(&mut found))
                })
                .await?;
            rows.extend(bindings.iter().map(|binding| BindingRow {
                protocol: binding.protocol(),
                inside: format!("[{}]:{}", binding.inside, binding.inside_port),
                outside: format!("{}:{}", binding.outside, binding.outside_port),
                sessions: binding.sessions,
                is_static: binding.is_static(),
                thread,
                tenant: names.get(usize::from(binding.tenant)).filter(|name| !name.is_empty()).cloned(),
            }));
        }
        Ok(rows)
    })
}
