//! The configuration file: TOML, sections by subject, each with its owner; every error has its line and column.

mod check;
mod check_bridge;
mod check_vlan;
mod document;
pub mod ip_sections;
mod load;
mod model;
mod owners;
mod render;
mod schema;
pub mod sections;

#[cfg(test)]
mod tests;

pub use document::{ConfigError, Document};
pub use load::CORE_SECTIONS;
pub use model::{Config, InterfaceSection};
pub use owners::{OptionsCheck, Owners, SectionCheck};
pub use schema::schema;
