//! Night after night while somebody writes.

use icecore_testkit::live::Instance;

use super::{REST, Site, receipt, snapshot};
use crate::common::{Home, noise, number, settle, write};

const NIGHTS: usize = 20;

#[test]
fn every_night_is_the_instance_at_its_freeze() {
    let site = Site::usual("max-freeze = \"20s\"");
    let mut hot_nights = 0;
    for night in 1..=NIGHTS {
        site.live.expect_awake();
        let outcome = site.night().expect(0);
        let snapshot = snapshot(&outcome);
        assert_eq!(snapshot["verdict"], "application", "{outcome}");
        let receipt = receipt(&snapshot);
        assert_eq!((&receipt["freezer"], &receipt["thawed_by"]), (&"command".into(), &"engine".into()), "{receipt}");
        assert_eq!(receipt["violations"].as_array().unwrap().len(), 0, "{outcome}");
        assert!(number(&receipt["window_ms"]) < 20_000, "{receipt}");
        assert!(receipt["predicted_ms"].is_u64(), "{receipt}");
        hot_nights += usize::from(number(&receipt["hot_files"]) > 0 && number(&receipt["hot_bytes"]) > 0);
        assert_eq!(site.live.records().len(), night);
        site.expect_restored(&outcome, &site.live.record());
        site.expect_awake(night, night);
    }
    assert!(hot_nights > 0, "the writer wrote too little");
    let table = site.home.ok(["snapshots"]).out();
    assert_eq!(table.matches("application").count(), NIGHTS, "{table}");
    site.home.check(&["--read-data"]);
}

/// Large enough for several threads to read it, and all of it waits for the thaw.
#[test]
fn a_large_file_that_is_new_in_the_window_is_secured() {
    let home = Home::with_repository();
    let work = Instance::fill(&home.make_dir("live"), 5 * REST);
    let site = Site::new(home, work, "warm-rounds = 0");
    let sizes = [40 << 20, 48 << 20];
    for (night, size) in (1..).zip(sizes) {
        write(site.home.path("live/base/large"), noise(night, size));
        let outcome = site.night().expect(0);
        let snapshot = snapshot(&outcome);
        assert_eq!(snapshot["verdict"], "application", "{outcome}");
        // Without a parent there is a warm round, whatever was asked for.
        assert_eq!(number(&receipt(&snapshot)["hot_bytes"]) >= size as u64, night > 1, "{outcome}");
        site.expect_restored(&outcome, &site.live.record());
        site.expect_awake(night as usize, night as usize);
    }
    site.home.check(&["--read-data"]);
}

/// The comparison of each night with its record can fail: without a freeze the same writer does get in the way, and is
/// noticed.
#[test]
fn without_a_freezer_nothing_is_claimed() {
    let site = Site::usual("");
    site.configure("");
    for _ in 0..10 {
        let outcome = site.night();
        let snapshot = snapshot(&outcome);
        assert!(snapshot["receipt"].is_null(), "{outcome}");
        assert_ne!(snapshot["verdict"], "application", "{outcome}");
        if snapshot["verdict"] == "fuzzy" {
            let problems = snapshot["problems"].as_array().unwrap();
            let outcome = outcome.expect(3);
            assert!(!problems.is_empty(), "{outcome}");
            for problem in problems {
                outcome.clone().said(&[problem["path"].as_str().unwrap()]);
            }
            assert_eq!(site.live.records().len(), 0);
            return;
        }
    }
    panic!("ten nights and nothing changed while it was read");
}

#[test]
fn a_freezer_that_lies_is_found_out() {
    let site = Site::slow("");
    site.set("lie", "");
    for night in 1..=5 {
        let outcome = site.night();
        let snapshot = snapshot(&outcome);
        let (violations, awake) = {
            let receipt = receipt(&snapshot);
            (receipt["violations"].clone(), receipt["awake"].clone())
        };
        assert!(awake.as_str().is_some_and(|why| outcome.err().contains(why)), "{outcome}");
        assert_eq!((outcome.code(), &snapshot["verdict"]), (Some(3), &"fuzzy".into()), "{outcome}");
        assert!(site.home.ok(["show", "live"]).out().contains(awake.as_str().unwrap()));
        if violations.as_array().unwrap().is_empty() {
            continue;
        }
        let outcome = outcome.expect(3);
        assert_eq!(snapshot["verdict"], "fuzzy", "{outcome}");
        let path = violations[0]["path"].as_str().unwrap();
        let outcome = outcome.said(&[path]);
        let shown = site.home.json(["show", "live"]);
        assert_eq!(shown["snapshot"]["receipt"]["violations"], violations, "{outcome}");
        assert!(site.home.ok(["show", "live"]).out().contains(path));
        site.expect_awake(night, night);
        return;
    }
    panic!("five windows in which somebody wrote, and nobody noticed");
}

#[test]
fn a_rehearsal_freezes_once_and_stores_nothing() {
    let site = Site::usual("");
    let rehearsal = site.home.json(["instance", "test-freeze", "live"]);
    assert!(number(&rehearsal["window_ms"]) > 0 && number(&rehearsal["entries"]) > 40, "{rehearsal}");
    assert_eq!(rehearsal["thawed_by"], "engine");
    site.expect_awake(1, 1);
    assert_eq!((site.home.objects("snapshots").len(), site.home.stored()), (0, 0));

    // Nothing is known yet: everything would be read.
    let of = |name: &str| number(&rehearsal[name]);
    assert!(of("hot_bytes") > 1 << 20 && of("bytes_per_second") > 0, "{rehearsal}");
    assert!(of("longest_ms").abs_diff(of("overhead_ms") + of("listing_ms") + of("reading_ms")) <= 2, "{rehearsal}");
    assert!(of("window_ms").abs_diff(of("overhead_ms") + of("listing_ms")) <= 1, "{rehearsal}");
    let told = site.home.ok(["instance", "test-freeze", "live"]).out();
    for part in ["a real night", "at most", "freezing and thawing", "listing", "reading what has changed", "/s"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    site.expect_awake(2, 2);
    assert_eq!((site.home.objects("snapshots").len(), site.home.stored()), (0, 0));
    site.night().expect(0);
    site.home.check(&["--read-data"]);
}

#[test]
fn a_rehearsal_with_nothing_to_read_knows_no_rate() {
    let site = Site::usual("");
    site.live.controls().freeze();
    site.configure("");
    settle();
    site.night().expect(0);
    // Between two nights nobody writes: frozen by hand, it would be left alone.
    site.configure("[instance.freezer]\nkind = \"command\"\nfreeze = [\"/bin/true\"]\nthaw = [\"/bin/true\"]");
    let rehearsal = site.home.json(["instance", "test-freeze", "live"]);
    assert_eq!((&rehearsal["hot_bytes"], &rehearsal["bytes_per_second"]), (&0.into(), &serde_json::Value::Null));
    assert_eq!(rehearsal["longest_ms"], rehearsal["window_ms"]);
    let told = site.home.ok(["instance", "test-freeze", "live"]).out();
    assert!(!told.contains("reading"), "{told}");
    site.live.controls().thaw();
}
