//! What README and the book show is what is in the repository.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// README and every page of the book, by path.
fn pages() -> Vec<(PathBuf, String)> {
    let mut files = vec![root().join("README.md")];
    for folder in ["docs", "docs/reference"] {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.into_iter().map(|file| (file.clone(), fs::read_to_string(&file).unwrap())).collect()
}

/// Blocks of code that are said to be a file: `<!-- file: PATH -->` in front of the fence. Path and text.
fn shown_files(page: &str) -> Vec<(&str, &str)> {
    let after_mark = page.split("<!-- file: ").skip(1);
    let shown = after_mark.map(|rest| {
        let (path, rest) = rest.split_once(" -->\n```").expect("a fence behind the mark");
        let (_, rest) = rest.split_once('\n').expect("a fence of several lines");
        let end = rest.find("\n```").expect("the end of the fence");
        (path, &rest[..=end])
    });
    shown.collect()
}

/// Targets of links, without those to the outside and to places of the same page.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    targets
        .filter(|target| !target.contains("://"))
        .map(|target| target.split('#').next().unwrap_or(target))
        .filter(|target| !target.is_empty())
}

#[test]
fn shown_files_are_as_on_disk() {
    let pages = pages();
    let readme = &pages[0].1;
    for file in ["conf/tap-router.toml", "examples/minimal/src/lib.rs"] {
        assert!(shown_files(readme).iter().any(|(path, _)| *path == file), "README does not show {file}");
    }
    for (page, text) in &pages {
        for (path, shown) in shown_files(text) {
            let found = fs::read_to_string(root().join(path)).unwrap_or_default();
            assert_eq!(shown, found, "{} shows another {path} than there is", page.display());
        }
    }
}

#[test]
fn links_lead_to_files() {
    for (page, text) in pages() {
        let folder = page.parent().unwrap();
        for target in links(&text) {
            assert!(folder.join(target).exists(), "{} links to {target}, which is not there", page.display());
        }
    }
}

#[test]
fn the_way_to_find_shown_files_finds_them() {
    let page = "a\n<!-- file: x/y -->\n```rust\none\ntwo\n```\nb\n";
    assert_eq!(shown_files(page), [("x/y", "one\ntwo\n")]);
    assert_eq!(links("[a](b.md#c) [d](#e) [f](https://g) [h](i/)").collect::<Vec<_>>(), ["b.md", "i/"]);
}
