use std::path::Path;

use icecore_testkit::LoopDisk;

use super::*;
use crate::capture::Choice;
use crate::listing::ListProgress;

const NOW: Timestamp = Timestamp { seconds: 0x1234, nanos: 0x56 };

fn tree(roots: &[(&str, &Path)]) -> Tree {
    let roots = roots.iter().map(|(name, path)| Root { name: (*name).into(), path: path.to_path_buf() });
    Tree::open(roots.collect()).unwrap()
}

fn list(tree: &Tree, rules: &Rules) -> Listing {
    tree.list(rules, &ListProgress::default()).unwrap()
}

fn plan(directory: &Path) -> CapturePlan {
    CapturePlan {
        instance: "a b".into(),
        choice: Choice::Snapshot,
        programs: None,
        filesystem_is_frozen: false,
        directory: directory.into(),
    }
}

fn paths(listing: &Listing) -> Vec<String> {
    listing.iter().map(|listed| String::from_utf8(listed.unwrap().path).unwrap()).collect()
}

#[test]
fn what_is_left_out_stays_left_out_in_a_view() {
    let directory = tempfile::tempdir().unwrap();
    let (live, copy) = (directory.path().join("live"), directory.path().join("copy"));
    for place in [&live, &copy] {
        fs::create_dir_all(place.join("data/repository/packs")).unwrap();
        fs::create_dir_all(place.join("other")).unwrap();
    }
    let (live, view) = (tree(&[("a", &live)]), tree(&[("a", &copy)]));
    let ours = live.stat(b"data/repository").unwrap();
    let rules = Rules { leave_out: vec![(ours.device, ours.inode)], ..Rules::default() };
    let listing = list(&live, &rules);
    assert_eq!(paths(&listing), ["", "data", "other"]);
    assert_eq!(list(&view, &rules).entries(), 5, "its own device and inode are others");
    let listing = list(&view, &rules_of_view(&rules, &live, listing.left_out(), &view));
    assert_eq!(
        (paths(&listing), listing.left_out()),
        (vec!["".into(), "data".into(), "other".into()], &[b"data/repository".to_vec()][..])
    );
}

#[test]
fn a_snapshot_is_destroyed_when_it_goes_away_however_that_is() {
    let Some(disk) = LoopDisk::btrfs() else { return };
    let root = disk.subvolume("@data").join("deep");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), "before").unwrap();
    let (tree, records) = (tree(&[("a", &root)]), disk.beside("captures"));
    let rules = Rules::default();
    let make = || {
        let mut snapshot = plan(&records).snapshot(&tree, NOW).unwrap().unwrap();
        snapshot.check(&tree, &list(&tree, &rules), &rules).unwrap();
        snapshot.prepare(NOW).unwrap();
        assert_eq!(icecore_testkit::loop_disk::names(&disk.path()), ["@data"], "the trial is over");
        snapshot.create(&tree, Duration::MAX).unwrap();
        snapshot
    };
    let name = format!(".icecore-snapshot-a%20b-{}-0", token(NOW));
    for ends_well in [true, false] {
        let snapshot = make();
        let view = snapshot.views().unwrap();
        assert_eq!(view[0].path, disk.path().join(&name).join("deep"));
        assert_eq!((fs::read_dir(&records).unwrap().count(), view.len()), (1, 1));
        fs::write(root.join("file"), "after").unwrap();
        assert_eq!(fs::read(view[0].path.join("file")).unwrap(), b"before");
        assert!(fs::write(view[0].path.join("file"), "x").is_err(), "nobody writes to it");
        // Whoever lists the whole file system meanwhile does not see it.
        let whole = Tree::open(vec![Root { name: "w".into(), path: disk.path() }]).unwrap();
        let listing = list(&whole, &rules);
        assert_eq!((paths(&listing).len(), listing.left_out()), (4, &[name.clone().into_bytes()][..]));
        if ends_well {
            snapshot.destroy().unwrap()
        } else {
            drop(snapshot)
        }
        assert_eq!(icecore_testkit::loop_disk::names(&disk.path()), ["@data"]);
        assert_eq!(fs::read_dir(&records).unwrap().count(), 0);
        fs::write(root.join("file"), "before").unwrap();
    }
}

#[test]
fn a_directory_that_is_mounted_by_itself_has_no_place_in_a_snapshot() {
    let Some(disk) = LoopDisk::btrfs() else { return };
    let inside = disk.subvolume("@data").join("inside");
    fs::create_dir(&inside).unwrap();
    let elsewhere = disk.beside("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let mount = |arguments: &[&std::ffi::OsStr]| {
        icecore_testkit::loop_disk::run(std::process::Command::new("mount").args(arguments)).unwrap();
    };
    mount(&["--bind".as_ref(), inside.as_ref(), elsewhere.as_ref()]);
    let refused = plan(&disk.beside("captures")).snapshot(&tree(&[("a", &elsewhere)]), NOW).unwrap_err();
    let found = plan(&disk.beside("captures")).snapshot(&tree(&[("a", &inside)]), NOW).unwrap();
    icecore_testkit::loop_disk::run(std::process::Command::new("umount").arg(&elsewhere)).unwrap();
    assert!(refused.to_string().contains("cannot be seen from here"), "{refused}");
    assert!(found.is_some());
}
