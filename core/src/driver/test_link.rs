//! Links of the host that tests make and remove, by `ip`, and frames for them.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use raddle_plugin_api::wire::{ChecksumOffload, Gso, GsoKind, Offload};

/// Runs `ip` with these words.
pub fn ip(words: &str) {
    assert!(try_ip(words), "ip {words}");
}

/// Runs `ip` with these words; whether it did what was asked.
pub fn try_ip(words: &str) -> bool {
    Command::new("ip")
        .args(words.split_whitespace())
        .stderr(std::process::Stdio::null())
        .status()
        .expect("`ip` of iproute2 is installed")
        .success()
}

/// A name that no other test uses, of at most 12 letters.
pub fn unique_name(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{:x}x{:x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Waits until frames pass over a link that was set up, which the kernel brings about a little later.
pub fn wait_until_up(name: &str) {
    let is_up = || {
        std::thread::sleep(std::time::Duration::from_millis(5));
        std::fs::read_to_string(format!("/sys/class/net/{name}/operstate"))
            .is_ok_and(|state| state.trim() == "up")
    };
    assert!((0..600).any(|_| is_up()), "{name} comes up");
}

/// A pair of veth links, up, without addresses; removed at the end.
pub struct VethPair {
    pub left: String,
    pub right: String,
}

impl VethPair {
    pub fn new() -> Self {
        let pair = Self { left: unique_name("rl"), right: unique_name("rr") };
        pair.make();
        pair
    }

    /// Makes the pair (anew).
    pub fn make(&self) {
        let (left, right) = (&self.left, &self.right);
        ip(&format!("link add {left} type veth peer name {right}"));
        for name in [left, right] {
            // No frames but the test's: no IPv6 that speaks up by itself.
            let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
            ip(&format!("link set {name} up"));
        }
        wait_until_up(left);
        wait_until_up(right);
    }

    /// Removes both.
    pub fn remove(&self) {
        ip(&format!("link del {}", self.left));
    }
}

impl Drop for VethPair {
    fn drop(&mut self) {
        try_ip(&format!("link del {}", self.left));
    }
}

/// A network namespace; removed at the end.
pub struct TestNamespace(pub String);

impl TestNamespace {
    pub fn new() -> Self {
        let name = unique_name("raddle");
        ip(&format!("netns add {name}"));
        Self(name)
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        try_ip(&format!("netns del {}", self.0));
    }
}

/// A TCP packet over IPv4 that stands for many, with its checksum left to be filled in.
pub fn gso_frame(payload: usize) -> (Vec<u8>, Offload) {
    let mut bytes = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 0];
    let total = (20 + 20 + payload) as u16;
    bytes.extend([0x45, 0]);
    bytes.extend(total.to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    bytes.extend([0, 80, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend((0..payload).map(|position| (position * 13) as u8));
    let offload = Offload {
        checksum: Some(ChecksumOffload { start: 34, offset: 16 }),
        data_valid: false,
        gso: Some(Gso { kind: GsoKind::Tcp4, size: 1400, header_length: 54, ecn: false }),
    };
    (bytes, offload)
}
