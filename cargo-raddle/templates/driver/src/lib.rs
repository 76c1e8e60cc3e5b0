//! `sample-plugin`: a driver whose interfaces are Unix sockets. Each Ethernet frame is a datagram.
//!
//! ```toml
//! [interface.wire]
//! driver = "sample-plugin"
//! path = "/run/wire"          # frames that come here are received
//! peer = "/run/other-end"     # frames are sent there
//! ```
#![forbid(unsafe_code)]

mod device;

use std::path::PathBuf;

use raddle_plugin_api::driver::{Driver, Request};
use raddle_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::device::SocketDevice;

plugin! { "sample-plugin", "interfaces over Unix sockets" }
driver!(SamplePlugin);

/// The driver.
pub struct SamplePlugin;

/// The keys of its interfaces.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// The socket that is made for frames to come in by.
    pub path: PathBuf,
    /// The socket to which frames are sent; it need not be there yet.
    pub peer: PathBuf,
}

impl Driver for SamplePlugin {
    const NAME: &'static str = "sample-plugin";
    const SUMMARY: &'static str = "Ethernet frames as datagrams of a Unix socket";
    type Options = Options;
    type Device = SocketDevice;

    fn open(_: &mut Control<'_>, request: &Request, options: Options) -> Result<SocketDevice, Failure> {
        SocketDevice::open(request, options)
    }
}
