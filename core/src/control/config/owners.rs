//! Who owns which section: the core itself, drivers and plugins.

use std::fmt;

use raddle_plugin_api::config::{SectionError, parse_interface_options, parse_section};
use serde::de::DeserializeOwned;

/// Checks the section of an owner, given the whole text.
pub type SectionCheck = Box<dyn Fn(&str) -> Result<(), SectionError>>;
/// Checks a driver's keys of `[interface.NAME]`, given the whole text and the name.
pub type OptionsCheck = Box<dyn Fn(&str, &str) -> Result<(), SectionError>>;

/// The owners of all sections besides the core's.
#[derive(Default)]
pub struct Owners {
    sections: Vec<(String, SectionCheck)>,
    drivers: Vec<(String, OptionsCheck)>,
    accept_unknown: bool,
}

impl Owners {
    /// No owners besides the core.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers the owner of a section by the section's type.
    pub fn section<T: DeserializeOwned>(&mut self, name: &str) {
        let section = name.to_owned();
        self.section_with(name, Box::new(move |text| parse_section::<T>(text, &section).map(drop)));
    }

    /// Registers the owner of a section by a check, as a plugin's is.
    pub fn section_with(&mut self, name: &str, check: SectionCheck) {
        self.sections.push((name.to_owned(), check));
    }

    /// Registers a driver by the type of its options.
    pub fn driver<T: DeserializeOwned>(&mut self, name: &str) {
        let check = |text: &str, interface: &str| parse_interface_options::<T>(text, interface).map(drop);
        self.driver_with(name, Box::new(check));
    }

    /// Registers a driver by a check, as a plugin's is.
    pub fn driver_with(&mut self, name: &str, check: OptionsCheck) {
        self.drivers.push((name.to_owned(), check));
    }

    /// Lets sections and drivers pass that no one owns, for when not all plugins can be asked.
    pub fn accept_unknown(&mut self) {
        self.accept_unknown = true;
    }

    pub(super) fn accepts_unknown(&self) -> bool {
        self.accept_unknown
    }

    pub(super) fn section_names(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn driver_names(&self) -> impl Iterator<Item = &str> {
        self.drivers.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn section_check(&self, name: &str) -> Option<&SectionCheck> {
        self.sections.iter().find(|(known, _)| known == name).map(|(_, check)| check)
    }

    pub(super) fn options_check(&self, driver: &str) -> Option<&OptionsCheck> {
        self.drivers.iter().find(|(known, _)| known == driver).map(|(_, check)| check)
    }
}

impl fmt::Debug for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owners")
            .field("sections", &self.section_names().collect::<Vec<_>>())
            .field("drivers", &self.driver_names().collect::<Vec<_>>())
            .field("accept_unknown", &self.accept_unknown)
            .finish()
    }
}
