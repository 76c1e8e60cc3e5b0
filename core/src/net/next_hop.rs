//! Next hops that features send packets to in place of the routing table's (policy routing).
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::Arc;

use raddle_plugin_api::{Control, Failure, InterfaceIndex, bail};

use super::adjacency::{AdjacencyIndex, AdjacencyTable};

/// The adjacency of a next hop, with a reference to it, to be given back by [`release`]. Who it is on the link is asked for by the
/// first packet.
///
/// # Errors
/// There is no such interface, the address is no host's, or the table is full.
pub fn acquire(
    control: &Control<'_>,
    interface: InterfaceIndex,
    address: IpAddr,
) -> Result<AdjacencyIndex, Failure> {
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        bail!("{address} is no router's address");
    }
    let info = control.interfaces()?.into_iter().find(|info| info.index == interface);
    let Some(info) = info else { bail!("there is no interface {interface} for next hop {address}") };
    let adjacencies: Arc<AdjacencyTable> = control.resource()?;
    let adjacency = adjacencies.allocate(interface, address, info.mtu)?;
    if info.mac.is_none() {
        // Without a link-layer header there is nobody to be resolved.
        adjacencies.set_rewrite_bytes(control, adjacency, &[], None)?;
    }
    Ok(adjacency)
}

/// Gives back what [`acquire`] gave. No packet may be sent to it from now on.
///
/// # Errors
/// The forwarding tables are not there.
pub fn release(control: &Control<'_>, adjacency: AdjacencyIndex) -> Result<(), Failure> {
    control.resource::<AdjacencyTable>()?.release(control, adjacency);
    Ok(())
}
