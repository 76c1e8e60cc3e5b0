//! Who owns which section of the configuration: the core's own modules, and the plugins that it wants.

use raddle_plugin_api::abi::{
    ConfigRegistration, DriverRegistration, Registrations, Status, Text, sink_into,
};
use raddle_plugin_api::config::{Problem, SectionError};

use super::plugins::{parts, policy};
use crate::control::config::{Owners, sections::PluginsConfig};
use crate::host::registered;

/// Sections that the core reads itself.
const OF_THE_CORE: &[&str] = &["neighbor"];

/// The owners, for the check of a configuration. Needs no root and starts nothing; a plugin that cannot be used owns
/// nothing, which the start will say.
pub fn owners(plugins: &PluginsConfig) -> Owners {
    let mut owners = Owners::new();
    add(&mut owners, &raddle_plugin_api::registration::registrations());
    // The start says what is wrong with the plugins; what they would own is not known.
    let Ok(discovery) = crate::plugin::discover(&policy(plugins)) else {
        owners.accept_unknown();
        return owners;
    };
    for plugin in &discovery.plugins {
        add(&mut owners, &parts(plugin).registrations);
    }
    // The section of a plugin that is left out can stay in the file; nobody is there who could check it.
    for (name, _) in &discovery.disabled {
        owners.section_with(name, Box::new(|_| Ok(())));
    }
    if !discovery.refused.is_empty() {
        owners.accept_unknown();
    }
    owners
}

fn add(owners: &mut Owners, registrations: &Registrations) {
    for (name, config) in registered::<ConfigRegistration>(&registrations.configs, |config| config.section) {
        if !OF_THE_CORE.contains(&name) {
            owners.section_with(name, Box::new(move |text| check_section(&config, text)));
        }
    }
    for (name, driver) in registered::<DriverRegistration>(&registrations.drivers, |driver| driver.name) {
        owners.driver_with(name, Box::new(move |text, interface| check_driver(&driver, text, interface)));
    }
}

fn check_section(config: &ConfigRegistration, text: &str) -> Result<(), SectionError> {
    // SAFETY: the function is of an image that stays mapped; text and sink live until the call returns.
    let (status, error) = sink_into(|sink| unsafe { (config.check)(Text::new(text), sink) });
    outcome(text, status, error)
}

fn check_driver(driver: &DriverRegistration, text: &str, interface: &str) -> Result<(), SectionError> {
    // SAFETY: as in `check_section`.
    let (status, error) =
        sink_into(|sink| unsafe { (driver.check)(Text::new(text), Text::new(interface), sink) });
    outcome(text, status, error)
}

fn outcome(text: &str, status: Status, error: String) -> Result<(), SectionError> {
    if status == Status::OK {
        return Ok(());
    }
    Err(serde_json::from_str(&error).unwrap_or_else(|_| Problem::at(text, 0..0, error).into()))
}
