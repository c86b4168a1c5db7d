//! The same matrix through `repair`: what was lost is told, nothing else is, and a backup makes the rest whole.

use super::*;

impl Copy<'_> {
    /// Everything in the repository, by its path.
    fn everything(&self) -> BTreeSet<String> {
        files(&self.path("repository"))
    }

    /// Repairs; a plan before changes nothing, and another repair after puts nothing into the store.
    fn repair(&self) -> Value {
        let before = self.everything();
        let planned = self.run(args!["repair", "--dry-run", "--json"]);
        assert_eq!(self.everything(), before, "a dry run changed something: {planned}");
        let repaired = self.run(args!["repair", "--json"]);
        let (plan, document) = (planned.json(), repaired.json());
        let sound = plan["sound"] == true;
        assert_eq!(planned.code(), Some(i32::from(!sound)), "{planned}");
        let lossy = document["leaves_damage"] == true;
        assert_eq!(repaired.code(), Some(if lossy { 3 } else { 0 }), "{repaired}");
        assert_eq!(plan["lacking"], document["lacking"], "the plan is what is done");
        // Nothing that was there is gone but for what stands below `damaged` now, and fragments.
        let after = self.everything();
        let bytes = |key: &str| fs::read(self.path("repository").join(key)).unwrap();
        let aside: Vec<_> = after.iter().filter(|key| key.starts_with("damaged/")).collect();
        for key in before.difference(&after).filter(|key| !key.starts_with("index/")) {
            let name = Path::new(key).file_name().unwrap().to_str().unwrap();
            assert!(aside.iter().any(|aside| aside.contains(name)), "{key} is gone: {repaired}");
        }
        assert!(aside.iter().all(|key| key.ends_with(&blake3_of(&bytes(key)))));
        let again = self.run(args!["repair"]);
        assert_eq!(again.code(), repaired.code(), "{again}");
        assert_eq!(self.everything(), after, "a second repair wrote something: {again}");
        document
    }
}

fn blake3_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Snapshots of the repository, by whether they correct another one.
fn snapshots(copy: &Copy<'_>) -> (Vec<String>, Vec<String>) {
    let listed = copy.run(args!["snapshots", "--json"]).json();
    let ids =
        listed["snapshots"].as_array().unwrap().iter().map(|snapshot| snapshot["id"].as_str().unwrap().to_owned());
    ids.partition(|id| {
        let shown = copy.run(args!["show", id, "--json"]).json();
        shown["snapshot"]["corrects"].is_null()
    })
}

fn mends_a_pack(kind: &str, pack: &Path) {
    let original = Original::get();
    let live = original.live();
    everywhere(BOTH, |how, state| {
        let copy = original.copy(state);
        copy.damage(pack, how, original.sibling(kind), &original.record);
        let document = copy.repair();
        let id = pack.file_name().unwrap().to_str().unwrap();
        let told = ["damaged_packs", "missing_packs"].iter().any(|list| document[*list].to_string().contains(id));
        assert!(told, "{id} is not told: {document}");
        let lacking: Vec<_> = document["lacking"].as_array().unwrap().iter().collect();
        // Exchanged packs hold everything still.
        assert!(how != Damage::Swap || lacking.is_empty(), "{document}");
        let (older, older_missing) = copy.restore(&original.first, &original.before);
        assert_eq!((older.code(), older_missing.len()), (Some(0), 0), "what was not hit is whole: {older}");

        let (originals, corrected) = snapshots(&copy);
        assert_eq!(originals, [original.first.clone(), original.second.clone()]);
        for id in &corrected {
            // It has what the original has, names what it lacks, and says so.
            let (of_original, missing) = copy.restore(&original.second, &live);
            let (restored, lacks) = copy.restore(id, &live);
            assert_eq!((of_original.code(), restored.code()), (Some(3), Some(3)), "{restored}");
            assert_eq!(missing, lacks);
            let shown = copy.run(args!["show", id, "--json"]).json();
            assert_eq!(shown["snapshot"]["verdict"], "fuzzy");
            assert_eq!(shown["snapshot"]["corrects"], original.second);
        }
        let hopeless = lacking.iter().all(|lacking| lacking["hopeless"] == true);
        assert_eq!(corrected.len(), usize::from(!hopeless), "{document}");

        // The live files still have it: the next backup makes everything whole, also for a host that knows nothing.
        settle();
        let healing = copy.run(args!["backup", &live, "--name", "live"]);
        assert_eq!(healing.code(), Some(0), "{healing}");
        for _ in 0..2 {
            let checked = copy.run(args!["check", "--read-data"]);
            let lost = lacking.iter().any(|_| kind == "manifest") && checked.code() != Some(0);
            assert!(checked.code() == Some(0) || lost, "{checked}");
            let (healed, missing) = copy.restore("latest", &live);
            assert_eq!((healed.code(), missing.len()), (Some(0), 0), "{healed}");
            if kind == "data" {
                let (whole, missing) = copy.restore(&original.second, &live);
                assert_eq!((whole.code(), missing.len()), (Some(0), 0), "{whole}");
            }
            fs::remove_dir_all(copy.path("state")).unwrap();
        }
    });
}

#[test]
fn a_damaged_data_pack_is_mended() {
    mends_a_pack("data", &Original::get().data);
}

#[test]
fn a_damaged_manifest_pack_is_mended() {
    mends_a_pack("manifest", &Original::get().manifest);
}

#[test]
fn a_damaged_fragment_is_replaced() {
    let original = Original::get();
    everywhere(BOTH, |how, state| {
        let copy = original.copy(state);
        copy.damage(&original.fragment, how, original.sibling("fragment"), &original.record);
        let document = copy.repair();
        assert_eq!(document["lacking"].as_array().unwrap().len(), 0, "{document}");
        let checked = copy.run(args!["check", "--read-data"]);
        assert_eq!(checked.code(), Some(0), "{checked}");
        fs::remove_dir_all(copy.path("state")).unwrap();
        for (snapshot, tree) in [(&original.second, &original.live()), (&original.first, &original.before)] {
            let (restored, missing) = copy.restore(snapshot, tree);
            assert_eq!((restored.code(), missing.len()), (Some(0), 0), "{restored}");
        }
    });
}

#[test]
fn a_damaged_record_is_put_back_by_whoever_has_read_it() {
    let original = Original::get();
    everywhere(BOTH, |how, state| {
        let copy = original.copy(state);
        copy.damage(&original.record, how, original.sibling("record"), &original.data);
        let document = copy.repair();
        let known = state == State::Kept && how != Damage::Delete;
        let records = document["damaged_records"].as_array().unwrap();
        assert_eq!(records.is_empty(), how == Damage::Delete, "{document}");
        assert!(records.iter().all(|record| record["known"] == known), "{document}");
        let checked = copy.run(args!["check", "--read-data"]);
        assert_eq!(checked.code(), Some(i32::from(!known && how != Damage::Delete)), "{checked}");
        if known {
            fs::remove_dir_all(copy.path("state")).unwrap();
            let (restored, missing) = copy.restore("latest", &original.live());
            assert_eq!((restored.code(), missing.len()), (Some(0), 0), "{restored}");
        }
        if how != Damage::Swap {
            let (older, missing) = copy.restore(&original.first, &original.before);
            assert_eq!((older.code(), missing.len()), (Some(0), 0), "{older}");
        }
    });
}

#[test]
fn a_damaged_slot_or_configuration_is_told_and_left() {
    let original = Original::get();
    let [used, other] = &original.slots;
    everywhere(BOTH, |how, state| {
        let copy = original.copy(state);
        if how != Damage::Swap {
            copy.damage(other, how, used, &original.record);
            let document = copy.repair();
            assert_eq!(document["left"].as_array().unwrap().len(), usize::from(how != Damage::Delete), "{document}");
        }
        copy.damage(Path::new("config"), how, used, &original.data);
        let before = copy.everything();
        for command in ["repair", "rebuild-index", "stats", "forget"] {
            let more = if command == "forget" { vec!["latest".into()] } else { vec![] };
            let outcome = copy.run_all(args![command].into_iter().chain(more));
            assert_eq!(outcome.code(), Some(if how == Damage::Delete { 10 } else { 1 }), "{outcome}");
            names(&outcome, "config");
            assert!(!outcome.err().contains("icecore init --repo"), "init would not bring it back: {outcome}");
        }
        if how == Damage::Delete {
            let made = copy.run_all(args!["init"]);
            assert_eq!(made.code(), Some(10), "a repository is not made over another: {made}");
        }
        assert_eq!(copy.everything(), before);
    });
}

#[test]
fn a_duplicate_harms_nothing() {
    let original = Original::get();
    let other = "ab".repeat(32);
    for (kind, object) in [
        ("packs/ab", &original.data),
        ("packs/ab", &original.manifest),
        ("index", &original.fragment),
        ("snapshots", &original.record),
        ("keys", &original.slots[0]),
    ] {
        let copy = original.copy(State::Kept);
        let path = copy.object(Path::new(kind)).join(&other);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(copy.object(object), path).unwrap();
        let (restored, missing) = copy.restore(&original.second, &original.live());
        assert_eq!((restored.code(), missing.len()), (Some(0), 0), "{restored}");
        let backed_up = copy.run(args!["backup", original.live(), "--name", "live"]);
        assert_eq!(backed_up.code(), Some(0), "{backed_up}");
        let document = copy.repair();
        assert!(document.to_string().contains(&other), "{document}");
        assert_eq!(document["lacking"].as_array().unwrap().len(), 0, "{document}");
        let (restored, missing) = copy.restore("latest", &original.live());
        assert_eq!((restored.code(), missing.len()), (Some(0), 0), "{restored}");
    }
}

#[test]
fn what_interrupted_writes_left_is_told_and_no_damage() {
    let original = Original::get();
    let copy = original.copy(State::Kept);
    write(copy.path("repository/tmp/2147483647-torn"), noise(1, 5000));
    let document = copy.repair();
    assert_eq!((&document["sound"], &document["temporary"]["files"]), (&Value::Bool(true), &Value::from(1)));
    let told = copy.run(args!["repair"]);
    assert!(told.code() == Some(0) && told.err().contains("1 temporary file"), "{told}");
}

#[test]
fn forgetting_beside_damage_takes_nothing_else_away() {
    let original = Original::get();
    for object in [&original.data, &original.manifest, &original.fragment, &original.record] {
        for how in [Damage::Delete, Damage::Empty, Damage::Halve, Damage::FlipMiddle] {
            let copy = original.copy(State::Lost);
            copy.damage(object, how, object, object);
            let forgotten = copy.run(args!["forget", &original.first]);
            assert!([0, 3].map(Some).contains(&forgotten.code()), "{forgotten}");
            let before = copy.everything();
            let document = copy.repair();
            assert!(before.iter().filter(|key| key.starts_with("packs/")).count() > 0, "{document}");
            settle();
            let healing = copy.run(args!["backup", original.live(), "--name", "live"]);
            assert_eq!(healing.code(), Some(0), "{healing}");
            let (healed, missing) = copy.restore("latest", &original.live());
            assert_eq!((healed.code(), missing.len()), (Some(0), 0), "{object:?} {how:?}: {healed}");
        }
    }
}
