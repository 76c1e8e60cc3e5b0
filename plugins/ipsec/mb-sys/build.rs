//! Looks for the library's header and builds the shim over its macros; without it there is an empty crate.

use std::env;
use std::path::{Path, PathBuf};

const HEADER: &str = "intel-ipsec-mb.h";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(ipsec_mb)");
    for variable in ["RADDLE_IPSEC_MB", "CARGO_CFG_TARGET_ARCH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=src/shim.c");
    let Some(include) = include_directory() else {
        println!("cargo::metadata=found=0");
        println!(
            "cargo::warning=the IPsec plugin is built without the engine `ipsec-mb`: there is no {HEADER} (install libipsec-mb-dev, then `cargo clean --package raddle-ipsec-mb-sys`)"
        );
        return;
    };
    println!("cargo::rerun-if-changed={}", include.join(HEADER).display());
    println!("cargo::rustc-cfg=ipsec_mb");
    println!("cargo::metadata=found=1");
    cc::Build::new()
        .file("src/shim.c")
        .include(&include)
        .warnings(true)
        .opt_level(2)
        .compile("raddle_ipsec_mb_shim");
    // Whole in the plugin where it can be: then it runs on machines without the library.
    match static_library() {
        Some(directory) => {
            println!("cargo::rustc-link-search=native={}", directory.display());
            println!("cargo::rustc-link-lib=static=IPSec_MB");
        }
        None => println!("cargo::rustc-link-lib=dylib=IPSec_MB"),
    }
}

/// Where the header is; `RADDLE_IPSEC_MB=no` builds without, and any other value is a prefix such as `/usr/local`.
fn include_directory() -> Option<PathBuf> {
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64") {
        return None;
    }
    let prefixes = match env::var("RADDLE_IPSEC_MB") {
        Ok(no) if no == "no" => return None,
        Ok(prefix) if !prefix.is_empty() => vec![PathBuf::from(prefix)],
        _ => vec![PathBuf::from("/usr"), PathBuf::from("/usr/local")],
    };
    prefixes.into_iter().map(|prefix| prefix.join("include")).find(|include| include.join(HEADER).exists())
}

fn static_library() -> Option<PathBuf> {
    let own = env::var("RADDLE_IPSEC_MB").ok().filter(|prefix| !prefix.is_empty());
    let prefixes = own.iter().map(String::as_str).chain(["/usr", "/usr/local"]);
    prefixes
        .flat_map(|prefix| ["lib/x86_64-linux-gnu", "lib64", "lib"].map(|lib| Path::new(prefix).join(lib)))
        .find(|directory| directory.join("libIPSec_MB.a").exists())
}
