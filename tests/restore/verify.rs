//! `--verify` reads back what stands, and names what differs.

use std::fs;
use std::path::Path;

use crate::common::{Home, args, noise, number, settle, text, write};

fn make(tree: &Path) {
    write(tree.join("large"), noise(1, 3_000_001));
    write(tree.join("odd"), noise(2, 4097));
    write(tree.join("empty"), "");
    for n in 0..50 {
        write(tree.join(format!("many/{n}")), text(n, 100 + 37 * n as usize));
    }
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    sparse.set_len(9_000_001).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 5_000_000).unwrap();
}

#[test]
fn what_was_written_is_read_back() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    make(&tree);
    settle();
    home.backup(&tree, &["--name", "tree"]);
    let report = home.json(args!["restore", "tree", "--to", home.path("to"), "--verify"]);
    assert_eq!((number(&report["verified"]), number(&report["files"])), (54, 54), "{report:#}");
    assert!(home.json(args!["restore", "tree", "--to", home.path("other")])["verified"].is_null());
}

#[test]
fn every_file_that_differs_is_named() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    make(&tree);
    settle();
    home.backup(&tree, &["--name", "tree"]);
    // Changes that no time shows: a byte, the last one, and one where a hole was.
    for (name, at) in [("large", 1_500_000), ("odd", 4096), ("sparse", 8_000_000)] {
        let modified = fs::metadata(tree.join(name)).unwrap().modified().unwrap();
        let file = fs::File::options().read(true).write(true).open(tree.join(name)).unwrap();
        let mut byte = [0];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut byte, at).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[byte[0] ^ 1], at).unwrap();
        file.set_modified(modified).unwrap();
    }
    let report = home.run(["restore", "tree", "--in-place", "--verify", "--json"]).expect(3).json();
    let mut named: Vec<_> =
        report["missing"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    named.sort();
    assert_eq!(named, ["large", "odd", "sparse"], "{report:#}");
    assert_eq!(number(&report["verified"]), 51);
}
