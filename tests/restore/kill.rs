//! Restores that are killed in each of their phases, and run again.
//!
//! What stands tells in which phase a restore was killed. Each kill is aimed at a phase, at a random moment of it; every
//! third is followed by another one while the next run goes on. All of them end in a run that makes everything exact.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;

use crate::common::{Home, Running, args, assert_same, differences, noise, settle, text, write};

/// Kills of each of the three modes: 201 in all.
const KILLS: usize = 67;

/// Further ones for a phase that none has hit.
const MORE: usize = 60;

/// How often is looked whether a phase has begun.
const LOOK: Duration = Duration::from_micros(200);

const SMALL: u64 = 156;
const LARGE: usize = 8 << 20;
const LINKS: u64 = 150;
const EXTRAS: u64 = 150;

fn name(n: u64) -> String {
    format!("{}/{n}", n % 12)
}

/// Small files, a large one, links.
fn make(tree: &Path) {
    for n in 0..SMALL {
        write(tree.join(name(n)), text(n, 200 + 17 * n as usize));
    }
    write(tree.join("large"), noise(1, LARGE));
    write(tree.join("zz/last"), noise(2, 100_000));
    fs::hard_link(tree.join("large"), tree.join("zz/linked")).unwrap();
    for n in 0..LINKS {
        fs::hard_link(tree.join("zz/last"), tree.join(format!("zz/of last {n}"))).unwrap();
    }
}

/// Changes a third of it.
fn ruin(tree: &Path) {
    for n in (0..SMALL).step_by(3) {
        write(tree.join(name(n)), text(n + 1, 150 + 19 * n as usize));
    }
    fs::remove_dir_all(tree.join("zz")).unwrap();
    let large = fs::File::options().write(true).open(tree.join("large")).unwrap();
    large.write_all_at(&noise(3, LARGE / 5 * 2), 1000).unwrap();
    fs::remove_dir_all(tree.join("7")).unwrap();
    write(tree.join("7"), "a file");
    for n in 0..EXTRAS {
        write(tree.join(format!("extra/{n:03}")), "extra");
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).and_then(|found| found.modified()).ok()
}

struct Scene {
    home: Home,
    tree: PathBuf,
    exact: PathBuf,
    old: PathBuf,
    /// The small files that stand on both sides, with what they hold in `exact` and in `old`.
    sides: Vec<(String, [Vec<u8>; 2])>,
    /// Where a restore is remembered.
    records: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let home = Home::with_repository();
        let tree = home.make_dir("srv/tree");
        make(&tree);
        settle();
        home.backup(&tree, &["--name", "tree"]);
        let (exact, old) = (home.path("exact"), home.path("old"));
        copy(&tree, &exact);
        ruin(&tree);
        copy(&tree, &old);
        let names = (0..SMALL).filter(|n| n % 12 != 7).map(name);
        let read = |name: &str| [&exact, &old].map(|side| fs::read(side.join(name)).unwrap());
        let sides = names.map(|name| (name.clone(), read(&name))).collect();
        let state = fs::read_dir(home.path("home/.local/state/icecore")).unwrap().map(|entry| entry.unwrap().path());
        let state = state.filter(|path| path.join("index.sqlite").exists()).collect::<Vec<_>>();
        let [state] = &state[..] else { panic!("{state:?}") };
        Self { records: state.join("restores"), tree, exact, old, sides, home }
    }

    /// Whether a restore is remembered that has not ended.
    fn is_recorded(&self) -> bool {
        let mut records = fs::read_dir(&self.records).into_iter().flatten();
        records.any(|record| record.unwrap().path().extension().is_none())
    }

    /// Puts the ruined tree back.
    fn reset(&self) {
        fs::remove_dir_all(&self.tree).unwrap();
        copy(&self.old, &self.tree);
    }

    /// A random part of a time.
    fn part(&self, of: Duration, n: usize) -> Duration {
        let seed = u64::from(std::process::id()) << 20 | n as u64;
        of.mul_f64(f64::from(u16::from_le_bytes(noise(seed, 2).try_into().unwrap())) / f64::from(u16::MAX))
    }

    /// How long each phase takes if nobody kills.
    fn lengths(&self, line: &[std::ffi::OsString], phases: &[Phase]) -> Vec<Duration> {
        let mut running = Running::start(self.home.command(line));
        let mut begun = vec![Instant::now()];
        while !running.has_ended() {
            match phases.get(begun.len()) {
                Some((_, has_begun)) if has_begun(self) => begun.push(Instant::now()),
                _ => thread::sleep(LOOK),
            }
        }
        drop(running.finish().expect(0));
        begun.resize(phases.len() + 1, Instant::now());
        begun.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// Kills a restore at a random moment of a phase; the phase in which it was, unless it had ended.
    fn kill(&self, line: &[std::ffi::OsString], aim: &Phase, within: Duration, phases: &[Phase]) -> Option<usize> {
        let mut running = Running::start(self.home.command(line));
        while !aim.1(self) && !running.has_ended() {
            thread::sleep(LOOK);
        }
        thread::sleep(within);
        running.signal(Signal::KILL);
        let outcome = running.finish();
        if outcome.signal().is_none() {
            drop(outcome.expect(0));
            return None;
        }
        phases.iter().rposition(|(_, has_begun)| has_begun(self))
    }
}

/// What a restore does from a moment on, and whether what stands shows that this moment has been. Each shows until the end.
type Phase = (&'static str, fn(&Scene) -> bool);

/// Kills restores in all phases. `after` looks at what each kill left; `again` runs the restore to its end, looks at that,
/// and brings back what stood before.
fn kill_in_every_phase(
    scene: &Scene,
    line: &[std::ffi::OsString],
    phases: &[Phase],
    mut after: impl FnMut(&Scene),
    mut again: impl FnMut(&Scene),
) {
    let lengths = scene.lengths(line, phases);
    again(scene);
    let whole: Duration = lengths.iter().sum();
    let mut hits = vec![0; phases.len()];
    let (mut ended, mut twice, mut n) = (0, 0, 0);
    while n < KILLS + MORE && (hits.contains(&0) || hits.iter().sum::<usize>() + twice < KILLS) {
        // Those that none has hit come first when the others have had theirs.
        let aim = if n < KILLS { n % phases.len() } else { hits.iter().position(|hit| *hit == 0).unwrap_or(0) };
        match scene.kill(line, &phases[aim], scene.part(lengths[aim], n), phases) {
            Some(phase) => hits[phase] += 1,
            None => ended += 1,
        }
        after(scene);
        // A new directory that was filled to the end refuses another restore.
        if n % 3 == 2 && (scene.is_recorded() || !scene.home.path("to").exists()) {
            let always: Phase = ("", |_| true);
            let killed = scene.kill(line, &always, scene.part(whole, KILLS + n), phases);
            twice += usize::from(killed.is_some());
            after(scene);
        }
        again(scene);
        n += 1;
    }
    let rows = phases.iter().zip(&lengths).zip(&hits);
    let rows: String = rows.map(|(((what, _), took), hit)| format!("{hit:6}  {what} ({took:.1?})\n")).collect();
    // Past the harness, which keeps what a passing test prints.
    let _ = write!(
        io::stderr(),
        "{line:?}, killed:\n{rows}{twice:6}  while going on after a kill\n{ended:6}  ended before\n"
    );
    assert!(hits.iter().sum::<usize>() + twice >= KILLS, "too few kills:\n{rows}");
    assert!(!hits.contains(&0), "a phase was never hit:\n{rows}");
}

#[test]
fn a_new_directory_is_filled_in_the_end() {
    let scene = Scene::new();
    let to = |scene: &Scene| scene.home.path("to");
    let line = args!["restore", "tree", "--to", to(&scene)];
    let phases: [Phase; 4] = [
        ("nothing stands", |_| true),
        ("small files are written", |scene| scene.home.path("to/0").exists()),
        ("the large file is written", |scene| scene.home.path("to/large").exists()),
        ("links are made, directories finished", |scene| scene.home.path("to/zz/linked").exists()),
    ];
    let again = |scene: &Scene| {
        // Killed after its end was recorded, it would refuse a directory that is not empty; it is whole.
        if scene.is_recorded() || fs::read_dir(to(scene)).map_or(true, |mut found| found.next().is_none()) {
            scene.home.ok(&line);
        }
        assert_eq!(differences(&scene.exact, &to(scene)), [""; 0]);
        fs::remove_dir_all(to(scene)).unwrap();
    };
    let after = |scene: &Scene| {
        // What stands with its time is exact.
        for (name, [exact, _]) in &scene.sides {
            let (path, recorded) = (to(scene).join(name), scene.exact.join(name));
            assert!(modified(&path) != modified(&recorded) || fs::read(&path).unwrap() == *exact, "{name}");
        }
    };
    kill_in_every_phase(&scene, &line, &phases, after, again);
    scene.home.ok(&line);
    assert_same(&scene.exact, &to(&scene));
}

#[test]
fn a_tree_in_place_is_exact_in_the_end() {
    let scene = Scene::new();
    let line = args!["restore", "tree", "--in-place", "--delete"];
    let is_poured = |scene: &Scene| modified(&scene.tree.join("large")) != modified(&scene.old.join("large"));
    let phases: [Phase; 5] = [
        ("nothing is changed", |_| true),
        ("small files are replaced", |scene| scene.tree.join("7").is_dir()),
        ("the large file is changed where it stands", is_poured),
        ("links are made, directories finished", |scene| scene.tree.join("zz/linked").exists()),
        ("extras are deleted", |scene| !scene.tree.join("extra/000").exists()),
    ];
    let after = |scene: &Scene| {
        // Whatever stands under a name that is no temporary one is wholly old or wholly new, but for the large file.
        for (name, sides) in &scene.sides {
            assert!(sides.contains(&fs::read(scene.tree.join(name)).unwrap()), "{name} is half old and half new");
        }
        let large = scene.tree.join("large");
        if modified(&large) == modified(&scene.exact.join("large")) {
            assert!(
                fs::read(large).unwrap() == fs::read(scene.exact.join("large")).unwrap(),
                "its time says that it is whole"
            );
        }
    };
    let again = |scene: &Scene| {
        scene.home.ok(&line);
        assert_eq!(differences(&scene.exact, &scene.tree), [""; 0]);
        scene.reset();
    };
    kill_in_every_phase(&scene, &line, &phases, after, again);
    scene.home.ok(&line);
    assert_same(&scene.exact, &scene.tree);
}

#[test]
fn an_exchanged_tree_is_wholly_old_or_wholly_new_at_every_moment() {
    fn beside(scene: &Scene) -> Option<PathBuf> {
        let mut entries = fs::read_dir(scene.home.path("srv")).unwrap().map(|entry| entry.unwrap().path());
        entries.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(".tree."))
    }
    fn built(scene: &Scene) -> Option<PathBuf> {
        Some(beside(scene)?.join("tree"))
    }
    fn is_new(scene: &Scene) -> bool {
        !scene.tree.join("extra").exists()
    }
    let scene = Scene::new();
    let line = args!["restore", "tree", "--exchange"];
    let phases: [Phase; 4] = [
        ("nothing is built", |_| true),
        ("a tree is built beside", |scene| is_new(scene) || built(scene).is_some_and(|tree| tree.join("0").exists())),
        ("it is made durable and read back", |scene| {
            is_new(scene) || built(scene).is_some_and(|tree| modified(&tree) == modified(&scene.exact))
        }),
        ("it stands, and what stood has no name", is_new),
    ];
    let (mut old, mut new) = (0, 0);
    let after = |scene: &Scene| {
        if differences(&scene.old, &scene.tree).is_empty() {
            old += 1;
        } else {
            assert_eq!(differences(&scene.exact, &scene.tree), [""; 0], "neither old nor new");
            new += 1;
        }
    };
    let again = |scene: &Scene| {
        scene.home.ok(&line);
        assert_eq!(differences(&scene.exact, &scene.tree), [""; 0]);
        // What stood is there until it is dropped.
        let entries = fs::read_dir(scene.home.path("srv")).unwrap().map(|entry| entry.unwrap().path());
        let kept: Vec<_> = entries.filter(|path| *path != scene.tree).collect();
        assert!(kept.iter().any(|kept| differences(&scene.old, kept).is_empty()), "{kept:?}");
        scene.home.ok(args!["restore", "--drop-old", &scene.tree]);
        assert_eq!(fs::read_dir(scene.home.path("srv")).unwrap().count(), 1);
        scene.reset();
    };
    kill_in_every_phase(&scene, &line, &phases, after, again);
    assert!(old > 0 && new > 0, "{old} old, {new} new");
    scene.home.ok(&line);
    assert_same(&scene.exact, &scene.tree);
}
