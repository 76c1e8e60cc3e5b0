//! A plugin file, judged before any code of it runs: the reader of ELF tables and of the plugin's header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raddle::plugin::{Descriptor, NAME_LIMIT, judge_bytes};

fuzz_target!(|data: &[u8]| {
    let Ok((descriptor, name)) = judge_bytes(data) else { return };
    assert_eq!(Descriptor::read(data), Ok(descriptor));
    assert_eq!(descriptor.judge(), Ok(()));
    assert!(name.is_none_or(|name| name.len() <= NAME_LIMIT));
});
