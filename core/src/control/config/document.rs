//! The text of a configuration file, and what is said of it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use raddle_plugin_api::config::{Problem, SectionError, Tree, parse_interface_options, parse_section};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A configuration text that is valid TOML.
///
/// The text is kept as it stands in the file, because the owner of each section (a plugin perhaps, across the ABI) reads
/// its section from the whole of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    name: String,
    text: String,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file has mistakes.
    #[error("{}", Report { .file, .problems })]
    Invalid {
        /// Name of the file.
        file: String,
        /// The mistakes, at least one, in the order of the file.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// Makes an error of problems in `file`; `None` when there are none.
    pub fn new(file: &str, problems: Vec<Problem>) -> Option<Self> {
        let problems = SectionError::new(problems)?.into_problems();
        Some(ConfigError::Invalid { file: file.to_owned(), problems })
    }

    /// The mistakes; none when the file cannot be read at all.
    pub fn problems(&self) -> &[Problem] {
        match self {
            ConfigError::Unreadable { .. } => &[],
            ConfigError::Invalid { problems, .. } => problems,
        }
    }
}

struct Report<'r> {
    file: &'r str,
    problems: &'r [Problem],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index > 0 { "\n" } else { "" };
            write!(f, "{separator}{}", problem.render(self.file))?;
        }
        Ok(())
    }
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is not UTF-8 text, or is not TOML.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
        Document::parse(&path.display().to_string(), text)
    }

    /// Takes a text; `name` stands for the file in messages.
    ///
    /// # Errors
    /// It is not TOML.
    pub fn parse(name: &str, text: impl Into<String>) -> Result<Self, ConfigError> {
        let document = Document { name: name.to_owned(), text: text.into() };
        document.tree()?;
        Ok(document)
    }

    /// The name of the file, as it stands in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The parsed text.
    ///
    /// # Errors
    /// None after [`Document::parse`] has succeeded; the signature saves callers from having to know that.
    pub fn tree(&self) -> Result<Tree<'_>, ConfigError> {
        Tree::parse(&self.text).map_err(|error| self.error(error))
    }

    /// Reads a section; `None` when the file does not have it.
    ///
    /// # Errors
    /// All mistakes in the section.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ConfigError> {
        parse_section(&self.text, name).map_err(|error| self.error(error))
    }

    /// Reads what a driver knows of `[interface.NAME]`; the options of an empty table when the file does not have it.
    ///
    /// # Errors
    /// All mistakes in the driver's keys; keys that neither the driver nor the core knows.
    pub fn interface_options<T: DeserializeOwned>(&self, interface: &str) -> Result<T, ConfigError> {
        match parse_interface_options(&self.text, interface).map_err(|error| self.error(error))? {
            Some(options) => Ok(options),
            None => T::deserialize(toml::Table::new()).map_err(|error| {
                let message = format!("interface `{interface}`: {}", error.message());
                self.error(Problem::at(&self.text, 0..0, message).into())
            }),
        }
    }

    /// Names the file in an error.
    pub fn error(&self, error: SectionError) -> ConfigError {
        ConfigError::Invalid { file: self.name.clone(), problems: error.into_problems() }
    }
}

impl Default for Document {
    /// The empty text: all defaults.
    fn default() -> Self {
        Document { name: "(defaults)".to_owned(), text: String::new() }
    }
}

/// Anything at all: for sections that are kept as they are.
pub(super) fn raw(tree: &Tree<'_>, section: &str) -> Result<Option<toml::Value>, SectionError> {
    use raddle_plugin_api::config::Step;
    struct Any(toml::Value);
    impl<'de> Deserialize<'de> for Any {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            toml::Value::deserialize(deserializer).map(Any)
        }
    }
    Ok(tree.read::<Any>(&[Step::Key(section)], &[])?.map(|any| any.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Tap {
        #[serde(default)]
        host_name: String,
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let error = Document::load(&directory.path().join("none.toml")).unwrap_err();
        assert!(error.to_string().contains("none.toml: No such file"), "{error}");
        std::fs::write(directory.path().join("b.toml"), b"\xff").unwrap();
        assert!(matches!(
            Document::load(&directory.path().join("b.toml")),
            Err(ConfigError::Unreadable { .. })
        ));
    }

    #[test]
    fn errors_name_the_file_and_show_the_line() {
        let error = Document::parse("r.toml", "[a\n").unwrap_err().to_string();
        assert!(error.starts_with("r.toml:1:"), "{error}");
        assert!(error.contains("\n  1 | [a\n"), "{error}");
    }

    #[test]
    fn driver_options_of_an_absent_interface_are_the_defaults() {
        let document = Document::parse(
            "r",
            "[interface.a]\ndriver='tap'\nhost_name='x'\n[interface.b]\ndriver='tap'\nhost_nam=''",
        )
        .unwrap();
        assert_eq!(document.interface_options::<Tap>("a").unwrap().host_name, "x");
        assert_eq!(document.interface_options::<Tap>("c").unwrap(), Tap { host_name: String::new() });
        let error = document.interface_options::<Tap>("b").unwrap_err().to_string();
        assert!(error.starts_with("r:6:1: unknown key `host_nam`; did you mean `host_name`?"), "{error}");
    }
}
