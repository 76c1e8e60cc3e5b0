//! A filter: its expression, and what it was compiled to.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::program::{Instruction, Program, ProgramError};

/// What a packet begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// An IPv4 or IPv6 header.
    Ip,
}

/// A filter that packets can be held against. Instructions are checked when it is made, also of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Compiled", into = "Compiled")]
pub struct Filter {
    compiled: Compiled,
    ethernet: Program,
    ip: Option<Program>,
}

/// A filter as it crosses from who compiles it to who runs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiled {
    /// The expression.
    pub text: String,
    /// For frames.
    pub ethernet: Vec<Instruction>,
    /// For packets without a layer 2 header; absent if the expression asks for that header.
    pub ip: Option<Vec<Instruction>>,
}

impl TryFrom<Compiled> for Filter {
    type Error = ProgramError;

    fn try_from(compiled: Compiled) -> Result<Self, ProgramError> {
        let ethernet = Program::new(&compiled.ethernet)?;
        let ip = compiled.ip.as_deref().map(Program::new).transpose()?;
        Ok(Self { compiled, ethernet, ip })
    }
}

impl From<Filter> for Compiled {
    fn from(filter: Filter) -> Self {
        filter.compiled
    }
}

impl Filter {
    /// The expression.
    pub fn text(&self) -> &str {
        &self.compiled.text
    }

    /// Whether a packet of `length` bytes passes, of which the first are at hand.
    pub fn matches(&self, link: Link, bytes: &[u8], length: u32) -> bool {
        match link {
            Link::Ethernet => self.ethernet.matches(bytes, length),
            Link::Ip => self.ip.as_ref().is_some_and(|program| program.matches(bytes, length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_holds_no_program_is_no_filter() {
        let all = Compiled { text: "ip".to_owned(), ethernet: vec![Instruction(6, 0, 0, 1)], ip: None };
        let filter = Filter::try_from(all).expect("a filter");
        assert!(filter.matches(Link::Ethernet, &[], 0) && !filter.matches(Link::Ip, &[], 0));
        let json = serde_json::to_string(&filter).expect("JSON");
        assert_eq!(serde_json::from_str::<Filter>(&json).expect("a filter"), filter);
        assert!(serde_json::from_str::<Filter>(&json.replace("[6,", "[5,")).is_err());
    }
}
