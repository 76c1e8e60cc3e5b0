//! The service that the plugin `faulty` offers.
#![forbid(unsafe_code)]

raddle_plugin_api::service! {
    /// Packets that a version of a plugin has counted.
    pub trait Tally, client TallyClient, name "tally", version (1, 0) {
        /// Packets of the version that offers it.
        fn own(&self) -> u64;
    }
}
