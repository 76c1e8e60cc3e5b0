//! Sections that are not what the file says any more.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Control, Failure};

/// What a section of the configuration is now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunningSection {
    /// Its name.
    pub section: String,
    /// What it would have to say; `None`: it need not be there.
    pub content: Option<Value>,
}

impl Control<'_> {
    /// Says what a section of this plugin's would have to say to make what runs now: `show config` shows it in place of
    /// what the file said at the start. To be called whenever a command has changed it.
    ///
    /// # Errors
    /// It is nothing that a configuration file can hold, such as a number without bounds.
    pub fn report_section(&self, section: &str, content: &impl Serialize) -> Result<(), Failure> {
        let content = match serde_json::to_value(content)? {
            Value::Object(table) if table.is_empty() => None,
            content => Some(content),
        };
        self.call("config.report", &RunningSection { section: section.to_owned(), content })
    }
}
