//! `cargo raddle new`: a plugin from a template.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

/// What to make.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Name of the plugin, its feature and its section of the configuration: lower-case words joined by `-`
    #[arg(value_name = "NAME")]
    name: String,
    /// What the plugin begins as
    #[arg(long, value_enum, default_value_t = Template::Feature)]
    template: Template,
    /// Directory of raddle-plugin-api, instead of the published one
    #[arg(long, env = "RADDLE_SDK", value_name = "PATH")]
    sdk: Option<PathBuf>,
}

/// What a plugin begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Template {
    /// A feature of the IP arcs with configuration, command, counters and traces
    Feature,
    /// A node alone, with nexts of its own
    Node,
    /// A driver that brings interfaces
    Driver,
}

/// A file of a template: its path and its text.
type File = (&'static str, &'static str);

const COMMON: &[File] =
    &[(".gitignore", "/target\n"), ("rustfmt.toml", include_str!("../templates/rustfmt.toml"))];

impl Template {
    fn files(self) -> &'static [File] {
        match self {
            Self::Feature => &[
                ("Cargo.toml", include_str!("../templates/feature/Cargo.toml.template")),
                ("README.md", include_str!("../templates/feature/README.md")),
                ("run.toml", include_str!("../templates/feature/run.toml")),
                ("src/lib.rs", include_str!("../templates/feature/src/lib.rs")),
                ("src/config.rs", include_str!("../templates/feature/src/config.rs")),
                ("src/node.rs", include_str!("../templates/feature/src/node.rs")),
                ("src/command.rs", include_str!("../templates/feature/src/command.rs")),
                ("tests/plugin.rs", include_str!("../templates/feature/tests/plugin.rs")),
            ],
            Self::Node => &[
                ("Cargo.toml", include_str!("../templates/node/Cargo.toml.template")),
                ("README.md", include_str!("../templates/node/README.md")),
                ("src/lib.rs", include_str!("../templates/node/src/lib.rs")),
            ],
            Self::Driver => &[
                ("Cargo.toml", include_str!("../templates/driver/Cargo.toml.template")),
                ("README.md", include_str!("../templates/driver/README.md")),
                ("run.toml", include_str!("../templates/driver/run.toml")),
                ("src/lib.rs", include_str!("../templates/driver/src/lib.rs")),
                ("src/device.rs", include_str!("../templates/driver/src/device.rs")),
                ("tests/plugin.rs", include_str!("../templates/driver/tests/plugin.rs")),
            ],
        }
    }
}

/// Makes the plugin's directory.
///
/// # Errors
/// The name is none, the directory is there already or cannot be written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { name, template, sdk } = arguments;
    judge_name(name)?;
    let directory = Path::new(name);
    ensure!(!directory.exists(), "`{name}` is there already; choose another name or remove it");
    let sdk = sdk.as_deref().map(sdk_directory).transpose()?;
    for (path, text) in COMMON.iter().chain(template.files()) {
        let path = directory.join(path);
        let folder = path.parent().unwrap_or(directory);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&path, fill(text, name, sdk.as_deref()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    format(directory);
    println!(
        "made {name}/, whose README.md says what is in it. Next:\n\n    cd {name}\n    cargo raddle test"
    );
    Ok(ExitCode::SUCCESS)
}

/// Breaks lines where they are long with this name. Without rustfmt they stay as they are, which harms nothing.
fn format(directory: &Path) {
    let _ = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .arg("fmt")
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// A name must do for the plugin, for its crate and for a library.
fn judge_name(name: &str) -> Result<()> {
    let of_words = name.split('-').all(|word| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    });
    ensure!(
        of_words && name.starts_with(|first: char| first.is_ascii_lowercase()) && name.len() <= 40,
        "`{name}` is no name for a plugin: use lower-case words of letters and digits, joined by `-`, such as `ttl-guard`"
    );
    ensure!(
        !["core", "std", "alloc", "test", "proc-macro"].contains(&name),
        "`{name}` is the name of a crate of Rust itself; choose another"
    );
    Ok(())
}

/// The directory of the SDK's crate, absolute, so that the plugin may be moved.
fn sdk_directory(path: &Path) -> Result<String> {
    let path =
        fs::canonicalize(path).with_context(|| format!("cannot find the SDK at {}", path.display()))?;
    if !path.join("Cargo.toml").is_file() {
        bail!("{} is no crate: give the directory of raddle-plugin-api", path.display());
    }
    path.into_os_string().into_string().map_err(|path| anyhow::anyhow!("{path:?} is not UTF-8"))
}

/// Puts the plugin's own words into a template.
fn fill(text: &str, name: &str, sdk: Option<&str>) -> String {
    let place = match sdk {
        Some(path) => format!("path = {}", toml::Value::String(path.to_owned())),
        None => format!("version = \"{}\"", env!("CARGO_PKG_VERSION")),
    };
    let kind: String = name.split('-').map(capitalised).collect();
    // In the order of the longest first: the others are parts of it.
    text.replace("sample-plugin", name)
        .replace("sample_plugin", &name.replace('-', "_"))
        .replace("SamplePlugin", &kind)
        .replace("version = \"SDK\"", &place)
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_joined_by_hyphens() {
        for good in ["ttl-guard", "a", "x2", "nat64", "my-own-plugin"] {
            assert!(judge_name(good).is_ok(), "{good}");
        }
        for wrong in ["", "-a", "a-", "a--b", "A", "a_b", "2x", "ä", "a b", "../a", "core"] {
            let message = judge_name(wrong).unwrap_err().to_string();
            assert!(message.contains(&format!("`{wrong}` is")), "{message}");
        }
    }

    #[test]
    fn templates_are_filled_with_name_type_and_sdk() {
        let text = "sample-plugin sample_plugin SamplePlugin { version = \"SDK\" }";
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            fill(text, "ttl-guard", None),
            format!("ttl-guard ttl_guard TtlGuard {{ version = \"{version}\" }}")
        );
        assert_eq!(fill(text, "x", Some("/a \"b\"")), "x x X { path = '/a \"b\"' }");
    }

    #[test]
    fn every_template_has_a_manifest_a_library_and_words_on_it() {
        for template in Template::value_variants() {
            let paths: Vec<_> = template.files().iter().map(|(path, _)| *path).collect();
            for path in ["Cargo.toml", "README.md", "src/lib.rs"] {
                assert!(paths.contains(&path), "{template:?} has no {path}");
            }
        }
    }
}
