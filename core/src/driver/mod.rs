//! Drivers that need no outside library: `af-packet`, `tap`, `loopback`, `packet-generator`.

pub mod af_packet;
mod counts;
mod host;
pub mod loopback;
pub mod packet_generator;
pub mod tap;
#[cfg(test)]
mod test_host;
#[cfg(test)]
mod test_link;
mod vnet;
