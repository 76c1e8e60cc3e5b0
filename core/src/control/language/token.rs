//! Splits a command line into tokens.
//!
//! Tokens are separated by blanks. `'…'` keeps everything, `"…"` keeps blanks and knows `\n`, `\t`, `\"` and `\\`; outside
//! of quotes a backslash takes the next character as it is.

use std::ops::Range;

/// Bytes that a command line may have.
pub const MAX_LINE_BYTES: usize = 64 * 1024;
/// Tokens that a command line may have.
pub const MAX_TOKENS: usize = 4096;

/// A token of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The text, quotes and escapes resolved.
    pub text: String,
    /// Bytes of the line that it was made of.
    pub span: Range<usize>,
    /// Whether a part was quoted or escaped; such a token is never a keyword.
    pub quoted: bool,
}

/// A line split into tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The tokens, in the order of the line.
    pub tokens: Vec<Token>,
    /// Whether the last token lacks its closing quote (or what a last backslash escapes).
    pub unterminated: bool,
}

/// Why a line cannot be split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The line is too long.
    #[error("the line has {bytes} bytes; at most {MAX_LINE_BYTES} are taken")]
    LineTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The line has too many tokens.
    #[error("the line has more than {MAX_TOKENS} words")]
    TooManyTokens,
    /// A control character other than tab.
    #[error("control character U+{code:04X} at column {column}")]
    ControlCharacter {
        /// Unicode scalar value.
        code: u32,
        /// Column in characters, counted from 1.
        column: usize,
    },
}

/// Splits `line` into tokens.
///
/// # Errors
/// The line is past the bounds, or holds control characters.
pub fn tokenise(line: &str) -> Result<Tokens, TokenError> {
    if line.len() > MAX_LINE_BYTES {
        return Err(TokenError::LineTooLong { bytes: line.len() });
    }
    let bad = line.chars().enumerate().find(|(_, c)| c.is_control() && *c != '\t');
    if let Some((index, character)) = bad {
        return Err(TokenError::ControlCharacter { code: character.into(), column: index + 1 });
    }
    let mut tokens = Vec::new();
    let mut rest = line.char_indices().peekable();
    let mut unterminated = false;
    loop {
        while rest.next_if(|(_, c)| is_blank(*c)).is_some() {}
        let Some(&(start, _)) = rest.peek() else { break };
        if tokens.len() == MAX_TOKENS {
            return Err(TokenError::TooManyTokens);
        }
        let mut token = Token { text: String::new(), span: start..line.len(), quoted: false };
        while let Some((_, character)) = rest.next_if(|(_, c)| !is_blank(*c)) {
            match character {
                '\'' | '"' => {
                    token.quoted = true;
                    unterminated = !take_quoted(&mut rest, character, &mut token.text);
                }
                '\\' => {
                    token.quoted = true;
                    match rest.next() {
                        Some((_, escaped)) => token.text.push(escaped),
                        None => unterminated = true,
                    }
                }
                plain => token.text.push(plain),
            }
        }
        if let Some(&(end, _)) = rest.peek() {
            token.span.end = end;
        }
        tokens.push(token);
    }
    Ok(Tokens { tokens, unterminated })
}

/// Writes `text` so that [`tokenise`] reads it back as one token that is `text`.
pub fn quote(text: &str) -> String {
    let plain = |c: char| !is_blank(c) && !c.is_control() && !matches!(c, '\'' | '"' | '\\' | '?' | '#');
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Reads up to the closing `quote`; false when there is none.
fn take_quoted(rest: &mut impl Iterator<Item = (usize, char)>, quote: char, text: &mut String) -> bool {
    while let Some((_, character)) = rest.next() {
        match character {
            '\\' if quote == '"' => match rest.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, escaped)) => text.push(escaped),
                None => return false,
            },
            end if end == quote => return true,
            other => text.push(other),
        }
    }
    false
}

fn is_blank(character: char) -> bool {
    character == ' ' || character == '\t'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(line: &str) -> Vec<String> {
        tokenise(line).unwrap().tokens.into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn splits_at_blanks_outside_of_quotes() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("  \t ", &[]),
            ("show  interface\ttap0 ", &["show", "interface", "tap0"]),
            ("a 'b c' \"d e\"", &["a", "b c", "d e"]),
            (r#"a\ b "c\"d\\e\n" 'f\g'"#, &["a b", "c\"d\\e\n", "f\\g"]),
            ("pre'fix'ed", &["prefixed"]),
            ("''", &[""]),
        ];
        for (line, expected) in cases {
            assert_eq!(texts(line), *expected, "{line}");
        }
    }

    #[test]
    fn spans_cover_the_written_form() {
        let tokens = tokenise(" ab 'c d'").unwrap().tokens;
        assert_eq!((tokens[0].span.clone(), tokens[1].span.clone()), (1..3, 4..9));
        assert!(!tokens[0].quoted && tokens[1].quoted);
    }

    #[test]
    fn unterminated_quotes_are_told() {
        for line in ["a 'b", "a \"b", "a \"b\\", "a\\"] {
            assert!(tokenise(line).unwrap().unterminated, "{line}");
        }
        assert!(!tokenise("a 'b'").unwrap().unterminated);
    }

    #[test]
    fn bounds_are_kept() {
        assert_eq!(
            tokenise(&"x".repeat(MAX_LINE_BYTES + 1)),
            Err(TokenError::LineTooLong { bytes: MAX_LINE_BYTES + 1 })
        );
        assert_eq!(tokenise(&"x ".repeat(MAX_TOKENS + 1)), Err(TokenError::TooManyTokens));
        assert_eq!(tokenise("a\u{7}"), Err(TokenError::ControlCharacter { code: 7, column: 2 }));
    }

    proptest! {
        #[test]
        fn quoted_text_reads_back(texts in proptest::collection::vec("[^\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f]*", 0..5)) {
            let line = texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(" ");
            let read = tokenise(&line).unwrap();
            prop_assert!(!read.unterminated);
            prop_assert_eq!(read.tokens.into_iter().map(|token| token.text).collect::<Vec<_>>(), texts);
        }

        #[test]
        fn no_line_makes_it_panic(line in any::<String>()) {
            let _ = tokenise(&line);
        }
    }
}
