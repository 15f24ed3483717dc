//! Each row of the threat tables in `docs/auth.md` and `docs/cache.md` names tests, and they are there.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::fs;
use std::path::{Path, PathBuf};

/// All Rust sources in `folder`, whatever is in it.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// How many tests the rows of a page name, from the heading on to the next one: all of them are there.
fn named(page: &str, heading: &str, folders: &[&str]) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files: Vec<_> = folders.iter().flat_map(|folder| sources(&root.join(folder))).collect();
    let text: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let is_file = |name: &str| files.iter().any(|path| path.ends_with(name));

    let (_, threats) = page.split_once(heading).unwrap();
    let rows = threats.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let mut named = 0;
    for row in rows {
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let tests: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            let name = test.rsplit([':', ' ', '/']).next().unwrap();
            let is_there = text.contains(&format!("fn {name}("))
                || is_file(name)
                || is_file(&format!("{name}.rs"));
            assert!(is_there, "{test}");
            named += 1;
        }
    }
    named
}

#[test]
fn every_threat_names_tests_that_exist() {
    let folders = ["crates/auth/src", "crates/auth/tests", "tests/tests", "benches/benches"];
    let auth = named(include_str!("../../docs/auth.md"), "## Threats", &folders);
    assert!(auth >= 30, "{auth}");
    let folders = ["crates/cache/src", "crates/cache/tests", "benches/benches"];
    let page = include_str!("../../docs/cache.md");
    let (page, _) = page.split_once("## Conformance").unwrap();
    let cache = named(page, "## Security model", &folders);
    assert!(cache >= 20, "{cache}");
}
