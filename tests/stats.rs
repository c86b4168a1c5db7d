//! `stats`: its figures are those that other commands and the disk give.

use std::fs;

use crate::common::{Home, noise, number};

#[test]
fn figures_agree_with_forget_and_with_the_disk() {
    let home = Home::with_repository();
    let live = home.make_dir("live");
    let mut ids = Vec::new();
    for night in 0..3 {
        fs::write(live.join("same"), noise(7, 200_000)).unwrap();
        fs::write(live.join("changes"), noise(100 + night, 40_000)).unwrap();
        ids.push(home.backup(&live, &["--name", "wiki"])["snapshot"]["id"].as_str().unwrap().to_owned());
    }
    home.backup(&home.make_dir("other"), &["--name", "site"]);
    let stats = home.json(["stats", "-i", "wiki"]);
    let nights = stats["nights"].as_array().unwrap();
    assert_eq!((nights.len(), number(&stats["snapshots"])), (3, 4));
    for (id, night) in ids.iter().zip(nights) {
        assert_eq!((night["id"].as_str().unwrap(), number(&night["bytes"])), (id.as_str(), 240_000));
        let plan = home.json(["forget", &id[..12], "--dry-run"]);
        assert_eq!(night["unique"], plan["unneeded"], "what forgetting it alone would free");
        assert!(number(&night["unique"]["plain_bytes"]) >= 40_000);
    }
    assert!(number(&nights[1]["bytes_added"]) < number(&nights[0]["bytes_added"]) / 2);
    let sum = |kind: &str| home.objects(kind).iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    assert_eq!(number(&stats["pack_bytes"]), sum("packs"));
    assert_eq!(
        (number(&stats["fragments"]), number(&stats["fragment_bytes"])),
        (home.objects("index").len() as u64, sum("index"))
    );
    assert_eq!(number(&stats["unneeded"]["plain_bytes"]), 0);

    // What is forgotten is dead from then on.
    let freed = home.json(["forget", &ids[0][..12]])["unneeded"].clone();
    assert_eq!(home.json(["stats"])["unneeded"], freed);
    let table = home.ok(["stats"]).out();
    assert!(
        table.contains("unique") && table.contains("that no snapshot needs") && !table.contains(&ids[0][..8]),
        "{table}"
    );
}

#[test]
fn data_packs_are_not_read() {
    let home = Home::with_repository();
    let live = home.make_dir("live");
    fs::write(live.join("file"), noise(1, 300_000)).unwrap();
    home.backup(&live, &[]);
    let whole = home.json(["stats"]);
    let pack = home.objects("packs").into_iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    fs::remove_file(&pack).unwrap();
    let without = home.json(["stats"]);
    assert_eq!((&whole["nights"], &whole["unneeded"]), (&without["nights"], &without["unneeded"]));
}
