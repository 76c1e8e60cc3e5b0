//! What was measured, as a table and as JSON.

use serde::Serialize;

/// What a node costs in a case.
#[derive(Clone, Debug, Serialize)]
pub struct NodeCost {
    /// The node.
    pub name: String,
    /// TSC clocks a generated packet.
    pub clocks_per_packet: f64,
    /// Packets that came to it, for each that was generated.
    pub share: f64,
    /// Packets a call.
    pub vectors_per_call: f64,
}

/// The result of a case: its best window.
#[derive(Clone, Debug, Serialize)]
pub struct CaseResult {
    /// Name of the case, as in the budgets.
    pub case: String,
    /// Workers.
    pub workers: usize,
    /// Packets of a full frame, at most.
    pub vector_size: u32,
    /// Bytes of each frame, without FCS.
    pub frame_bytes: usize,
    /// Packets a second over all workers.
    pub packets_per_second: f64,
    /// Packets a call, over all nodes but the generator's.
    pub vectors_per_call: f64,
    /// TSC clocks a packet over all nodes but the generator's.
    pub clocks_per_packet: f64,
    /// The nodes, in the order of the packets' way.
    pub nodes: Vec<NodeCost>,
    /// What the case may cost on one worker.
    pub budget: f64,
    /// Packets that were dropped in the best window, by `node: reason`.
    pub drops: Vec<(String, u64)>,
}

/// The results as a table.
pub fn table(results: &[CaseResult]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<14} {:>7} {:>6} {:>6} {:>8} {:>12} {:>14} {:>7}  nodes (clocks/packet)",
        "case", "workers", "vector", "bytes", "Mpps", "vectors/call", "clocks/packet", "budget"
    );
    for result in results {
        let nodes: Vec<_> =
            result.nodes.iter().map(|node| format!("{} {:.1}", node.name, node.clocks_per_packet)).collect();
        let verdict = if result.clocks_per_packet <= result.budget { ' ' } else { '!' };
        let _ = writeln!(
            text,
            "{:<14} {:>7} {:>6} {:>6} {:>8.2} {:>12.1} {:>14.1} {:>6.0}{verdict}  {}",
            result.case,
            result.workers,
            result.vector_size,
            result.frame_bytes,
            result.packets_per_second / 1e6,
            result.vectors_per_call,
            result.clocks_per_packet,
            result.budget,
            nodes.join(", ")
        );
        for (why, packets) in &result.drops {
            let _ = writeln!(text, "{:<14} {packets} packets were dropped by {why}", "");
        }
    }
    text
}
