//! The configuration file: TOML, sections by subject, each with its owner; every error has its line and column.

mod check;
mod document;
mod load;
mod owners;
mod render;
mod schema;
pub mod sections;

pub use document::{ConfigError, Document};
pub use load::{CORE_SECTIONS, Config, InterfaceSection};
pub use owners::{OptionsCheck, Owners, SectionCheck};
pub use schema::schema;
