//! Says whether the crypto engine of Intel is part of the build.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(ipsec_mb)");
    if std::env::var("DEP_RADDLE_IPSEC_MB_FOUND").as_deref() == Ok("1") {
        println!("cargo::rustc-cfg=ipsec_mb");
    }
}
