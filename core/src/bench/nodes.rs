//! The nodes of an image that the bench brings into its engine: a source of frames of any size, and what it sends them
//! to. They are in no raddle that runs.

use std::sync::atomic::{AtomicU32, Ordering};

use raddle_plugin_api::abi::{ABI_MAJOR, ABI_MINOR, NodeRegistration, Registrations, Slice, Text};
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::registration::{input_node_registration, node_registration};

use crate::host::ImageParts;

/// Packets that the source sends in each pass; 0: none.
static SIZE: AtomicU32 = AtomicU32::new(0);
/// Where it sends them: 0 to `bench-plain`, 1 to `bench-traced`, 2 to `bench-give`.
static TARGET: AtomicU32 = AtomicU32::new(0);

/// The source's thread: the first worker.
const SOURCE_THREAD: u32 = 1;
/// The thread that packets are handed to.
const TAKING_THREAD: u32 = 2;

/// Which node the source sends to.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// One that sends its frame on.
    Plain,
    /// The same with a trace point.
    Traced,
    /// One that hands its packets to the next worker.
    Give,
}

/// Has the source send `size` packets a pass from now on.
pub fn send(target: Target, size: u32) {
    TARGET.store(target as u32, Ordering::Relaxed);
    SIZE.store(size, Ordering::Relaxed);
}

next! { enum SourceNext { Plain => "bench-plain", Traced => "bench-traced", Give => "bench-give" } }
next! { enum EndNext { End => "drop" } }
error! { enum GiveError { Congested => "congested": "the way to the other thread is full" } }

struct Source;

impl InputNode for Source {
    const NAME: &'static str = "bench-source";
    type Next = SourceNext;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn poll(&mut self, output: &mut Output<'_, SourceNext>) {
        let size = SIZE.load(Ordering::Relaxed);
        if size == 0 || output.worker().thread_index() != SOURCE_THREAD {
            return;
        }
        for _ in 0..size {
            let Some(packet) = output.worker().allocate() else { return };
            output.send(
                packet,
                match TARGET.load(Ordering::Relaxed) {
                    0 => SourceNext::Plain,
                    1 => SourceNext::Traced,
                    _ => SourceNext::Give,
                },
            );
        }
    }
}

struct Plain;

impl Node for Plain {
    const NAME: &'static str = "bench-plain";
    type Next = EndNext;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, _| Verdict::Next(EndNext::End));
    }
}

struct Traced;

impl Node for Traced {
    const NAME: &'static str = "bench-traced";
    type Next = EndNext;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            env.trace(packet, || packet.len().to_string());
            Verdict::Next(EndNext::End)
        });
    }
}

struct Give;

impl Node for Give {
    const NAME: &'static str = "bench-give";
    type Next = EndNext;
    type Error = GiveError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let end = Verdict::Next(EndNext::End);
            if let Err(refused) = env.hand_off(packet.take(), TAKING_THREAD, end) {
                env.send(refused, Verdict::Drop(GiveError::Congested));
            }
            Verdict::Next(EndNext::End)
        });
    }
}

/// An image of these nodes, or of others.
pub fn image(name: &str, nodes: Vec<NodeRegistration>) -> ImageParts {
    let nodes: &'static [NodeRegistration] = nodes.leak();
    ImageParts {
        name: name.to_owned(),
        version: "0.0.0".to_owned(),
        summary: "nodes of the bench".to_owned(),
        built_with: raddle_plugin_api::BUILT_WITH.to_owned(),
        abi: format!("{ABI_MAJOR}.{ABI_MINOR}"),
        path: None,
        steps: Vec::new(),
        mapped: (0, 0),
        code: None,
        create: raddle_plugin_api::plugin::create_instance,
        drop: raddle_plugin_api::plugin::drop_instance,
        registrations: Registrations { nodes: Slice::new(nodes), ..Registrations::empty() },
    }
}

/// The image of the nodes above.
pub fn bench_image() -> ImageParts {
    let nodes = vec![
        input_node_registration::<Source>(),
        node_registration::<Plain>(),
        node_registration::<Traced>(),
        node_registration::<Give>(),
    ];
    image("bench", nodes)
}

/// A node that could be spliced in again and again, each time under another name.
pub fn node_named(name: &'static str) -> NodeRegistration {
    NodeRegistration { name: Text::new(name), ..node_registration::<Plain>() }
}
