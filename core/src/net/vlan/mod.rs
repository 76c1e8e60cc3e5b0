//! Sub-interfaces: VLANs of an Ethernet interface as interfaces of their own (IEEE 802.1Q, 802.1ad).

mod device;
mod init;
mod options;
mod selection;
mod tables;
mod tag;
mod tag_run;
mod vlan_tx;
mod vlans;

pub use device::Vlan;
pub use init::interface_event;
pub use options::{InnerVlan, OuterVlan, VlanOptions};
pub use selection::{Selection, Tags};
pub use tables::{Received, VlanTables};
pub use tag::{TAG_BYTES, Tag, TagProtocol, first_tag, put_tags, take_tags};
pub use tag_run::TagRun;
pub use vlans::Vlans;
