//! Multicast groups that a plugin wants packets of.

use std::net::IpAddr;

use serde::Serialize;

use crate::{Control, Failure, InterfaceIndex};

#[derive(Serialize)]
struct Membership {
    interface: InterfaceIndex,
    group: IpAddr,
}

impl Control<'_> {
    /// Joins a multicast group on an interface: packets to it come to the own protocols, and by `punt` to the plugin's features
    /// there; the link's routers are told by IGMP or MLD. References are counted: each call is undone by one of
    /// [`Self::leave_group`].
    ///
    /// # Errors
    /// The address is no group's, or the interface is in too many.
    pub fn join_group(&self, interface: InterfaceIndex, group: IpAddr) -> Result<(), Failure> {
        self.call("group.join", &Membership { interface, group })
    }

    /// Leaves a group that was joined by [`Self::join_group`].
    ///
    /// # Errors
    /// It was not.
    pub fn leave_group(&self, interface: InterfaceIndex, group: IpAddr) -> Result<(), Failure> {
        self.call("group.leave", &Membership { interface, group })
    }
}
