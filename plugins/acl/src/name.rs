//! Names of lists and sets.

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: a letter or digit, then letters, digits, `-`, `_` or `.`, 63 in all at most")]
pub struct BadName(String);

/// Checks a name.
///
/// # Errors
/// It is none.
pub fn check_name(name: &str) -> Result<(), BadName> {
    let starts = name.chars().next().is_some_and(|first| first.is_ascii_alphanumeric());
    let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if starts && rest && name.len() <= 63 { Ok(()) } else { Err(BadName(name.chars().take(80).collect())) }
}
