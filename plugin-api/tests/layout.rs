//! The ABI's layout against the committed snapshot.

use raddle_plugin_api::abi::layout_dump;

const SNAPSHOT: &str = include_str!("../abi-1.3.txt");

#[test]
fn abi_layout_is_the_committed_one() {
    let found = layout_dump();
    if found == SNAPSHOT {
        return;
    }
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi-layout.txt");
    // Without the copy the message is still whole, only less handy.
    let copied = std::fs::write(&path, &found).is_ok();
    let place = if copied { format!(" (it is in {})", path.display()) } else { String::new() };
    panic!(
        "the layout of the ABI is not the committed one:\n{}\n\
         Plugins that exist were built for the committed layout.\n\
         - An offset or size that moved breaks them: put the field at the end of its struct, or raise ABI_MAJOR.\n\
         - Fields that were added at the end of a struct with a size in front, and nothing else: raise ABI_MINOR.\n\
         - Then commit the new layout as plugin-api/abi-MAJOR.MINOR.txt{place}, and name that file in this test.",
        changes(SNAPSHOT, &found)
    );
}

/// Lines that are in one of the dumps only, each with its struct.
fn changes(old: &str, new: &str) -> String {
    let (old, new) = (qualified(old), qualified(new));
    let gone = old.iter().filter(|line| !new.contains(line)).map(|line| format!("- {line}\n"));
    let made = new.iter().filter(|line| !old.contains(line)).map(|line| format!("+ {line}\n"));
    gone.chain(made).collect()
}

fn qualified(dump: &str) -> Vec<String> {
    let mut owner = "";
    let mut lines = Vec::new();
    for line in dump.lines() {
        if line.starts_with(' ') {
            lines.push(format!("{owner}: {}", line.trim()));
        } else {
            owner = line.split(' ').next().unwrap_or(line);
            lines.push(line.to_owned());
        }
    }
    lines
}
