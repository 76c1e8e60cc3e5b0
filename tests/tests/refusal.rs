//! Files that are not used as plugins: `raddle plugin check` and `plugin load` say the same sentence, and who demands such a
//! plugin does not start.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use raddle_tests::command::{Finished, finish};
use raddle_tests::{Daemon, DaemonConfig, Need, TestPlugin, raddle, requirement, scratch};
use serde_json::Value;

const NEEDS: &[Need] = &[Need::Raddle, Need::TestPlugins];
const LIMIT: Duration = Duration::from_secs(60);

fn tool(words: &[&str]) -> Result<Finished> {
    finish(Command::new(raddle()).arg("plugin").args(words), LIMIT)
}

/// The sentence about a file, which command and daemon must agree on.
fn verdict(daemon: &Daemon<'_>, file: &Path) -> Result<String> {
    let path = file.display().to_string();
    let checked = tool(&["check", &path])?;
    assert_eq!(checked.code, Some(1), "{path}: {checked:?}");
    let sentence = checked.stderr.trim().strip_prefix(&format!("{path}: ")).context("the file's name")?;
    assert_eq!(sentence.lines().count(), 1, "{checked:?}");
    let loaded = daemon.try_ctl(&format!("plugin load {path}"))?;
    assert_eq!(loaded.code, Some(1), "{loaded:?}");
    assert!(loaded.stderr.contains(sentence), "check says {sentence:?}, load {:?}", loaded.stderr);
    Ok(sentence.to_owned())
}

#[test]
fn each_way_to_be_unusable_has_its_sentence() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let directory = scratch::directory()?;
    let daemon = Daemon::start_here(&DaemonConfig::new())?;
    let whole = TestPlugin::read("faulty")?;
    let half = whole.bytes()[..whole.bytes().len() / 2].to_vec();
    let bent = |offset: usize, byte: u8| -> Result<Vec<u8>> {
        Ok(whole.clone().bend_header(offset, byte)?.bytes().to_vec())
    };
    let patched = |at: usize, byte: u8| {
        let mut bytes = whole.bytes().to_vec();
        bytes[at] = byte;
        bytes
    };
    let symbol = TestPlugin::read("faulty")?.replace(b"RADDLE_PLUGIN\0", b"RADDLE_PLAGIN\0")?;
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("empty", Vec::new(), &["the file is empty", "copy the plugin again"]),
        ("text", b"#!/bin/sh\n".to_vec(), &["not an ELF file", "7f 45 4c 46", "cdylib"]),
        ("half", half, &["truncated", "copy the plugin again"]),
        ("machine", patched(18, 0xb7), &["it is built for", "build the plugin for"]),
        ("class", patched(4, 1), &["32-bit", "raddle is 64-bit"]),
        ("order", patched(5, 2), &["byte order is big-endian", "little-endian"]),
        ("executable", patched(16, 2), &["an executable, not a shared object", "cdylib"]),
        ("symbol", symbol.bytes().to_vec(), &["exports no symbol `RADDLE_PLUGIN`"]),
        ("magic", bent(0, b'R')?, &["its header starts with `Raddle", "rebuild it"]),
        ("too-old", bent(12, 0)?, &["its ABI version is 0.", "too old", "rebuild it"]),
        ("too-new", bent(14, 99)?, &["its ABI version is 1.99", "too new", "update raddle"]),
        ("generation", bent(12, 9)?, &["its ABI version is 9.", "too new"]),
        (
            "layout",
            bent(16, 0xaa)?,
            &["the layout of its packet structs is", "and raddle's is", "rebuild it"],
        ),
        ("size", bent(8, 16)?, &["its plugin header says 16 bytes", "at least 120"]),
        ("abort", bent(88, 0)?, &["panic=abort", "panic = \"unwind\""]),
    ];
    for (name, bytes, parts) in cases {
        let file = directory.path().join(format!("{name}.so"));
        fs::write(&file, bytes)?;
        let sentence = verdict(&daemon, &file)?;
        for part in parts {
            assert!(sentence.contains(part), "{name}: no {part:?} in {sentence:?}");
        }
    }
    let sentence = verdict(&daemon, &directory.path().join("absent.so"))?;
    assert!(sentence.contains("cannot be read"), "{sentence}");
    assert!(verdict(&daemon, directory.path())?.contains("it is a directory"));
    let open = directory.path().join("open.so");
    fs::write(&open, whole.bytes())?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666))?;
    let sentence = verdict(&daemon, &open)?;
    assert!(
        sentence.contains("can be written by every user (mode 666)") && sentence.contains("chmod o-w"),
        "{sentence}"
    );
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644))?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777))?;
    let sentence = verdict(&daemon, &open)?;
    assert!(sentence.contains("its directory") && sentence.contains("every user"), "{sentence}");
    daemon.stop()
}

#[test]
fn a_usable_file_is_described_without_a_daemon() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let directory = scratch::directory()?;
    let file = directory.path().join("libfaulty.so");
    TestPlugin::read("faulty")?.write(&file)?;
    let path = file.display().to_string();
    let text = tool(&["check", &path])?;
    assert_eq!(text.code, Some(0), "{text:?}");
    for part in ["ok, faulty 1.0.710", "built with", "abi", "nodes", "fail-closed", "state       note"] {
        assert!(text.stdout.contains(part), "no {part:?} in {}", text.stdout);
    }
    let half = directory.path().join("half.so");
    fs::write(&half, &fs::read(&file)?[..1000])?;
    let json = tool(&["check", "--json", &path, &half.display().to_string()])?;
    assert_eq!(json.code, Some(1), "{json:?}");
    let verdicts: Value = serde_json::from_str(&json.stdout)?;
    assert_eq!(verdicts[0]["usable"], true, "{verdicts}");
    assert_eq!(verdicts[0]["descriptor"]["name"], "faulty", "{verdicts}");
    assert_eq!(verdicts[1]["usable"], false, "{verdicts}");
    assert!(verdicts[1]["reason"].as_str().is_some_and(|reason| reason.contains("truncated")), "{verdicts}");
    Ok(())
}

/// Runs a daemon that must not start; returns its exit code and log.
fn run_to_failure(sections: &str) -> Result<Finished> {
    let directory = scratch::directory()?;
    let file = directory.path().join("raddle.toml");
    fs::write(&file, DaemonConfig::new().with(sections).render(&directory.path().join("raddle.sock")))?;
    finish(Command::new(raddle()).args(["run", "-c"]).arg(&file), LIMIT)
}

#[test]
fn a_required_plugin_that_cannot_be_used_ends_the_start_with_code_3() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let directory = scratch::directory()?;
    let file = directory.path().join("libfaulty.so");
    let switch = directory.path().join("switch");
    let section = |more: &str| {
        let path = directory.path().display();
        format!(
            "[plugins]\npath = \"{path}\"\nrequire = [\"faulty\"]\n{more}\n[faulty]\nswitch = \"{}\"",
            switch.display()
        )
    };
    let demand = |what: &str, more: &str, parts: &[&str]| -> Result<()> {
        let ended = run_to_failure(&section(more))?;
        let log = ended.stdout + &ended.stderr;
        assert_eq!(ended.code, Some(3), "{what}: {log}");
        for part in parts {
            assert!(log.contains(part), "{what}: no {part:?} in {log}");
        }
        Ok(())
    };
    TestPlugin::read("faulty")?.write(&file)?;
    fs::write(&switch, "fail-in-init")?;
    demand("init", "", &["`faulty` is required", "the switch says so"])?;
    fs::write(&switch, "panic-in-init")?;
    demand("panic", "", &["`faulty` is required", "panicked"])?;
    fs::write(&switch, "")?;
    let made = tool(&["keygen", &directory.path().join("a.key").display().to_string()])?;
    let keys = format!("trusted-keys = [\"{}\"]", made.stdout.trim());
    demand("unsigned", &keys, &["libfaulty.so", "raddle plugin sign"])?;
    TestPlugin::read("faulty")?.bend_header(14, 99)?.write(&file)?;
    // The file's section is nobody's, which is no mistake of the file's as long as a plugin is refused.
    demand("too new", "", &["libfaulty.so", "too new"])?;
    Ok(())
}

#[test]
fn only_plugins_signed_with_a_trusted_key_are_loaded() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let directory = scratch::directory()?;
    let at = |name: &str| directory.path().join(name).display().to_string();
    fs::create_dir(at("plugins"))?;
    let file = directory.path().join("plugins/libfaulty.so");
    let path = file.display().to_string();
    TestPlugin::read("faulty")?.write(&file)?;
    let key = |name: &str| -> Result<String> {
        let made = tool(&["keygen", &at(name)])?;
        assert_eq!(made.code, Some(0), "{made:?}");
        Ok(made.stdout.trim().to_owned())
    };
    let (ours, _other) = (key("ours.key")?, key("other.key")?);
    let again = tool(&["keygen", &at("ours.key")])?;
    assert_eq!(again.code, Some(1), "a key is not overwritten: {again:?}");
    let section = format!("[plugins]\npath = \"{}\"\ntrusted-keys = [\"{ours}\"]", at("plugins"));
    let config = directory.path().join("check.toml");
    fs::write(&config, &section)?;
    let check = || tool(&["check", "--config", &config.display().to_string(), &path]);
    let state = |daemon: &Daemon<'_>| -> Result<String> {
        let all = daemon.ctl_json("show plugins")?;
        let all = all.as_array().context("a list")?;
        let found = all.iter().find(|plugin| plugin["path"] == path);
        Ok(found.map(|plugin| format!("{}: {}", plugin["state"], plugin["reason"])).unwrap_or_default())
    };
    let unsigned = check()?;
    assert!(unsigned.code == Some(1) && unsigned.stderr.contains("it has no signature in"), "{unsigned:?}");
    let daemon = Daemon::start_here(&DaemonConfig::new().with(&section))?;
    assert!(state(&daemon)?.contains("no signature"), "{}", state(&daemon)?);
    let signed = tool(&["sign", "--key", &at("other.key"), &path])?;
    assert_eq!(signed.code, Some(0), "{signed:?}");
    let wrong = daemon.try_ctl(&format!("plugin load {path}"))?;
    assert!(wrong.stderr.contains("is of none of `plugins.trusted-keys`"), "{wrong:?}");
    tool(&["sign", "--key", &at("ours.key"), &path])?;
    assert_eq!(check()?.code, Some(0), "{:?}", check()?);
    daemon.ctl(&format!("plugin load {path}"))?;
    assert!(state(&daemon)?.contains("active"), "{}", state(&daemon)?);
    // Signed for other bytes.
    TestPlugin::faulty("2.0.710")?.write(&file)?;
    let stale = daemon.try_ctl("plugin upgrade faulty")?;
    assert!(stale.stderr.contains("another content of the file"), "{stale:?}");
    tool(&["sign", "--key", &at("ours.key"), &path])?;
    daemon.ctl("plugin upgrade faulty")?;
    daemon.stop()?;
    let mistaken = run_to_failure("[plugins]\ntrusted-keys = [\"nonsense\"]")?;
    let log = mistaken.stdout + &mistaken.stderr;
    assert!(mistaken.code == Some(2) && log.contains("`nonsense` is no public key"), "{log}");
    Ok(())
}
