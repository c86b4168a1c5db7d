//! What users and their scripts rely on: the embedded default, exit codes, JSON, keys, signals.

mod browsing;
mod embedded_default;
mod endings;
mod exit_codes;
mod index;
mod keys;
mod manners;
mod terminal;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Home, Outcome, Running, args, assert_same, noise, number, settle, text, write};

/// Every command, with arguments that make it work in [`Home::with_repository`] with a `tree`, in this order.
fn every_command(home: &Home) -> Vec<Vec<std::ffi::OsString>> {
    let at = |name: &str| home.path(name);
    let config = at("config.toml");
    let root = at("tree");
    write(&config, format!("[[instance]]\nname = 'app'\nroots = {{ base = '{}' }}\n", root.display()));
    vec![
        args!["demo"].into(),
        args!["init", "--repo", at("other"), "--generate-password", at("other password")].into(),
        args!["backup", at("tree")].into(),
        args!["backup", "-i", "app", "--config", &config].into(),
        args!["snapshots"].into(),
        args!["show", "latest"].into(),
        args!["ls", "latest"].into(),
        args!["cat", "latest:large"].into(),
        args!["find", "large"].into(),
        args!["diff", "latest", "latest"].into(),
        args!["history", format!("{}:large", root.display())].into(),
        args!["tag", "latest", "--add", "tried"].into(),
        args!["restore", "latest", "--to", at("to")].into(),
        args!["forget", "--keep-last", "1", "--dry-run"].into(),
        args!["prune", "--dry-run"].into(),
        args!["check"].into(),
        args!["check", "--read-data"].into(),
        args!["check", "--no-key"].into(),
        args!["repair", "--dry-run"].into(),
        args!["copy", "--to", at("other"), "--to-password-file", at("other password")].into(),
        args!["stats"].into(),
        args!["key", "list"].into(),
        args!["key", "add", "--generate-password", at("second password")].into(),
        args!["key", "change", "--generate-password", at("new password"), "--password-file", at("second password")]
            .into(),
        args!["key", "remove", "KEY"].into(),
        args!["instance", "list", "--config", &config].into(),
        args!["instance", "status", "--config", &config].into(),
        args!["instance", "thaw", "app", "--config", &config].into(),
        args!["drill", "-i", "app", "--config", &config].into(),
        args!["run", "--dry-run", "--config", &config].into(),
        args!["config", "check", "--config", &config].into(),
        args!["config", "show", "--config", &config].into(),
        args!["config", "example"].into(),
        args!["config", "systemd", "--config", &config].into(),
        args!["rebuild-index"].into(),
        args!["completions", "bash"].into(),
        args!["man"].into(),
    ]
}

/// A small tree in which nothing is racy.
fn make_tree(home: &Home) -> PathBuf {
    let tree = home.make_dir("tree");
    for number in 0..20 {
        write(tree.join(format!("{}/{number}", number % 3)), text(number, 2000));
    }
    write(tree.join("large"), noise(1, 400_000));
    settle();
    tree
}
