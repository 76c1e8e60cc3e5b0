//! Features that let all packets pass: what hanging one more into an arc costs.

use raddle_plugin_api::abi::{FeatureRegistration, NodeRegistration, Slice, Text};
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::registration::node_registration;

use super::nodes::image;
use crate::host::ImageParts;

/// Features of the bench, which let all pass: as many as there are names.
const PASS_NAMES: [&str; PASSES] = [
    "bench-pass-0",
    "bench-pass-1",
    "bench-pass-2",
    "bench-pass-3",
    "bench-pass-4",
    "bench-pass-5",
    "bench-pass-6",
    "bench-pass-7",
    "bench-pass-8",
    "bench-pass-9",
    "bench-pass-10",
    "bench-pass-11",
    "bench-pass-12",
    "bench-pass-13",
    "bench-pass-14",
    "bench-pass-15",
];
/// How many features there are.
pub const PASSES: usize = 16;

/// The node of a feature that lets all pass.
struct Pass<const NUMBER: usize>;

impl<const NUMBER: usize> Node for Pass<NUMBER> {
    const NAME: &'static str = PASS_NAMES[NUMBER];
    type Next = NoNext;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, _| Verdict::Continue);
    }
}

/// The first `count` of the features' names.
pub fn pass_names(count: usize) -> &'static [&'static str] {
    &PASS_NAMES[..count]
}

/// The image of these features, on the arc of IPv4.
pub fn pass_image() -> ImageParts {
    macro_rules! nodes {
        ($($number:literal)*) => { vec![$(node_registration::<Pass<$number>>()),*] };
    }
    let nodes: Vec<NodeRegistration> = nodes!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    let features = PASS_NAMES.iter().map(|name| FeatureRegistration {
        size: size_of::<FeatureRegistration>() as u32,
        fail_closed: 0,
        arc: Text::new("ip4-unicast"),
        name: Text::new(name),
        node: Text::new(name),
        runs_before: Slice::new(&[]),
        runs_after: Slice::new(&[]),
    });
    let features: &'static [FeatureRegistration] = features.collect::<Vec<_>>().leak();
    let mut image = image("bench-passes", nodes);
    image.registrations.features = Slice::new(features);
    image
}
