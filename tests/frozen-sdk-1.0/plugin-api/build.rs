//! Notes which compiler builds the SDK, so that a plugin can say what it was built with.

use std::process::Command;

fn main() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let profile = std::env::var("PROFILE").unwrap_or_default();
    println!("cargo:rustc-env=RADDLE_BUILT_WITH={}, {profile}", version.trim());
    println!("cargo:rerun-if-changed=build.rs");
}
