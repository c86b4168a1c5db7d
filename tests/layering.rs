//! The layers hold: no crate uses another that the table of `docs/architecture.md` does not allow it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// The crates of the workspace and what each may use. `icecore` is the root package: the command line.
const LAYERS: &[(&str, &[&str])] = &[
    ("icecore-format", &[]),
    ("icecore-store", &[]),
    ("icecore-repo", &["icecore-format", "icecore-store"]),
    ("icecore-http", &[]),
    ("icecore-source", &["icecore-format", "icecore-http"]),
    ("icecore-engine", &["icecore-format", "icecore-repo", "icecore-source"]),
    ("icecore-service", &["icecore-engine", "icecore-http"]),
    ("icecore-mount", &["icecore-engine"]),
    ("icecore", &["icecore-engine", "icecore-store", "icecore-source", "icecore-service", "icecore-mount"]),
    (TESTKIT, &["icecore-format", "icecore-store", "icecore-repo", "icecore-source", "icecore-engine"]),
];

const TESTKIT: &str = "icecore-testkit";

#[test]
fn every_crate_uses_only_what_lies_below_it() {
    let layers: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("cargo's metadata");
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some(allowed) = layers.get(name) else {
            wrong.push(format!("{name} has no layer"));
            continue;
        };
        let below = |dependency: &str| allowed.contains(&dependency);
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let uses = dependency.name.as_str();
            let holds = match dependency.kind {
                // What a library's tests use, they use through the test kit; the root package tests everything.
                DependencyKind::Development => below(uses) || uses == TESTKIT || name == "icecore",
                _ => below(uses) && uses != TESTKIT,
            };
            if !holds {
                wrong.push(format!("{name} must not use {uses} ({} dependency)", dependency.kind));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A test file that no module names would never run, and nobody would notice.
#[test]
fn every_test_file_is_a_module() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut forgotten = Vec::new();
    find_forgotten(&tests, &tests.join("main.rs"), &mut forgotten);
    assert!(forgotten.is_empty(), "no `mod` names {}", forgotten.join(", "));
}

/// Collects the Rust files of `directory` that `parent` does not declare, and so on below.
fn find_forgotten(directory: &Path, parent: &Path, forgotten: &mut Vec<String>) {
    let declared = fs::read_to_string(parent).unwrap_or_default();
    let is_declared =
        |module: &str| declared.lines().any(|line| line.trim().trim_start_matches("pub ") == format!("mod {module};"));
    for item in fs::read_dir(directory).expect("a directory of tests") {
        let path = item.expect("an item of a directory").path();
        if path == parent {
            continue;
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            find_forgotten(&path, &path.with_extension("rs"), forgotten);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_declared(&stem) {
            forgotten.push(path.display().to_string());
        }
    }
}
