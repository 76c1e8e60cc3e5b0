//! MAC addresses that a plugin wants frames for.

use serde::Serialize;

use crate::wire::MacAddress;
use crate::{Control, Failure, InterfaceIndex};

#[derive(Serialize)]
struct Station {
    interface: InterfaceIndex,
    mac: MacAddress,
}

impl Control<'_> {
    /// Has an interface take frames for one MAC address more than its own: a station's, such as a virtual router's, or a
    /// group's where groups are filtered. References are counted: each call is undone by one of
    /// [`Self::release_mac_address`]. The interface loses them when it goes.
    ///
    /// # Errors
    /// The address is zero or the broadcast address, the interface takes too many, or its driver cannot.
    pub fn hold_mac_address(&self, interface: InterfaceIndex, mac: MacAddress) -> Result<(), Failure> {
        self.call("mac-address.hold", &Station { interface, mac })
    }

    /// Takes back one [`Self::hold_mac_address`].
    ///
    /// # Errors
    /// There was none.
    pub fn release_mac_address(&self, interface: InterfaceIndex, mac: MacAddress) -> Result<(), Failure> {
        self.call("mac-address.release", &Station { interface, mac })
    }
}
