//! `l2-rewrite-output`: undoes, on frames that leave by an interface, what `l2-rewrite-input` does to those that come in.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;

use super::l2_rewrite_input::RewriteError;
use super::rewrites::Rewrites;

/// The node: the feature `l2-tag-rewrite` of the arc `interface-output`.
pub struct L2RewriteOutput {
    rewrites: Arc<Rewrites>,
}

impl Node for L2RewriteOutput {
    const NAME: &'static str = "l2-rewrite-output";
    type Next = NoNext;
    type Error = RewriteError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { rewrites: init.resource()? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let Self { rewrites } = self;
        vector.each(|env, packet| {
            match rewrites.changes(env.worker(), packet.tx_interface()).map(|c| c.output.apply(packet)) {
                None | Some(Ok(())) => Verdict::Continue,
                Some(Err(refusal)) => Verdict::Drop(refusal.into()),
            }
        });
    }
}

node!(L2RewriteOutput);
feature! { "l2-tag-rewrite", node: L2RewriteOutput, arc: "interface-output" }
