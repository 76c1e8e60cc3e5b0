//! What this image registers, as the harness uses it.

use super::arc::Feature;
use super::order::{Item, order};
use crate::Failure;
use crate::abi::{
    CommandRegistration, ConfigRegistration, EventRegistration, InitRegistration, NodeRegistration, Slice,
    StateRegistration, Text,
};
use crate::registration::registrations;

/// The elements of a slice of this image.
fn elements<T: Copy>(slice: &Slice<T>) -> Vec<T> {
    // SAFETY: the slices of this image are statics.
    (0..slice.len()).filter_map(|index| slice.element(index)).map(|element| unsafe { *element }).collect()
}

/// A text of this image.
pub(super) fn text(text: &Text) -> &'static str {
    // SAFETY: texts in registrations of this image are literals.
    unsafe { text.as_str() }.unwrap_or("")
}

fn texts(names: &Slice<Text>) -> Vec<&'static str> {
    // SAFETY: as in `text`.
    unsafe { names.texts() }
}

/// The init functions, in their order.
pub(super) fn inits() -> Result<Vec<InitRegistration>, Failure> {
    let inits = elements(&registrations().inits);
    let items: Vec<Item<'_>> = inits
        .iter()
        .map(|init| Item {
            name: text(&init.name),
            before: texts(&init.runs_before),
            after: texts(&init.runs_after),
        })
        .collect();
    Ok(order(&items)?.into_iter().map(|position| inits[position]).collect())
}

/// The nodes.
pub(super) fn nodes() -> Vec<NodeRegistration> {
    elements(&registrations().nodes)
}

/// The feature arcs, with their ends.
pub(super) fn arcs() -> Vec<(&'static str, &'static str)> {
    elements(&registrations().arcs).iter().map(|arc| (text(&arc.name), text(&arc.end))).collect()
}

/// The features, with their arcs.
pub(super) fn features() -> Vec<(&'static str, Feature)> {
    let owned = |names: &Slice<Text>| texts(names).into_iter().map(str::to_owned).collect::<Vec<String>>();
    let features = elements(&registrations().features);
    let made = features.iter().map(|feature| {
        let made = Feature {
            name: text(&feature.name).to_owned(),
            node: text(&feature.node).to_owned(),
            before: owned(&feature.runs_before),
            after: owned(&feature.runs_after),
        };
        (text(&feature.arc), made)
    });
    made.collect()
}

/// The exit functions, by name.
pub(super) fn exits() -> Vec<crate::abi::ExitRegistration> {
    elements(&registrations().exits)
}

/// What is handed over in an upgrade.
pub(super) fn states() -> Vec<StateRegistration> {
    elements(&registrations().states)
}

/// The functions that hear of events.
pub(super) fn events() -> Vec<EventRegistration> {
    elements(&registrations().events)
}

/// The commands.
pub(super) fn commands() -> Vec<CommandRegistration> {
    elements(&registrations().commands)
}

/// The sections of the configuration file.
pub(super) fn configs() -> Vec<ConfigRegistration> {
    elements(&registrations().configs)
}
