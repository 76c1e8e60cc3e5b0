//! `acl-aging`: ends the sessions of its thread that were not used for long enough.

use std::sync::Arc;

use raddle_plugin_api::prelude::*;

use crate::acl::{Acl, acl};

/// The node, which brings in nothing.
pub struct Aging {
    acl: Arc<Acl>,
    /// When there is something to do.
    next_ns: u64,
    /// There may be sessions: until then the tables are not touched, so that they take no memory.
    is_awake: bool,
}

/// How long a thread that has sessions goes without a look at them, in ns: sessions that begin may end before those that
/// were there.
pub const LOOK_NS: u64 = 10_000_000;

impl InputNode for Aging {
    const NAME: &'static str = "acl-aging";
    type Next = NoNext;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { acl: acl(init)?, next_ns: 0, is_awake: false })
    }

    fn poll(&mut self, output: &mut Output<'_, NoNext>) {
        let worker = output.worker();
        let now_ns = worker.now_ns();
        if now_ns < self.next_ns {
            return;
        }
        let Self { acl, is_awake, .. } = self;
        *is_awake = *is_awake || acl.attachments.read(worker).is_stateful();
        if !*is_awake {
            self.next_ns = now_ns + LOOK_NS;
            return;
        }
        let next = acl.sessions.with(worker, |sessions| sessions.expire(worker, &acl.counts, now_ns));
        self.next_ns = now_ns + LOOK_NS;
        if let Some(next) = next {
            // More may be due than was ended just now.
            self.next_ns = self.next_ns.min(next.max(now_ns + 1));
            worker.wake_at(next.max(now_ns + 1_000_000));
        }
    }
}

input_node!(Aging);
