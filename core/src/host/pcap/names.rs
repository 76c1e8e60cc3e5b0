//! What the numbers in captured packets are called.

use crate::runtime::{CapturedPacket, Direction};

/// Names of interfaces, nodes and reasons, as of the capture's beginning.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Interfaces by index.
    pub interfaces: Vec<(u32, String)>,
    /// Nodes by index.
    pub nodes: Vec<String>,
    /// Reasons by index: node, reason, what it means.
    pub errors: Vec<(String, String, String)>,
}

impl Names {
    /// Name of an interface.
    pub fn interface(&self, index: u32) -> String {
        let found = self.interfaces.iter().find(|(known, _)| *known == index);
        match found {
            Some((_, name)) => name.clone(),
            None if index == raddle_plugin_api::abi::NO_INTERFACE => "(none)".to_owned(),
            None => format!("interface-{index}"),
        }
    }

    /// What is to be said of a packet: why it was dropped, and the nodes that it has come through.
    pub fn comment(&self, packet: &CapturedPacket) -> Option<String> {
        let mut comment = String::new();
        if packet.direction == Direction::Drop {
            comment = match packet.error.and_then(|error| self.errors.get(usize::from(error))) {
                Some((node, reason, text)) => format!("dropped by {node}: {reason} ({text})"),
                None => "dropped".to_owned(),
            };
        }
        if !packet.path.is_empty() {
            let node = |index: &u16| match self.nodes.get(usize::from(*index)) {
                Some(name) => name.clone(),
                None => format!("node-{index}"),
            };
            let path = packet.path.iter().map(node).collect::<Vec<_>>().join(" -> ");
            let gap = if comment.is_empty() { "" } else { "\n" };
            comment = format!("{comment}{gap}path: {path}");
        }
        (!comment.is_empty()).then_some(comment)
    }
}
