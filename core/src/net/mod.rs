//! Protocols: from Ethernet to IP, and what a router says for itself.

pub mod neighbor;
