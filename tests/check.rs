//! `check` with a budget, and without a key.

use std::collections::BTreeSet;
use std::fs;

use crate::common::{Home, noise, number, write};

/// A repository of several packs.
fn several_packs() -> Home {
    let home = Home::with_repository();
    let live = home.make_dir("live");
    for night in 0..5 {
        write(live.join(format!("file{night}")), noise(night, 300_000));
        home.backup(&live, &[]);
    }
    assert!(home.objects("packs").len() >= 10);
    home
}

#[test]
fn a_share_each_night_covers_everything() {
    let home = several_packs();
    let packs = home.objects("packs").len() as u64;
    let first = home.json(["check", "--read-data=30%"]);
    assert!(number(&first["packs_read"]) > 0 && number(&first["packs_read"]) < packs, "{first}");
    assert_eq!(number(&first["never_verified"]), packs - number(&first["packs_read"]));
    let stored = home.stored();
    assert!(number(&first["bytes_read"]) * 100 >= stored * 30, "{first}");
    let mut nights = 1;
    while number(&home.json(["check", "--read-data=30%"])["never_verified"]) > 0 {
        nights += 1;
        assert!(nights < 5, "packs are read again before all were");
    }
    assert!(home.ok(["check", "--read-data=1%"]).out().contains("every pack was verified since"));
    // What was verified is known of the packs, not of the index's rows.
    home.ok(["rebuild-index"]);
    assert_eq!(number(&home.json(["check", "--read-data=1"])["never_verified"]), 0);
}

#[test]
fn without_time_nothing_is_begun_but_what_is_surely_wrong() {
    let home = several_packs();
    let none = home.json(["check", "--read-data", "--time-limit", "0s"]);
    assert_eq!((number(&none["packs_read"]), none["clean"].as_bool()), (0, Some(true)));
    let all = home.json(["check", "--read-data", "--time-limit", "1h"]);
    assert_eq!(number(&all["packs_read"]), home.objects("packs").len() as u64);

    let cut = &home.objects("packs")[3];
    fs::write(cut, &fs::read(cut).unwrap()[1..]).unwrap();
    let found = home.run(["check", "--read-data", "--time-limit", "0s", "--json"]).expect(1).json();
    assert_eq!((number(&found["packs_read"]), found["clean"].as_bool()), (1, Some(false)));

    home.run(["check", "--time-limit", "1h"]).expect(2).said(&["--read-data"]);
    for bad in ["--read-data=0%", "--read-data=101%", "--read-data=some"] {
        home.run(["check", bad]).expect(2).said(&["1% to 100%"]);
    }
    home.run(["check", "--read-data", "--time-limit", "30"]).expect(2).said(&["30m"]);
}

#[test]
fn whoever_holds_the_disk_can_check_names_without_a_key() {
    let mut home = several_packs();
    home.set("ICECORE_PASSWORD_FILE", "/nowhere");
    let report = home.json(["check", "--no-key"]);
    let kinds = ["packs", "index", "snapshots", "keys"];
    let objects: Vec<_> = kinds.iter().flat_map(|kind| home.objects(kind)).collect();
    assert_eq!((number(&report["objects"]), report["clean"].as_bool()), (objects.len() as u64, Some(true)));

    let mut wrong = BTreeSet::new();
    for kind in kinds {
        let object = home.objects(kind).pop().unwrap();
        let mut bytes = fs::read(&object).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&object, bytes).unwrap();
        wrong.insert(object.strip_prefix(home.repository()).unwrap().to_str().unwrap().to_owned());
    }
    write(home.repository().join("packs/stray"), b"what is this");
    wrong.insert("packs/stray".to_owned());
    let found = home.run(["check", "--no-key", "--json"]).expect(1).json();
    let named = found["misnamed"].as_array().unwrap().iter().map(|wrong| wrong["object"].as_str().unwrap().to_owned());
    assert_eq!(named.collect::<BTreeSet<_>>(), wrong);
    assert!(home.run(["check", "--no-key"]).expect(1).out().contains("5 are not what they are named"));

    home.set("ICECORE_REPOSITORY", home.path("none"));
    home.run(["check", "--no-key"]).expect(10);
}
