//! Hands on whether the library was found.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(ipsec_mb)");
    let found = std::env::var("DEP_IPSEC_MB_FOUND").unwrap_or_default();
    if found == "1" {
        println!("cargo::rustc-cfg=ipsec_mb");
    }
    println!("cargo::metadata=found={found}");
}
