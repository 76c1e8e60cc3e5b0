//! Why something could not be done, in one sentence.

use std::fmt;

/// The reason why something could not be done: one sentence, lower case, without a final dot.
///
/// Any error turns into one by `?`; its sources are appended after colons.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// A failure with this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// Puts `context` and a colon in front.
    #[must_use]
    pub fn context(self, context: impl fmt::Display) -> Self {
        Self(format!("{context}: {}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        Self(text)
    }
}

/// Makes a [`Failure`] as `format!` makes a string.
#[macro_export]
macro_rules! failure {
    ($($argument:tt)*) => { $crate::Failure::new(::std::format!($($argument)*)) };
}

/// Returns a [`Failure`] made as `format!` makes a string.
#[macro_export]
macro_rules! bail {
    ($($argument:tt)*) => { return ::std::result::Result::Err($crate::failure!($($argument)*)) };
}
