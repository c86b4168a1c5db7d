//! Several roots that go to directories of their own: hard links between them, exchanges one after the other.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use icecore_testkit::SmallDisk;

use crate::common::{Home, args, differences, noise, number, settle, text, write};

const NAMES: [&str; 3] = ["archive", "base", "mail"];

/// Three roots with links across: one file has two names in each, another one in the outer two.
fn make(roots: &[PathBuf]) {
    for (n, root) in roots.iter().enumerate() {
        write(root.join("own"), text(n as u64, 3000));
        fs::create_dir_all(root.join("deep")).unwrap();
    }
    write(roots[0].join("all"), noise(1, 200_000));
    fs::hard_link(roots[0].join("all"), roots[0].join("deep/again")).unwrap();
    for root in &roots[1..] {
        fs::hard_link(roots[0].join("all"), root.join("all")).unwrap();
        fs::hard_link(roots[0].join("all"), root.join("deep/again")).unwrap();
    }
    write(roots[0].join("deep/outer"), "outer");
    fs::hard_link(roots[0].join("deep/outer"), roots[2].join("outer")).unwrap();
}

/// A home in which the roots were backed up as `app`.
fn scene() -> (Home, Vec<PathBuf>) {
    let home = Home::with_repository();
    let roots: Vec<_> = NAMES.iter().map(|name| home.make_dir(format!("srv/{name}"))).collect();
    make(&roots);
    settle();
    home.ok(args!["backup", &roots[0], &roots[1], &roots[2], "--name", "app"]);
    (home, roots)
}

fn inode(path: &Path) -> (u64, u64) {
    let found = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (found.dev(), found.ino())
}

/// All of them below one directory, so that links between them are compared too.
fn side(home: &Home, name: &str, roots: &[PathBuf]) -> PathBuf {
    let to = home.make_dir(name);
    assert!(Command::new("cp").arg("-a").args(roots).arg(&to).status().unwrap().success());
    fs::File::open(&to).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    to
}

fn to_roots(to: &[PathBuf], more: &[&str]) -> Vec<std::ffi::OsString> {
    let mut line = args!["restore", "app", "--json"].to_vec();
    for (name, directory) in NAMES.iter().zip(to) {
        line.extend(args!["--root", format!("{name}={}", directory.display())]);
    }
    line.extend(more.iter().map(Into::into));
    line
}

/// Changes the roots: contents, and which names belong together.
fn ruin(roots: &[PathBuf]) {
    fs::remove_file(roots[0].join("all")).unwrap();
    write(roots[0].join("all"), "another file");
    fs::remove_file(roots[1].join("deep/again")).unwrap();
    write(roots[1].join("deep/again"), noise(1, 200_000));
    // Two files of the snapshot are one here.
    fs::remove_file(roots[2].join("own")).unwrap();
    fs::hard_link(roots[1].join("own"), roots[2].join("own")).unwrap();
    fs::remove_file(roots[2].join("outer")).unwrap();
}

#[test]
fn links_between_roots_come_back_in_every_mode() {
    let (home, roots) = scene();
    let exact = side(&home, "exact", &roots);
    for mode in [&[][..], &["--in-place", "--delete"], &["--in-place", "--delete", "--rehash"], &["--exchange"]] {
        let name = mode.concat();
        let to: Vec<_> = NAMES.iter().map(|root| home.path(format!("to{name}/{root}"))).collect();
        if !mode.is_empty() {
            to.iter().zip(&roots).for_each(|(to, root)| {
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                assert!(Command::new("cp").arg("-a").arg(root).arg(to).status().unwrap().success());
            });
            ruin(&to);
        }
        let line = to_roots(&to, mode);
        let rehearsed = home.ok(line.iter().chain(&args!["--dry-run"])).json();
        let report = home.ok(&line).json();
        assert_eq!(report["actions_count"], rehearsed["actions_count"], "{mode:?}");
        let found = side(&home, &format!("found{name}"), &to);
        assert_eq!(differences(&exact, &found), [""; 0], "{mode:?}");
        assert_eq!(number(&report["links"]), 6, "{report:#}");
        // Nothing is left to do.
        let again = home.ok(to_roots(&to, &["--in-place", "--delete", "--verify"])).json();
        let changed = again["actions_count"].as_object().unwrap().iter().filter(|(what, _)| *what != "keep");
        assert!(changed.into_iter().all(|(_, count)| number(count) == 0), "{again:#}");
    }
}

#[test]
fn across_file_systems_they_are_files_of_their_own_with_one_warning() {
    let (home, _) = scene();
    let Some(disk) = SmallDisk::mount(8 << 20) else { return };
    for mode in [&[][..], &["--in-place"], &["--exchange"]] {
        let name = mode.concat();
        let to =
            [home.path(format!("to{name}/0")), disk.path().join(format!("{name}-1")), home.path(format!("to{name}/2"))];
        fs::create_dir_all(to[0].parent().unwrap()).unwrap();
        let outcome = home.run(to_roots(&to, mode)).expect(3);
        assert_eq!(outcome.err().matches("the hard link of 1 entry").count(), 1, "{outcome}");
        let report = outcome.json();
        assert_eq!((number(&report["missing_count"]), &report["faults"][0]["kind"]), (0, &"the hard link".into()));
        // Those of one file system belong together, whichever root is between them.
        assert_eq!(inode(&to[0].join("all")), inode(&to[2].join("deep/again")), "{mode:?}");
        assert_eq!(inode(&to[0].join("deep/outer")), inode(&to[2].join("outer")), "{mode:?}");
        assert_eq!(inode(&to[1].join("all")), inode(&to[1].join("deep/again")), "{mode:?}");
        for name in ["all", "deep/again"] {
            assert_eq!(fs::read(to[1].join(name)).unwrap(), noise(1, 200_000), "{mode:?}");
        }
    }
}

#[test]
fn one_file_system_that_is_mounted_twice_is_two() {
    let (home, _) = scene();
    if !icecore_testkit::may_act_as_root("mounting") {
        return;
    }
    let (under, over) = (home.make_dir("under"), home.make_dir("over"));
    let mounted = Command::new("mount").arg("--bind").arg(&under).arg(&over).status().unwrap();
    assert!(mounted.success());
    let to = [home.path("to/0"), over.join("1"), over.join("2")];
    let outcome = home.run(to_roots(&to, &[]));
    let found: Vec<_> = to.iter().map(|to| inode(&to.join("all"))).collect();
    assert!(Command::new("umount").arg(&over).status().unwrap().success());
    let outcome = outcome.expect(3).said(&["the hard link of 2 entries"]);
    assert_eq!(number(&outcome.json()["missing_count"]), 0, "{outcome}");
    assert_eq!((found[1] == found[2], found[0] == found[1]), (true, false));
    assert_eq!(fs::read_dir(&under).unwrap().count(), 2, "nothing is left of a trial");
}

#[test]
fn what_is_missing_in_one_root_is_missing_in_the_others() {
    let (home, roots) = scene();
    for root in &roots {
        write(root.join("own"), "changed");
    }
    // The file of six names alone is in the largest pack's first frame.
    let mut packs = home.objects("packs");
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    let largest = packs.last().unwrap();
    let mut bytes = fs::read(largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(largest).unwrap();
    fs::write(largest, bytes).unwrap();
    let to: Vec<_> = NAMES.iter().map(|root| home.path(format!("to/{root}"))).collect();
    // What stands there under the first name must not be taken for it.
    write(to[0].join("all"), "something else");
    let report = home.run(to_roots(&to, &["--in-place"])).expect(3).json();
    let lost: Vec<_> = report["missing"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    for name in ["archive/all", "archive/deep/again", "base/all", "base/deep/again", "mail/all", "mail/deep/again"] {
        assert!(lost.contains(&name), "{name} is not among {lost:?}");
    }
    assert!(!to[1].join("all").exists() && !to[2].join("all").exists());
    assert_eq!(fs::read(to[0].join("all")).unwrap(), b"something else");
}

/// Fails, or kills, an exchange of three roots between two of them.
#[test]
fn a_half_done_exchange_is_told_and_finished() {
    if !icecore_testkit::may_act_as_root("the program is traced") {
        return;
    }
    for (step, fault) in [(2, "error=EIO"), (3, "error=EIO"), (2, "signal=KILL"), (3, "signal=KILL")] {
        let (home, roots) = scene();
        let exact = side(&home, "exact", &roots);
        ruin(&roots);
        let inject = format!("inject=renameat2:{fault}:when={step}");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-e", "trace=renameat2", "-e", &inject]);
        let program = home.command(["restore", "app", "--exchange"]);
        strace.arg(program.get_program()).args(program.get_args()).env_clear();
        strace.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        strace.current_dir(home.path("home"));
        let outcome = crate::common::Running::start(strace).finish();
        assert_ne!(outcome.code(), Some(0), "{outcome}");
        let swapped = step - 1;
        let is_new = |n: &usize| {
            fs::read(roots[*n].join("own")).unwrap() == text(*n as u64, 3000) && roots[*n].join("all").exists()
        };
        if fault.starts_with("error") {
            let names =
                |roots: &[PathBuf]| roots.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(", ");
            let told = [
                format!("exchanged: {}", names(&roots[..swapped])),
                format!("not exchanged yet: {}", names(&roots[swapped..])),
            ];
            assert!(
                told.iter().all(|told| outcome.err().contains(told)) && outcome.err().contains("again"),
                "{outcome}"
            );
        }
        assert!((0..swapped).all(|n| is_new(&n)));
        let report = home.json(["restore", "app", "--exchange"]);
        assert_eq!(differences(&exact, &side(&home, "found", &roots)), [""; 0], "{fault} at {step}");
        let exchanged = report["exchanged"].as_array().unwrap();
        let told: Vec<_> = exchanged.iter().map(|one| one["directory"].as_str().unwrap()).collect();
        assert_eq!(told, roots.iter().map(|root| root.to_str().unwrap()).collect::<Vec<_>>(), "{report:#}");
        assert!(exchanged.iter().all(|one| Path::new(one["old"].as_str().unwrap()).is_dir()), "{report:#}");
    }
}
