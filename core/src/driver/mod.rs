//! Drivers that need no outside library: `af-packet`, `tap`, `loopback`.

pub mod af_packet;
mod counts;
mod host;
#[cfg(test)]
mod test_host;
#[cfg(test)]
mod test_link;
mod vnet;
