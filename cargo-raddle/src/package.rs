//! `cargo raddle package`: the plugin as it is shipped.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::deb::{self, Package};
use crate::project::{self, DaemonArguments};

/// Arguments of `cargo raddle package`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Make a Debian package too
    #[arg(long)]
    deb: bool,
    /// Who answers for the Debian package: `Name <address>`
    #[arg(long, value_name = "WHO", default_value = "unknown <unknown@localhost>")]
    maintainer: String,
    /// Sign the plugin with this private key, by `raddle plugin sign`
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    daemon: DaemonArguments,
}

/// Builds the plugin optimised and puts what is to be shipped into `target/raddle`.
///
/// # Errors
/// It does not build, cannot be signed or not be written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let built = project::build(true)?;
    let folder = built.target.join("raddle");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let plugin = folder.join(format!("{}.so", built.name));
    fs::copy(&built.library, &plugin).with_context(|| format!("cannot write {}", plugin.display()))?;
    println!("{}", plugin.display());
    let mut files = vec![plugin.clone()];
    let signature = folder.join(format!("{}.so.sig", built.name));
    if let Some(key) = &arguments.key {
        let mut sign = arguments.daemon.command(["plugin", "sign", "--key"]);
        sign.arg(key).arg(&plugin);
        let status = sign.status().with_context(|| arguments.daemon.missing())?;
        ensure!(status.success(), "the plugin could not be signed");
        ensure!(signature.is_file(), "raddle made no {}", signature.display());
        println!("{}", signature.display());
        files.push(signature);
    } else if signature.exists() {
        // Of what was built before: it would not fit any more.
        fs::remove_file(&signature).with_context(|| format!("cannot remove {}", signature.display()))?;
    }
    if arguments.deb {
        let package = Package {
            name: format!("raddle-plugin-{}", built.name),
            version: built.version,
            description: built.description,
            maintainer: arguments.maintainer.clone(),
        };
        let path = folder.join(package.file_name()?);
        deb::write(&path, &package, &files)?;
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
