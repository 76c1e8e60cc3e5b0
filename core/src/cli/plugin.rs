//! `raddle plugin`: files of plugins judged, described and signed, without a daemon.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::engine::Engine;
use super::exit::Exit;
use super::output::{print, print_json, report};
use crate::control::config::{Document, sections::PluginsConfig};
use crate::plugin::PrivateKey;

/// Says of each file whether it is a plugin that the daemon would load, and what is in it.
pub(super) fn check(files: &[PathBuf], config: Option<&Path>, json: bool, engine: &dyn Engine) -> Exit {
    let keys = match config.map(trusted_keys).transpose() {
        Ok(keys) => keys.unwrap_or_default(),
        Err(error) => return report(&error, Exit::Usage),
    };
    let mut exit = Exit::Success;
    let mut verdicts = Vec::new();
    for file in files {
        let verdict = engine.check_plugin(file, &keys);
        if verdict.is_err() {
            exit = Exit::Failure;
        }
        let path = file.display();
        match verdict {
            Ok((description, _)) if json => {
                verdicts.push(json!({ "path": path.to_string(), "usable": true, "descriptor": description }));
            }
            Err(reason) if json => {
                verdicts.push(json!({ "path": path.to_string(), "usable": false, "reason": reason }));
            }
            Ok((_, text)) => exit = exit.max(print(&format!("{path}: ok, {text}"))),
            Err(reason) => eprintln!("{path}: {reason}"),
        }
    }
    if json { exit.max(print_json(&verdicts.into())) } else { exit }
}

fn trusted_keys(config: &Path) -> Result<Vec<String>, String> {
    let document = Document::load(config).map_err(|error| error.to_string())?;
    let plugins = document.section::<PluginsConfig>("plugins").map_err(|error| error.to_string())?;
    Ok(plugins.unwrap_or_default().trusted_keys)
}

/// Makes a key that signs plugins.
pub(super) fn keygen(file: &Path) -> Exit {
    let made = PrivateKey::generate().and_then(|key| key.write(file).map(|()| key.public()));
    match made {
        Ok(public) => print(&public),
        Err(error) => report(&error.to_string(), Exit::Failure),
    }
}

/// Signs files.
pub(super) fn sign(key: &Path, files: &[PathBuf]) -> Exit {
    let key = match PrivateKey::read(key) {
        Ok(key) => key,
        Err(error) => return report(&error.to_string(), Exit::Failure),
    };
    for file in files {
        match key.sign(file) {
            Ok(signature) => {
                print(&format!("{}: signed, in {}", file.display(), signature.display()));
            }
            Err(error) => return report(&error.to_string(), Exit::Failure),
        }
    }
    Exit::Success
}
