//! A Debian package, written without Debian's tools (deb(5)).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Where raddle looks for plugins.
const PLUGINS: &str = "usr/lib/raddle/plugins";

/// What a package says of itself.
#[derive(Debug)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// What it is, in a line.
    pub(crate) description: String,
    /// Who answers for it.
    pub(crate) maintainer: String,
}

impl Package {
    /// Name of its file.
    ///
    /// # Errors
    /// Debian has no name for this machine.
    pub(crate) fn file_name(&self) -> Result<String> {
        Ok(format!("{}_{}_{}.deb", self.name, self.debian_version(), architecture()?))
    }

    /// In Debian's order `~` comes before the end of a version, as `-` does in Rust's.
    fn debian_version(&self) -> String {
        self.version.replace('-', "~")
    }

    fn control(&self, bytes: u64) -> Result<String> {
        ensure!(
            self.maintainer.contains(" <")
                && self.maintainer.ends_with('>')
                && !self.maintainer.contains('\n'),
            "`{}` is no maintainer; write `Name <address>`",
            self.maintainer
        );
        let description = match self.description.lines().next() {
            Some(line) if !line.is_empty() => line,
            _ => "a plugin for raddle",
        };
        Ok(format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: {}\nInstalled-Size: {}\nRecommends: raddle\n\
             Section: net\nPriority: optional\nDescription: {description}\n",
            self.name,
            self.debian_version(),
            architecture()?,
            self.maintainer,
            bytes.div_ceil(1024),
        ))
    }
}

/// Debian's name of this machine.
fn architecture() -> Result<&'static str> {
    Ok(match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        other => bail!("Debian has no name for the architecture {other}"),
    })
}

/// Writes the package, which puts `files` where raddle looks for plugins.
///
/// # Errors
/// A file cannot be read, or the package not be written.
pub(crate) fn write(path: &Path, package: &Package, files: &[PathBuf]) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut data = archive();
    let mut folder = String::from("./");
    for part in PLUGINS.split('/') {
        folder.push_str(part);
        folder.push('/');
        entry(&mut data, &folder, 0o755, now, None)?;
    }
    let mut bytes = 0;
    for file in files {
        let name = file.file_name().context("a file without a name")?.to_string_lossy();
        let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        bytes += content.len() as u64;
        entry(&mut data, &format!("{folder}{name}"), 0o644, now, Some(&content))?;
    }
    let mut control = archive();
    entry(&mut control, "./control", 0o644, now, Some(package.control(bytes)?.as_bytes()))?;

    let mut deb = b"!<arch>\n".to_vec();
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", end(control)?),
        ("data.tar.gz", end(data)?),
    ];
    for (name, content) in members {
        // ar(5): name, time, owner, group, mode, size.
        writeln!(deb, "{name:<16}{now:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, "100644", content.len())?;
        deb.extend_from_slice(&content);
        if content.len() % 2 == 1 {
            deb.push(b'\n');
        }
    }
    fs::write(path, deb).with_context(|| format!("cannot write {}", path.display()))
}

type Archive = tar::Builder<GzEncoder<Vec<u8>>>;

fn archive() -> Archive {
    tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()))
}

fn end(archive: Archive) -> Result<Vec<u8>> {
    Ok(archive.into_inner()?.finish()?)
}

/// Appends a file, or a directory where there is no content, that belongs to root.
fn entry(archive: &mut Archive, path: &str, mode: u32, time: u64, content: Option<&[u8]>) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(if content.is_some() {
        tar::EntryType::Regular
    } else {
        tar::EntryType::Directory
    });
    header.set_mode(mode);
    header.set_mtime(time);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    let content = content.unwrap_or_default();
    header.set_size(content.len() as u64);
    // `append_data` would leave out the `./` in front, which Debian's own tools write.
    let name = header.as_old_mut();
    ensure!(path.len() < name.name.len(), "the path {path} is too long for the package");
    name.name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    Ok(archive.append(&header, content)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package() -> Package {
        Package {
            name: "raddle-plugin-x".to_owned(),
            version: "1.2.0-rc.1".to_owned(),
            description: "does x\nand more".to_owned(),
            maintainer: "A B <a@b>".to_owned(),
        }
    }

    #[test]
    fn control_file_is_as_debian_wants_it() {
        let control = package().control(2049).unwrap();
        for line in
            ["Package: raddle-plugin-x", "Version: 1.2.0~rc.1", "Installed-Size: 3", "Description: does x"]
        {
            assert!(control.lines().any(|found| found == line), "{line} in {control}");
        }
        let nobody = Package { maintainer: "nobody".to_owned(), ..package() };
        assert!(nobody.control(1).unwrap_err().to_string().contains("write `Name <address>`"));
    }

    #[test]
    fn members_stand_in_order_and_at_even_offsets() {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = (folder.path().join("x.so"), folder.path().join("x.deb"));
        fs::write(&file, "code").unwrap();
        write(&path, &package(), &[file]).unwrap();
        let bytes = fs::read(&path).unwrap();
        let (mut rest, mut names) = (bytes.strip_prefix(b"!<arch>\n").unwrap(), Vec::new());
        while !rest.is_empty() {
            let header = std::str::from_utf8(&rest[..60]).unwrap();
            assert!(header.ends_with("`\n"), "{header:?}");
            names.push(header[..16].trim().to_owned());
            let size: usize = header[48..58].trim().parse().unwrap();
            rest = &rest[60 + size.next_multiple_of(2)..];
        }
        assert_eq!(names, ["debian-binary", "control.tar.gz", "data.tar.gz"]);
    }
}
