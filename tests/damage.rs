//! Every kind of object, damaged in every way, met by every command: never a panic, never a wrong byte, always a name.

mod prune;
mod repair;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use icecore_store::LocalStore;
use icecore_testkit::small_repository::{secret, small_repository};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Home, Outcome, args, differences, noise, settle, text, write};

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Delete,
    Empty,
    /// Half of it is left.
    Halve,
    /// The last byte is missing.
    Shorten,
    /// A bit of the first bytes.
    FlipHead,
    /// A bit in the middle.
    FlipMiddle,
    /// A bit of the last byte.
    FlipEnd,
    /// It changes places with another one of its kind, if there is one.
    Swap,
    /// It becomes a copy of an object of another kind.
    Replace,
}

const DAMAGES: [Damage; 9] = [
    Damage::Delete,
    Damage::Empty,
    Damage::Halve,
    Damage::Shorten,
    Damage::FlipHead,
    Damage::FlipMiddle,
    Damage::FlipEnd,
    Damage::Swap,
    Damage::Replace,
];

/// The state directory that a command finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// That of the backups.
    Kept,
    /// None: the index is made of what the repository says.
    Lost,
}

/// A sound repository with two snapshots of a tree, of which copies are damaged.
struct Original {
    home: Home,
    /// What the tree was at the first snapshot; now it is what it was at the second.
    before: PathBuf,
    first: String,
    second: String,
    /// Objects of the second backup, by what they are.
    data: PathBuf,
    manifest: PathBuf,
    fragment: PathBuf,
    record: PathBuf,
    /// Two slots: the one that is used, and another.
    slots: [PathBuf; 2],
    /// One more of each kind, from the first backup.
    siblings: [(&'static str, PathBuf); 4],
}

impl Original {
    /// Made once for all tests that run at the same time; it goes with the last of them.
    fn get() -> Arc<Self> {
        static ORIGINAL: Mutex<Weak<Original>> = Mutex::new(Weak::new());
        let mut shared = ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Self::make());
            *shared = Arc::downgrade(&made);
            made
        })
    }

    fn make() -> Self {
        let mut home = Home::new();
        let repository = home.make_dir("repository");
        small_repository(&LocalStore::open(&repository).unwrap(), &secret(1));
        write(home.path("password"), secret(1).expose());
        home.set("ICECORE_PASSWORD_FILE", home.path("password"));
        home.set("ICECORE_REPOSITORY", &repository);
        home.set("ICECORE_STATE_DIR", home.path("state"));
        let used = relative(&home, "keys").remove(0);

        let live = home.make_dir("live");
        grow(&live.join("first"), 1);
        settle();
        let first = id_of(&home.backup(&live, &["--name", "live"]));
        let before = home.path("before");
        assert!(Command::new("cp").arg("-a").args([&live, &before]).status().unwrap().success());
        let (old_packs, old_fragments) = (relative(&home, "packs"), relative(&home, "index"));
        grow(&live.join("second"), 2);
        settle();
        let second = id_of(&home.backup(&live, &["--name", "live"]));
        home.ok(args!["key", "add", "--generate-password", home.path("other-password")]);
        let other = relative(&home, "keys").into_iter().find(|slot| *slot != used).unwrap();

        let [old_data, old_manifest] = by_size(&home, old_packs.clone());
        let new_packs = relative(&home, "packs").into_iter().filter(|pack| !old_packs.contains(pack)).collect();
        let [data, manifest] = by_size(&home, new_packs);
        let mut fragments = relative(&home, "index");
        fragments.retain(|fragment| !old_fragments.contains(fragment));
        let record = |id: &str| PathBuf::from("snapshots").join(id);
        Self {
            before,
            data,
            manifest,
            fragment: fragments.remove(0),
            record: record(&second),
            siblings: [
                ("data", old_data),
                ("manifest", old_manifest),
                ("fragment", old_fragments[0].clone()),
                ("record", record(&first)),
            ],
            slots: [used, other],
            first,
            second,
            home,
        }
    }

    fn live(&self) -> PathBuf {
        self.home.path("live")
    }

    fn sibling(&self, kind: &str) -> &Path {
        &self.siblings.iter().find(|(name, _)| *name == kind).unwrap().1
    }

    /// A copy of it that may be damaged.
    fn copy(&self, state: State) -> Copy<'_> {
        let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut copied = vec![self.home.repository()];
        if state == State::Kept {
            copied.push(self.home.path("state"));
        }
        assert!(Command::new("cp").arg("-a").args(copied).arg(place.path()).status().unwrap().success());
        Copy { original: self, place }
    }
}

/// The objects of a kind, by their places in the repository.
fn relative(home: &Home, kind: &str) -> Vec<PathBuf> {
    let repository = home.repository();
    home.objects(kind).iter().map(|path| path.strip_prefix(&repository).unwrap().to_owned()).collect()
}

/// The pack of data and the pack of the manifest that one backup stored.
fn by_size(home: &Home, mut packs: Vec<PathBuf>) -> [PathBuf; 2] {
    packs.sort_by_key(|pack| std::cmp::Reverse(fs::metadata(home.repository().join(pack)).unwrap().len()));
    packs.try_into().expect("one pack of data and one of the manifest")
}

fn id_of(document: &Value) -> String {
    document["snapshot"]["id"].as_str().unwrap().to_owned()
}

/// Several frames of data, in one pack.
fn grow(directory: &Path, seed: u64) {
    for number in 0..6 {
        write(directory.join(format!("noise-{number}")), noise(100 * seed + number, 70 << 10));
        write(directory.join(format!("text-{number}")), text(100 * seed + number, 40 << 10));
    }
    write(directory.join("empty"), "");
    fs::create_dir(directory.join("directory")).unwrap();
    fs::hard_link(directory.join("noise-3"), directory.join("linked")).unwrap();
}

/// A repository and a state directory that may be damaged, in a place of their own.
struct Copy<'a> {
    original: &'a Original,
    place: TempDir,
}

impl Copy<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn object(&self, key: &Path) -> PathBuf {
        self.path("repository").join(key)
    }

    /// Runs a command, which must neither panic nor be ended by a signal.
    fn run<const N: usize>(&self, arguments: [std::ffi::OsString; N]) -> Outcome {
        self.run_all(arguments)
    }

    fn run_all(&self, arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Outcome {
        let places = args!["--repo", self.path("repository"), "--state-dir", self.path("state")];
        let outcome = self.original.home.run(arguments.into_iter().chain(places));
        assert!(!outcome.err().contains("panicked") && !outcome.err().contains("please report"), "{outcome}");
        assert!([0, 1, 3, 10, 12].map(Some).contains(&outcome.code()), "{outcome}");
        outcome
    }

    /// Damages an object; what it was is lost.
    fn damage(&self, key: &Path, how: Damage, sibling: &Path, other: &Path) {
        let (path, sibling) = (self.object(key), self.object(sibling));
        let mut bytes = fs::read(&path).unwrap();
        let (middle, last) = (bytes.len() / 2, bytes.len() - 1);
        match how {
            Damage::Delete => return fs::remove_file(path).unwrap(),
            Damage::Empty => bytes.clear(),
            Damage::Halve => bytes.truncate(middle),
            Damage::Shorten => bytes.truncate(last),
            Damage::FlipHead => bytes[5] ^= 4,
            Damage::FlipMiddle => bytes[middle] ^= 4,
            Damage::FlipEnd => bytes[last] ^= 4,
            Damage::Swap => {
                let theirs = fs::read(&sibling).unwrap();
                fs::write(sibling, std::mem::replace(&mut bytes, theirs)).unwrap();
            }
            Damage::Replace => bytes = fs::read(self.object(other)).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }

    /// Restores a snapshot and compares with what the tree was: whatever has a name there is exact, whatever has not is
    /// named by the command. Gives how it ended and the files that are missing.
    fn restore(&self, snapshot: &str, tree: &Path) -> (Outcome, BTreeSet<String>) {
        let target = tempfile::tempdir_in(self.place.path()).unwrap();
        let to = target.path().join("restored");
        let outcome = self.run(args!["restore", snapshot, "--to", &to, "--json"]);
        let document: Value =
            serde_json::from_slice(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome}"));
        if !to.exists() {
            assert_ne!(outcome.code(), Some(0), "{outcome}");
            return (outcome, files(tree));
        }
        let (there, all) = (files(&to), files(tree));
        assert!(there.is_subset(&all), "{:?}", there.difference(&all));
        for file in &there {
            assert!(
                fs::read(to.join(file)).unwrap() == fs::read(tree.join(file)).unwrap(),
                "{file} is wrong: {outcome}"
            );
        }
        let missing: BTreeSet<_> = all.difference(&there).cloned().collect();
        if outcome.code() == Some(0) {
            let found = differences(tree, &to);
            assert!(found.is_empty(), "{found:?}: {outcome}");
        } else if outcome.code() == Some(3) {
            let named: Vec<_> = document["missing"].as_array().unwrap().iter().collect();
            assert!(document["missing_count"].as_u64().unwrap() >= missing.len() as u64, "{outcome}");
            // A lost block of the manifest is named by its first path and the number of entries.
            let whole_block = named.iter().any(|problem| problem["message"].as_str().unwrap().contains("manifest"));
            for file in &missing {
                assert!(
                    whole_block || named.iter().any(|problem| problem["path"] == **file),
                    "{file} is not named: {outcome}"
                );
            }
        }
        (outcome, missing)
    }
}

/// The regular files below a directory, by their paths in it.
fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// Runs a test for every way of damage and both states, a few at once: most of it is waiting for processes. Each runs in a
/// thread whose name tells which one panicked.
fn everywhere(states: &[State], test: impl Fn(Damage, State) + Sync) {
    let cells: Vec<_> = DAMAGES.iter().flat_map(|damage| states.iter().map(|state| (*damage, *state))).collect();
    let test = &test;
    for some in cells.chunks(3) {
        thread::scope(|scope| {
            for &(damage, state) in some {
                let named = thread::Builder::new().name(format!("{damage:?}, index {state:?}"));
                named.spawn_scoped(scope, move || test(damage, state)).unwrap();
            }
        });
    }
}

const BOTH: &[State] = &[State::Kept, State::Lost];

/// Fails unless a command said where the trouble is.
#[track_caller]
fn names(outcome: &Outcome, object: &str) {
    let said = outcome.out() + &outcome.err();
    assert!(said.contains(object), "{object} is not named: {outcome}");
}

#[test]
fn a_damaged_configuration_ends_everything_clearly() {
    let original = Original::get();
    everywhere(BOTH, |how, state| {
        let copy = original.copy(state);
        copy.damage(Path::new("config"), how, &original.slots[0], &original.data);
        let to = copy.path("restored");
        let commands = [
            copy.run(args!["snapshots"]),
            copy.run(args!["ls", "latest"]),
            copy.run(args!["restore", "latest", "--to", &to]),
            copy.run(args!["check"]),
            copy.run(args!["check", "--read-data"]),
            copy.run(args!["backup", original.live()]),
        ];
        for outcome in commands {
            // Without it nobody can tell that there is a repository.
            assert_eq!(outcome.code(), Some(if how == Damage::Delete { 10 } else { 1 }), "{outcome}");
            names(&outcome, copy.path("repository").to_str().unwrap());
            if how != Damage::Delete {
                names(&outcome, "config");
            }
        }
        assert!(!to.exists());
    });
}

#[test]
fn a_damaged_key_slot_is_named_and_does_not_shut_out_others() {
    let original = Original::get();
    let [used, other] = &original.slots;
    everywhere(BOTH, |how, state| {
        let copy = original.copy(state);
        copy.damage(used, how, other, &original.record);
        for outcome in
            [copy.run(args!["snapshots"]), copy.run(args!["check"]), copy.run(args!["backup", original.live()])]
        {
            // With another slot left that it does not open, the password may just as well be wrong.
            assert!([1, 12].map(Some).contains(&outcome.code()), "{outcome}");
            if how != Damage::Delete {
                names(&outcome, used.to_str().unwrap());
            }
        }

        if how == Damage::Swap {
            return;
        }
        let copy = original.copy(state);
        copy.damage(other, how, used, &original.record);
        let (outcome, _) = copy.restore("latest", &original.live());
        assert_eq!(outcome.code(), Some(0), "{outcome}");
        let checked = copy.run(args!["check"]);
        assert_eq!(checked.code(), Some(i32::from(how != Damage::Delete)), "{checked}");
        if how != Damage::Delete {
            names(&checked, other.to_str().unwrap());
        }
    });
}

#[test]
fn a_damaged_data_pack_costs_its_files_until_it_is_healed() {
    a_damaged_pack_heals("data", &Original::get().data);
}

#[test]
fn a_damaged_manifest_pack_costs_its_entries_until_it_is_healed() {
    a_damaged_pack_heals("manifest", &Original::get().manifest);
}

fn a_damaged_pack_heals(kind: &str, pack: &Path) {
    let original = Original::get();
    let (live, id) = (original.live(), pack.file_name().unwrap().to_str().unwrap());
    everywhere(BOTH, |how, state| {
        let copy = original.copy(state);
        copy.damage(pack, how, original.sibling(kind), &original.record);
        assert_eq!(copy.run(args!["snapshots"]).code(), Some(0));
        let listed = copy.run(args!["ls", "-R", &original.second]);
        assert!(listed.code() == Some(0) || kind == "manifest", "{listed}");
        let (restored, missing) = copy.restore(&original.second, &live);
        let first_suffers = how == Damage::Swap;
        if !missing.is_empty() {
            assert_eq!(restored.code(), Some(3), "{restored}");
            names(&restored, id);
        }
        if kind == "data" && !first_suffers {
            // What stands in other packs is not touched.
            assert!(missing.iter().all(|file| file.starts_with("second/")), "{missing:?}");
            assert!(!missing.contains("second/empty"));
        }
        let (older, older_missing) = copy.restore(&original.first, &original.before);
        assert!(first_suffers || older.code() == Some(0), "{older}");

        // A backup that knows nothing of it neither fails nor promises more than there is.
        let another = original.copy(state);
        another.damage(pack, how, original.sibling(kind), &original.record);
        let unaware = another.run(args!["backup", &live, "--name", "live"]);
        assert_eq!(unaware.code(), Some(0), "{unaware}");
        another.restore("latest", &live);

        let checked = copy.run(args!["check"]);
        let resized = !matches!(how, Damage::FlipHead | Damage::FlipMiddle | Damage::FlipEnd);
        // Without reading the data it can still meet a damaged block of a manifest.
        assert!(
            checked.code() == Some(i32::from(resized)) || (kind == "manifest" && checked.code() == Some(1)),
            "{checked}"
        );
        let read = copy.run(args!["check", "--read-data", "--json"]);
        if how == Damage::Delete {
            // Nothing is left to be found once the index has forgotten it, but the files that it cost.
            names(&checked, id);
        } else {
            names(&read, id);
        }
        assert_eq!(read.code(), Some(1), "{read}");
        let damaged = &read.json()["damaged_files"];
        let damaged: Vec<_> = damaged.as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
        let lost_block = kind == "manifest";
        for file in missing.union(&older_missing) {
            assert!(lost_block || damaged.contains(&file.as_str()), "check does not name {file}: {read}");
        }
        assert!(!lost_block || missing.is_empty() || !damaged.is_empty(), "{read}");

        // The tree is still there: the next backup stores again what was lost of it.
        settle();
        let healing = copy.run(args!["backup", &live, "--name", "live"]);
        assert_eq!(healing.code(), Some(0), "{healing}");
        let (healed, missing) = copy.restore("latest", &live);
        assert_eq!((healed.code(), missing.len()), (Some(0), 0), "{healed}");
        // Also for another host, whose index names the damaged pack too.
        fs::remove_dir_all(copy.path("state")).unwrap();
        let (elsewhere, missing) = copy.restore("latest", &live);
        assert_eq!((elsewhere.code(), missing.len()), (Some(0), 0), "{elsewhere}");
    });
}

#[test]
fn a_damaged_fragment_costs_one_command() {
    let original = Original::get();
    let (live, id) = (original.live(), original.fragment.to_str().unwrap());
    everywhere(BOTH, |how, state| {
        let copy = original.copy(state);
        copy.damage(&original.fragment, how, original.sibling("fragment"), &original.record);
        let listed = copy.run(args!["snapshots"]);
        assert_eq!(listed.code(), Some(0), "{listed}");
        let (restored, missing) = copy.restore(&original.second, &live);
        // An index that has read it does not need it again, unless it went away on purpose.
        let needed = state == State::Lost || how == Damage::Delete;
        assert_eq!(restored.code(), Some(if needed { 3 } else { 0 }), "{restored}");
        assert_eq!(missing.is_empty(), !needed, "{missing:?}");
        let checked = copy.run(args!["check"]);
        assert_eq!(checked.code(), Some(1), "{checked}");
        if how != Damage::Delete {
            names(&checked, id);
        }

        let rebuilt = copy.run(args!["rebuild-index"]);
        assert!([0, 1].map(Some).contains(&rebuilt.code()), "{rebuilt}");
        for (snapshot, tree) in [(&original.second, &live), (&original.first, &original.before)] {
            let (restored, missing) = copy.restore(snapshot, tree);
            assert_eq!((restored.code(), missing.len()), (Some(0), 0), "{restored}");
        }
        let backed_up = copy.run(args!["backup", &live, "--name", "live"]);
        assert_eq!(backed_up.code(), Some(0), "{backed_up}");
        let (restored, _) = copy.restore("latest", &live);
        assert_eq!(restored.code(), Some(0), "{restored}");
    });
}

#[test]
fn a_damaged_record_is_named_and_costs_its_snapshot_alone() {
    let original = Original::get();
    let (live, object) = (original.live(), original.record.to_str().unwrap());
    everywhere(BOTH, |how, state| {
        let copy = original.copy(state);
        copy.damage(&original.record, how, original.sibling("record"), &original.data);
        let (gone, cached) = (how == Damage::Delete, how != Damage::Delete && state == State::Kept);
        let commands = [
            copy.run(args!["snapshots"]),
            copy.run(args!["ls", &original.second]),
            copy.restore(&original.second, &live).0,
            copy.restore("latest", if gone || !cached { &original.before } else { &live }).0,
        ];
        for (number, outcome) in commands.iter().enumerate() {
            // The index keeps opened records.
            if cached {
                assert_eq!(outcome.code(), Some(0), "{outcome}");
            } else if !gone {
                assert!(number == 3 && outcome.code() == Some(0) || outcome.code() != Some(0), "{outcome}");
                names(outcome, if how == Damage::Swap { "snapshots/" } else { object });
            }
        }
        let checked = copy.run(args!["check"]);
        assert_eq!(checked.code(), Some(i32::from(!gone)), "{checked}");
        if !gone {
            names(&checked, object);
        }
        if how != Damage::Swap {
            let (older, _) = copy.restore(&original.first, &original.before);
            assert_eq!(older.code(), Some(0), "{older}");
        }
        let backed_up = copy.run(args!["backup", &live, "--name", "live"]);
        assert_eq!(backed_up.code(), Some(0), "{backed_up}");
        let (restored, missing) = copy.restore("latest", &live);
        assert_eq!((restored.code(), missing.len()), (Some(0), 0), "{restored}");
    });
}

#[test]
fn a_damaged_index_is_made_anew_or_says_how() {
    let original = Original::get();
    let live = original.live();
    let kept = original.copy(State::Kept);
    let file = |copy: &Copy<'_>| -> PathBuf {
        let id = fs::read_dir(copy.path("state")).unwrap().next().unwrap().unwrap().file_name();
        copy.path("state").join(id).join("index.sqlite")
    };
    let size = fs::metadata(file(&kept)).unwrap().len() as usize;
    let damage = |how: usize, bytes: &mut Vec<u8>| match how {
        0 => bytes.clear(),
        1 => bytes.truncate(size / 2),
        2 => bytes[5] ^= 4,
        3 => *bytes = b"this is no database at all".repeat(100),
        // A bit of every page, each time another one.
        how => bytes.chunks_mut(4096).enumerate().for_each(|(page, bytes)| {
            let at = (how * 977 + page * 131) % bytes.len();
            bytes[at] ^= 1 << (how % 8);
        }),
    };
    for how in 0..24 {
        let copy = original.copy(State::Kept);
        let path = file(&copy);
        let mut bytes = fs::read(&path).unwrap();
        damage(how, &mut bytes);
        fs::write(&path, bytes).unwrap();
        let usable = |outcome: &Outcome| {
            if outcome.code() != Some(0) && outcome.code() != Some(3) {
                names(outcome, path.to_str().unwrap());
                names(outcome, "can be deleted");
            }
        };
        usable(&copy.run(args!["snapshots"]));
        usable(&copy.run(args!["ls", "-R", &original.second]));
        usable(&copy.restore(&original.second, &live).0);
        copy.run(args!["check"]);
        copy.run(args!["check", "--read-data"]);
        let backed_up = copy.run(args!["backup", &live, "--name", "live"]);
        usable(&backed_up);
        // Nothing of it reaches the repository.
        fs::remove_dir_all(copy.path("state")).unwrap();
        let (restored, missing) = copy.restore(&original.second, &live);
        assert_eq!((restored.code(), missing.len()), (Some(0), 0), "damage {how}: {restored}");
        if backed_up.code() == Some(0) {
            let (restored, missing) = copy.restore("latest", &live);
            assert_eq!((restored.code(), missing.len()), (Some(0), 0), "damage {how}: {restored}");
        }
    }
}
