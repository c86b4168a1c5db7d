//! Damage costs exactly what it hits, and is an error, never other bytes.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rustix::io::Errno;

use super::{Mount, can_mount};
use crate::common::{Home, noise, settle, write};

const MIB: usize = 1 << 20;

/// Flips a bit in an object.
fn flip(object: &Path, at: usize) {
    let mut bytes = fs::read(object).unwrap();
    bytes[at] ^= 1;
    fs::remove_file(object).unwrap();
    fs::write(object, bytes).unwrap();
}

#[test]
fn damage_is_an_error_of_exactly_its_files() {
    if !can_mount() {
        return;
    }
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    let names: Vec<String> = (0..40).map(|n| format!("{n:02}")).chain(["large".to_owned()]).collect();
    for (n, name) in names.iter().enumerate() {
        write(tree.join(name), noise(n as u64, if name == "large" { 9 * MIB } else { 100_000 }));
    }
    settle();
    home.backup(&tree, &["--name", "tree"]);
    let mut packs = home.objects("packs");
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    let largest = packs.last().unwrap();
    flip(largest, 100);
    flip(largest, fs::metadata(largest).unwrap().len() as usize / 4 * 3);

    let report = home.run(["restore", "tree", "--to", home.path("to").to_str().unwrap(), "--json"]).expect(3).json();
    let lost: Vec<_> = report["missing"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert!(lost.contains(&"large") && (2..20).contains(&lost.len()), "{lost:?}");

    let mount = Mount::new(&home, &["--snapshot", "tree"]);
    for name in &names {
        match fs::read(mount.path(name)) {
            Ok(bytes) => {
                assert!(bytes == fs::read(tree.join(name)).unwrap() && !lost.contains(&name.as_str()), "{name}")
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()), "{name}: {error}");
                assert!(lost.contains(&name.as_str()), "{name}");
                // A second try is no better, and says no more.
                assert!(fs::read(mount.path(name)).is_err());
            }
        }
    }
    let said = mount.end();
    assert_eq!(said.lines().count(), lost.len(), "{said}");
    for name in lost {
        assert_eq!(said.matches(&format!("\"{name}\" cannot be shown")).count(), 1, "{said}");
    }
}

#[test]
fn a_file_without_content_is_not_taken_for_an_empty_one() {
    if !can_mount() {
        return;
    }
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    write(tree.join("gone"), noise(1, 3 * MIB));
    write(tree.join("kept"), noise(2, 3 * MIB));
    settle();
    home.backup(&tree, &["--name", "tree"]);
    let mut packs = home.objects("packs");
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    flip(packs.last().unwrap(), 100);
    // The corrected snapshot has a file without content.
    home.run(["repair"]).expect(3);
    let listed = home.json(["snapshots"]);
    let mut ids = listed["snapshots"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap());
    let is_corrected = |id: &&str| !home.json(["show", id])["snapshot"]["corrects"].is_null();
    let corrected = ids.find(is_corrected).unwrap();
    let mount = Mount::new(&home, &["--snapshot", corrected]);
    let read: Vec<_> = ["gone", "kept"].iter().map(|name| fs::read(mount.path(name)).is_ok()).collect();
    assert_eq!(read.iter().filter(|is_there| **is_there).count(), 1, "{read:?}");
    let lost = if read[0] { "kept" } else { "gone" };
    assert_eq!(fs::metadata(mount.path(lost)).unwrap().len() as usize, 3 * MIB);
    assert!(fs::File::open(mount.path(lost)).is_err());
    let said = mount.end();
    assert!(said.contains(&format!("\"{lost}\" cannot be shown")) && said.lines().count() == 1, "{said}");
}

#[test]
fn a_lost_part_of_a_manifest_is_told_where_it_is_read() {
    if !can_mount() {
        return;
    }
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    for n in 0..3000 {
        write(tree.join(format!("{:02}/{n:04} with a name that takes some room in its block", n / 100)), "");
    }
    settle();
    home.backup(&tree, &["--name", "tree"]);
    // Nothing but the manifest is stored: a flip near the end of the pack's frames hits some of its leaves.
    let packs = home.objects("packs");
    let mut hit = false;
    for pack in &packs {
        let length = fs::metadata(pack).unwrap().len() as usize;
        if length > 10_000 {
            flip(pack, 200);
            hit = true;
        }
    }
    assert!(hit);
    let mount = Mount::new(&home, &["--snapshot", "tree"]);
    let mut failed = 0;
    match fs::read_dir(&mount.directory) {
        Err(_) => failed += 1,
        Ok(names) => {
            for name in names {
                let Ok(name) = name else {
                    failed += 1;
                    continue;
                };
                match fs::read_dir(name.path()) {
                    Ok(names) => failed += names.filter(Result::is_err).count(),
                    Err(_) => failed += 1,
                }
            }
        }
    }
    assert!(failed > 0, "damage was taken for the end of a directory");
    assert_ne!(
        fs::metadata(mount.path("29/2999 with a name that takes some room in its block")).map_err(|e| e.kind()).err(),
        Some(ErrorKind::NotFound)
    );
    drop(mount);
}
