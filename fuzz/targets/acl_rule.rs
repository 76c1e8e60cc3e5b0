//! The text of a rule: whatever is read is written as what reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raddle_acl::rule::Rule;

fuzz_target!(|text: &str| {
    match text.parse::<Rule>() {
        Ok(rule) => assert_eq!(rule.to_string().parse::<Rule>().as_ref(), Ok(&rule)),
        Err(wrong) => assert!(!wrong.to_string().contains('\n') || text.contains('\n')),
    }
});
