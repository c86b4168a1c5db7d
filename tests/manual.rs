//! The manual: each page renders without a warning, and each command shows how it is used.

use std::fs;
use std::process::Command;

use icecore_testkit::skip;

use crate::common::{Home, args};

#[test]
fn every_page_renders_without_a_warning() {
    if Command::new("man").arg("--version").output().is_err() {
        return skip("man is not installed (package man-db)");
    }
    let home = Home::new();
    let pages = home.make_dir("pages");
    home.ok(args!["man", "--dir", &pages]);
    let mut count = 0;
    for page in fs::read_dir(&pages).unwrap() {
        let page = page.unwrap().path();
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l"]).arg(&page).env("LC_ALL", "C.UTF-8");
        let rendered = man.output().unwrap();
        let said = String::from_utf8_lossy(&rendered.stderr);
        assert!(
            rendered.status.success() && said.is_empty() && !rendered.stdout.is_empty(),
            "{}: {said}",
            page.display()
        );
        count += 1;
    }
    assert!(count > 25, "{count}");
}

/// Also those that take no argument: who reads a page wants to see a line that can be typed.
#[test]
fn every_command_has_examples_in_its_page() {
    let home = Home::new();
    let pages = home.make_dir("pages");
    home.ok(args!["man", "--dir", &pages]);
    // Pages that only name further commands.
    let groups = ["icecore.1", "icecore-key.1", "icecore-instance.1"];
    for page in fs::read_dir(&pages).unwrap() {
        let page = page.unwrap();
        let name = page.file_name().into_string().unwrap();
        if !groups.contains(&name.as_str()) {
            let text = fs::read_to_string(page.path()).unwrap();
            assert!(text.contains("Example"), "{name} has no examples");
        }
    }
}
