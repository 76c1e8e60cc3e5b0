//! What a plugin registers, judged field by field.

use std::mem::offset_of;

use raddle_plugin_api::abi::{
    ArcRegistration, CommandRegistration, ConfigRegistration, Dependency, DeviceTable, DriverRegistration,
    EventRegistration, ExitRegistration, FeatureRegistration, InitRegistration, NodeKind, NodeRegistration,
    PluginHeader, Registrations, RxTable, Slice, StateRegistration, Text, TxTable,
};
use semver::{Version, VersionReq};

use super::header::{Element, Reader};
use super::{Description, FeatureDescription, Refusal, Registered, Requirement};

/// Most characters of a name.
pub const NAME_LIMIT: usize = 64;

macro_rules! elements {
    ($($kind:ty: $name:literal { $($($function:ident).+),* $(,)? })*) => {
        $(impl Element for $kind {
            const KIND: &'static str = $name;
            const FUNCTIONS: &'static [(&'static str, usize)] =
                &[$((stringify!($($function).+), offset_of!($kind, $($function).+))),*];
        })*
    };
}

elements! {
    InitRegistration: "init function" { run }
    ExitRegistration: "exit function" { run }
    NodeRegistration: "node" { create, drop, run }
    ArcRegistration: "arc" {}
    FeatureRegistration: "feature" {}
    CommandRegistration: "command" { run }
    ConfigRegistration: "configuration section" { check, schema }
    DriverRegistration: "driver" { open, check, schema, device.properties, device.details, device.rx_queue,
        device.tx_queue, device.change, device.drop, device.rx.receive, device.rx.fd, device.rx.wants_polling,
        device.rx.drop, device.tx.transmit, device.tx.drop }
    EventRegistration: "event function" { run }
    Dependency: "dependency" {}
    StateRegistration: "state" { export_state, import_state }
}

impl Registered {
    /// Reads and judges all registrations.
    pub(super) fn read(registrations: &Registrations, reader: &Reader) -> Result<Self, Refusal> {
        let mut all = Self::default();
        for init in reader.elements(&registrations.inits)? {
            let name = name::<InitRegistration>(reader, init.name, "name")?;
            names(reader, init.runs_before, || format!("`runs_before` of init function `{name}`"))?;
            names(reader, init.runs_after, || format!("`runs_after` of init function `{name}`"))?;
            all.inits.push(name.to_owned());
        }
        for exit in reader.elements(&registrations.exits)? {
            all.exits.push(name::<ExitRegistration>(reader, exit.name, "name")?.to_owned());
        }
        for node in reader.elements(&registrations.nodes)? {
            all.nodes.push(read_node(reader, &node)?);
        }
        for arc in reader.elements(&registrations.arcs)? {
            name::<ArcRegistration>(reader, arc.end, "end")?;
            all.arcs.push(name::<ArcRegistration>(reader, arc.name, "name")?.to_owned());
        }
        for feature in reader.elements(&registrations.features)? {
            all.features.push(read_feature(reader, &feature)?);
        }
        for command in reader.elements(&registrations.commands)? {
            let usage = reader.text(command.usage, || "usage of a command".to_owned())?;
            if usage.trim().is_empty() {
                return Err(bad("usage of a command", "empty", "a usage such as `show example`"));
            }
            reader.text(command.summary, || format!("summary of command `{usage}`"))?;
            all.commands.push(usage.to_owned());
        }
        for config in reader.elements(&registrations.configs)? {
            all.configs.push(name::<ConfigRegistration>(reader, config.section, "name")?.to_owned());
        }
        for driver in reader.elements(&registrations.drivers)? {
            all.drivers.push(read_driver(reader, &driver)?);
        }
        for event in reader.elements(&registrations.events)? {
            all.events.push(name::<EventRegistration>(reader, event.subject, "subject")?.to_owned());
        }
        for state in reader.elements(&registrations.states)? {
            let own_name = name::<StateRegistration>(reader, state.name, "name")?;
            if state.oldest > state.version {
                let field = format!("oldest version of state `{own_name}`");
                return Err(bad(&field, &state.oldest.to_string(), "one that is not newer than its own"));
            }
            all.states.push(own_name.to_owned());
        }
        for dependency in reader.elements(&registrations.dependencies)? {
            all.requires.push(read_dependency(reader, &dependency)?);
        }
        Ok(all)
    }
}

impl Description {
    /// Reads and judges the texts of a header.
    pub(super) fn of_header(header: &PluginHeader, reader: &Reader) -> Result<Self, Refusal> {
        let own_name = reader.text(header.name, || "name".to_owned())?;
        judge_name(own_name, || "name".to_owned())?;
        let version = reader.text(header.version, || "version".to_owned())?;
        let version = version.parse::<Version>().map_err(|error| Refusal::BadVersion {
            field: "version".to_owned(),
            there: version.to_owned(),
            kind: "semantic version",
            reason: error.to_string(),
        })?;
        Ok(Self {
            name: own_name.to_owned(),
            version,
            summary: reader.text(header.summary, || "summary".to_owned())?.to_owned(),
            built_with: reader.text(header.built_with, || "built-with".to_owned())?.to_owned(),
            abi: format!("{}.{}", header.abi_major, header.abi_minor),
            registered: Registered::default(),
        })
    }
}

fn read_node(reader: &Reader, node: &NodeRegistration) -> Result<String, Refusal> {
    let own_name = name::<NodeRegistration>(reader, node.name, "name")?;
    if node.kind.0 > NodeKind::PRE_INPUT.0 {
        let field = format!("kind of node `{own_name}`");
        return Err(bad(&field, &node.kind.0.to_string(), "0 (internal), 1 (input) or 2 (pre-input)"));
    }
    names(reader, node.nexts, || format!("next node of node `{own_name}`"))?;
    names(reader, node.errors, || format!("error of node `{own_name}`"))?;
    let texts = reader.texts(node.error_texts, || format!("error text of node `{own_name}`"))?;
    if texts.len() != node.errors.len() {
        let field = format!("number of error texts of node `{own_name}`");
        return Err(bad(&field, &texts.len().to_string(), "one for each error"));
    }
    Ok(own_name.to_owned())
}

fn read_feature(reader: &Reader, feature: &FeatureRegistration) -> Result<FeatureDescription, Refusal> {
    let own_name = name::<FeatureRegistration>(reader, feature.name, "name")?;
    let arc = name::<FeatureRegistration>(reader, feature.arc, "arc")?;
    let node = name::<FeatureRegistration>(reader, feature.node, "node")?;
    names(reader, feature.runs_before, || format!("`runs_before` of feature `{own_name}`"))?;
    names(reader, feature.runs_after, || format!("`runs_after` of feature `{own_name}`"))?;
    Ok(FeatureDescription {
        name: own_name.to_owned(),
        arc: arc.to_owned(),
        node: node.to_owned(),
        fail_closed: feature.fail_closed != 0,
    })
}

fn read_driver(reader: &Reader, driver: &DriverRegistration) -> Result<String, Refusal> {
    let own_name = name::<DriverRegistration>(reader, driver.name, "name")?;
    reader.text(driver.summary, || format!("summary of driver `{own_name}`"))?;
    let sizes = [
        ("device", driver.device.size, size_of::<DeviceTable>()),
        ("receive queue", driver.device.rx.size, size_of::<RxTable>()),
        ("transmit queue", driver.device.tx.size, size_of::<TxTable>()),
    ];
    for (what, there, least) in sizes {
        if (there as usize) < least {
            let what = format!("{what} table of driver `{own_name}`");
            return Err(Refusal::Size { what, there: there as usize, least });
        }
    }
    Ok(own_name.to_owned())
}

fn read_dependency(reader: &Reader, dependency: &Dependency) -> Result<Requirement, Refusal> {
    let needed = name::<Dependency>(reader, dependency.name, "name")?;
    let version = reader.text(dependency.version, || format!("version of dependency `{needed}`"))?;
    let version = version.parse::<VersionReq>().map_err(|error| Refusal::BadVersion {
        field: format!("version of dependency `{needed}`"),
        there: version.to_owned(),
        kind: "version requirement",
        reason: error.to_string(),
    })?;
    Ok(Requirement { name: needed.to_owned(), version })
}

/// A field of a registration that is a name.
fn name<T: Element>(reader: &Reader, text: Text, field: &str) -> Result<&'static str, Refusal> {
    let field = || format!("{field} of a {}", T::KIND);
    let there = reader.text(text, field)?;
    judge_name(there, field)?;
    Ok(there)
}

fn names(reader: &Reader, list: Slice<Text>, field: impl Fn() -> String) -> Result<(), Refusal> {
    reader.texts(list, &field)?.into_iter().try_for_each(|there| judge_name(there, &field))
}

/// Refuses what is not a word of lower-case letters, digits and `-`.
fn judge_name(there: &str, field: impl Fn() -> String) -> Result<(), Refusal> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let word = !there.is_empty() && there.bytes().all(allowed);
    if word && there.len() <= NAME_LIMIT && !there.starts_with('-') && !there.ends_with('-') {
        return Ok(());
    }
    let shown: String = there.chars().take(NAME_LIMIT).flat_map(char::escape_debug).collect();
    Err(Refusal::BadName { field: field(), there: shown, limit: NAME_LIMIT })
}

fn bad(field: &str, there: &str, expected: &'static str) -> Refusal {
    Refusal::BadValue { field: field.to_owned(), there: there.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_words() {
        let long = "a".repeat(NAME_LIMIT);
        for good in ["a", "ip4-input", "6to4", "x-1", &long] {
            assert_eq!(judge_name(good, String::new), Ok(()), "{good}");
        }
        let longer = "a".repeat(NAME_LIMIT + 1);
        for wrong in ["", "-a", "a-", "A", "a_b", "a b", "ä", "a.b", "a\n", &longer] {
            assert!(matches!(judge_name(wrong, String::new), Err(Refusal::BadName { .. })), "{wrong}");
        }
    }
}
