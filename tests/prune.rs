//! `prune` through the program: what is said before, what is done, what is refused.

use std::fs;
use std::path::Path;

use crate::common::{Home, assert_same, noise, number};

/// A repository with two nights, the older of which is forgotten.
fn forgotten() -> Home {
    let home = Home::with_repository();
    let live = home.make_dir("live");
    fs::write(live.join("stays"), noise(1, 300_000)).unwrap();
    fs::write(live.join("goes"), noise(2, 700_000)).unwrap();
    home.backup(&live, &[]);
    fs::remove_file(live.join("goes")).unwrap();
    fs::write(live.join("new"), noise(3, 50_000)).unwrap();
    home.backup(&live, &[]);
    home.ok(["forget", "--keep-last", "1"]);
    home
}

fn says(home: &Home, command: &[&str], texts: &[&str]) {
    let out = home.ok(command).out();
    texts.iter().for_each(|text| assert!(out.contains(text), "{command:?}: {out}"));
}

#[test]
fn what_a_dry_run_says_is_what_is_marked_and_undone_and_what_waits() {
    let home = forgotten();
    let before = home.stored();
    let dry = home.json(["prune", "--dry-run", "--max-unused", "0"]);
    assert_eq!((home.stored(), number(&dry["plan"]["delete"]["packs"])), (before, 0));
    says(&home, &["prune", "--dry-run", "--max-unused", "0"], &["copy from, then mark"]);
    let plan = &dry["plan"];
    let marked = number(&plan["mark"]["packs"]) + number(&plan["repack"]["packs"]);
    assert!(number(&plan["repack"]["unneeded"]) >= 700_000, "{dry}");
    let done = home.json(["prune", "--max-unused", "0"]);
    assert_eq!((number(&done["marked"]["packs"]), number(&done["deleted"]["packs"])), (marked, 0), "{done}");
    assert!(number(&done["copied"]) >= 300_000 && number(&done["copied"]) < 400_000, "{done}");
    home.check(&["--read-data"]);
    says(&home, &["check"], &["marked to be deleted"]);
    home.ok(["check", "--no-key"]);
    says(&home, &["prune"], &["waiting"]);
    assert_same(&home.path("live"), &home.restore("latest", "restored"));
    assert_eq!(number(&home.json(["prune", "--undo"])["undone"]), marked);
    assert!(home.objects("gc").is_empty());
    home.check(&["--read-data"]);
}

#[test]
fn at_once_frees_what_nothing_needs() {
    let home = forgotten();
    let before = home.stored();
    says(&home, &["prune", "--now", "--max-unused", "0"], &["deleted", "freed"]);
    assert!(home.stored() + 600_000 < before, "{} of {before}", home.stored());
    home.check(&["--read-data"]);
    assert_same(&home.path("live"), &home.restore("latest", "restored"));
    home.backup(&home.path("live"), &[]);
    home.check(&["--read-data"]);
    assert!(home.objects("sessions").is_empty());
    says(&home, &["prune"], &["nothing to prune"]);
}

#[test]
fn forget_prunes_when_asked_and_senseless_options_are_refused() {
    let home = forgotten();
    home.backup(&home.path("live"), &[]);
    let done = home.json(["forget", "--keep-last", "1", "--prune"]);
    assert_eq!(number(&done["forgotten"]), 1);
    assert!(done["prune"]["marked"]["packs"].is_number(), "{done}");
    home.run(["prune", "--grace", "3h"]).expect(1).said(&["4 hours"]);
    for wrong in [["prune", "--max-unused=101%"], ["prune", "--max-repack=1X"]] {
        home.run(wrong).expect(2);
    }
}

#[test]
fn what_was_forgotten_is_told_although_the_prune_is_refused() {
    let home = forgotten();
    home.backup(&home.path("live"), &[]);
    fs::write(home.repository().join("snapshots/stray"), "no record").unwrap();
    let run = home.run(["forget", "--keep-last", "1", "--prune", "--json"]).expect(1);
    let done = run.json();
    assert_eq!(number(&done["forgotten"]), 1, "{done}");
    assert!(done["prune"]["error"]["message"].as_str().unwrap().contains("nothing was deleted"), "{done}");
}

/// Commands of a host whose state directory is of before a prune on another one, or holds another repository's index under this one's name.
#[test]
fn a_host_with_stale_knowledge_neither_loses_nor_misses_anything() {
    let commands: [&[&str]; 6] = [
        &["backup", "LIVE", "--name", "stale"],
        &["restore", "latest", "--to", "OUT"],
        &["check", "--read-data"],
        &["prune", "--max-unused", "0"],
        &["prune", "--now", "--max-unused", "0"],
        &["forget", "--keep-last", "1"],
    ];
    let foreign = forgotten();
    for (stale, command) in commands.iter().flat_map(|command| [("before", command), ("foreign", command)]) {
        let mut home = forgotten();
        let (state, other) = (home.path("state"), home.path("other-state"));
        home.set("ICECORE_STATE_DIR", &state);
        home.ok(["check"]);
        let index = |state: &Path| {
            let repository = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
            repository.map(|path| path.join("index.sqlite")).find(|path| path.exists()).unwrap()
        };
        // Elsewhere the first night goes at once, and what is needed of its pack stands in another one.
        home.set("ICECORE_STATE_DIR", &other);
        let pruned = home.json(["prune", "--now", "--max-unused", "0"]);
        assert!(number(&pruned["deleted"]["packs"]) > 0, "{pruned}");
        home.set("ICECORE_STATE_DIR", &state);
        if stale == "foreign" {
            let theirs = foreign.path("home/.local/state/icecore");
            fs::copy(index(&theirs), index(&state)).unwrap();
        }
        let (live, out) = (home.path("live"), home.path("out"));
        let arguments = command.iter().map(|argument| match *argument {
            "LIVE" => live.clone().into_os_string(),
            "OUT" => out.clone().into_os_string(),
            other => other.into(),
        });
        home.ok(arguments);
        assert!(!out.exists() || crate::common::differences(&live, &out).is_empty());
        home.backup(&live, &[]);
        home.ok(["prune", "--now", "--max-unused", "0"]);
        home.check(&["--read-data"]);
        assert_same(&live, &home.restore("latest", "restored"));
        home.set("ICECORE_STATE_DIR", home.path("third-state"));
        home.check(&["--read-data"]);
    }
}
