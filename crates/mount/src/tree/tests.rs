use icecore_engine::snapshot::Snapshot;
use icecore_testkit::bare_snapshot;

use super::*;

fn stored(id: &str, instance: &str, taken: i64) -> Stored {
    // Of several with one id, the manifest tells which.
    let manifest = ManifestRoot { id: "00".repeat(20).parse().unwrap(), height: 0, entries: taken as u64 };
    let snapshot = Snapshot { manifest, ..bare_snapshot(instance, taken) };
    Stored { id: format!("{id:0<64}").parse().unwrap(), snapshot, notes: Default::default() }
}

fn name(time: Timestamp) -> String {
    format!("T{}", time.seconds)
}

/// The inode number at a path.
fn at(tree: &Tree, path: &str) -> Option<u64> {
    path.split('/').filter(|part| !part.is_empty()).try_fold(ROOT, |inode, name| Some(tree.lookup(inode, name)?.inode))
}

fn names(tree: &Tree, path: &str) -> Vec<String> {
    let children = tree.children(at(tree, path).unwrap()).unwrap();
    for child in &children {
        assert_eq!(tree.lookup(at(tree, path).unwrap(), &child.name).as_ref(), Some(child));
    }
    children.into_iter().map(|child| child.name).collect()
}

fn target(tree: &Tree, path: &str) -> Option<String> {
    tree.target(at(tree, path)?)
}

#[test]
fn snapshots_stand_below_their_instances_and_ids_lead_there() {
    let mut tree = Tree::new(None, name);
    assert_eq!(names(&tree, ""), ["instances", "snapshots"]);
    assert_eq!(names(&tree, "instances"), [""; 0]);
    tree.update(&[stored("aa", "wiki", 1), stored("bb", "/srv/..", 2), stored("cc", "wiki", 3)]);
    assert_eq!(names(&tree, "instances"), ["%2Fsrv%2F..", "wiki"]);
    assert_eq!(names(&tree, "instances/wiki"), ["T1", "T3", "latest"]);
    assert_eq!(names(&tree, "snapshots"), ["aa000000", "bb000000", "cc000000"]);
    assert_eq!(target(&tree, "instances/wiki/latest").as_deref(), Some("T3"));
    assert_eq!(target(&tree, "snapshots/bb000000").as_deref(), Some("../instances/%2Fsrv%2F../T2"));
    let Inode::Top(number) = tree.resolve(at(&tree, "instances/wiki/T1").unwrap()) else { panic!() };
    assert_eq!(tree.snapshot(number).unwrap().id.short(), "aa000000");
    assert_eq!(at(&tree, "instances/wiki/T2"), None);
    assert_eq!(tree.children(at(&tree, "instances/wiki/latest").unwrap()), None);
}

#[test]
fn names_and_numbers_stay_while_others_come_and_go() {
    let mut tree = Tree::new(None, name);
    // The same second, the same first digits of the id, and numbers that begin alike.
    let (one, two, three) = (stored("aaaaaaaa1", "wiki", 1), stored("aaaaaaaa2", "wiki", 1), stored("aaaaaab", "b", 1));
    tree.update(&[one.clone(), two.clone(), three.clone()]);
    let long = two.id.to_string();
    assert_eq!(names(&tree, "instances/wiki"), ["T1", "T1_aaaaaaaa", "latest"]);
    assert_eq!(names(&tree, "snapshots"), ["aaaaaaaa", &long, "aaaaaab0"]);
    let second = at(&tree, "instances/wiki/T1_aaaaaaaa").unwrap();
    let numbers = ["instances/wiki/T1", "instances/wiki/T1_aaaaaaaa", "instances/b/T1"].map(|path| at(&tree, path));
    assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), 3);

    tree.update(&[two.clone(), three.clone()]);
    assert_eq!(names(&tree, "instances/wiki"), ["T1_aaaaaaaa", "latest"]);
    assert_eq!(at(&tree, "instances/wiki/T1_aaaaaaaa"), Some(second));
    assert_eq!(target(&tree, "instances/wiki/latest").as_deref(), Some("T1_aaaaaaaa"));
    assert_eq!(target(&tree, &format!("snapshots/{long}")).as_deref(), Some("../instances/wiki/T1_aaaaaaaa"));

    let (instance, link) = (at(&tree, "instances/wiki").unwrap(), at(&tree, "instances/wiki/latest").unwrap());
    tree.update(&[three]);
    assert_eq!(names(&tree, "instances"), ["b"]);
    assert_eq!((tree.children(instance), tree.target(link)), (None, None));
    // What is open stays readable.
    let Inode::Top(number) = tree.resolve(second) else { panic!() };
    assert_eq!(tree.snapshot(number).unwrap().root, two.snapshot.manifest);
}

#[test]
fn one_series_or_one_snapshot_may_be_all() {
    let all = [stored("aa", "wiki", 1), stored("bb", "other", 2)];
    let mut tree = Tree::new(Some("wiki".to_owned()), name);
    tree.update(&all);
    assert_eq!(names(&tree, "instances"), ["wiki"]);
    assert_eq!(names(&tree, "snapshots"), ["aa000000"]);
    let mut tree = Tree::of_one(&all[1]);
    tree.update(&all);
    let Inode::Top(number) = tree.resolve(ROOT) else { panic!() };
    assert_eq!(tree.snapshot(number).unwrap().id.short(), "bb000000");
}
