//! A real tree, backed up and restored, in rsync's eyes.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{Home, args, noise, number, rsync_differences, text, write};

/// What the test promises to handle.
const ENTRIES: u64 = 200_000;

/// Entries of a tree.
fn count(tree: &Path) -> u64 {
    let found = Command::new("find").arg(tree).args(["-printf", "."]).output().unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    found.stdout.len() as u64
}

/// An instance: a database, containers, and as many small files as are wanted.
fn generate(instance: &Path, entries: u64) {
    write(instance.join("database.fdb"), text(1, 24 << 20));
    for number in 0..4 {
        write(instance.join(format!("containers/{number}.dat")), noise(number, 6 << 20));
    }
    const IN_DIRECTORY: u64 = 500;
    for directory in 0..entries.div_ceil(IN_DIRECTORY) {
        let path = instance.join(format!("mail/{:02x}/{directory}", directory % 31));
        fs::create_dir_all(&path).unwrap();
        for number in 0..IN_DIRECTORY {
            // Many are alike, some are large, most are small.
            let len = if number % 50 == 0 { 9000 } else { 10 + number % 40 };
            fs::write(path.join(format!("{number}.eml")), text(directory * 7 + number / 2, len as usize)).unwrap();
        }
    }
}

#[test]
fn a_real_tree_of_two_hundred_thousand_entries_comes_back() {
    if !icecore_testkit::may_act_as_root("the test of a real tree fills some gigabytes") {
        return;
    }
    let home = Home::with_repository();
    let real = Path::new("/usr");
    let instance = home.make_dir("instance");
    generate(&instance, ENTRIES.saturating_sub(count(real)).max(10_000));
    assert!(count(real) + count(&instance) >= ENTRIES);

    let report = home.json(args!["backup", real, &instance, "--name", "real"]);
    assert_eq!(report["snapshot"]["problem_count"], 0, "{report:#}");
    assert!(number(&report["snapshot"]["totals"]["entries"]) >= ENTRIES);
    let restored = home.restore("real", "restored");
    for (source, root) in [(real, "usr"), (&*instance, "instance")] {
        let Some(printed) = rsync_differences(source, &restored.join(root)) else { continue };
        assert_eq!(printed, "", "of {root}");
    }

    let again = home.json(args!["backup", real, &instance, "--name", "real"]);
    let totals = &again["snapshot"]["totals"];
    assert_eq!((number(&totals["bytes_read"]), number(&totals["bytes_added"])), (0, 0), "{totals:#}");
    home.check(&[]);
}
