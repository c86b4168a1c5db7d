use std::path::Path;

use super::*;
use crate::freezer::{CommandConfig, FsfreezeConfig};

fn intent() -> Intent {
    let freezer = FreezerConfig::Command(CommandConfig {
        freeze: vec!["/bin/freeze".to_owned(), "a b".to_owned()],
        thaw: vec!["/bin/thaw".to_owned()],
        status: None,
        timeout_ms: 5,
        stop: None,
        start: None,
    });
    let written = Timestamp { seconds: 1_795_000_000, nanos: 7 };
    Intent::new("cust01", &freezer, Duration::from_secs(30), &Retry::default(), written)
}

fn at() -> Timestamp {
    Timestamp { seconds: 9, nanos: 1 }
}

fn thawed(by: ThawedBy) -> Record {
    Record::Thawed { by, at: at(), attempts: 3 }
}

fn line(value: &impl Serialize) -> Vec<u8> {
    line_of(value).unwrap()
}

#[test]
fn a_journal_tells_its_story() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.json");
    let mut journal = Journal::create(&path, &intent()).unwrap();
    let mut story = Story { intent: intent(), guardian: None, frozen: false, thawing: None, thawed: None };
    assert_eq!(journal.read().unwrap(), story);
    for record in [
        Record::Guardian { pid: 5 },
        Record::Frozen,
        Record::Thawing { by: ThawedBy::Guardian },
        Record::Thawing { by: ThawedBy::Recovery },
        thawed(ThawedBy::Recovery),
        thawed(ThawedBy::Engine),
    ] {
        journal.append(&record).unwrap();
    }
    story.guardian = Some(5);
    story.frozen = true;
    story.thawing = Some(ThawedBy::Guardian);
    story.thawed = Some(Thaw { by: ThawedBy::Recovery, at: at(), attempts: 3 });
    assert_eq!(Journal::open(&path).unwrap().read().unwrap(), story);
    journal.remove().unwrap();
    journal.remove().unwrap();
    assert!(Journal::open(&path).unwrap_err().is_gone());
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    assert_eq!(journal.read().unwrap(), story, "whoever has it open can still read it");
}

#[test]
fn a_record_that_was_cut_short_was_not_written() {
    let record = line(&thawed(ThawedBy::Engine));
    for len in 0..record.len() {
        let text = [line(&intent()), record[..len].to_vec()].concat();
        assert_eq!(parse(&text, Path::new("j")).unwrap().thawed, None, "{len} bytes");
    }
    let text = [line(&intent()), record].concat();
    assert!(parse(&text, Path::new("j")).unwrap().thawed.is_some());
}

#[test]
fn a_record_after_a_torn_one_counts_only_on_its_own_line() {
    let torn = b"{\"record\":\"froz\n".to_vec();
    let text = [line(&intent()), torn, line(&thawed(ThawedBy::Engine))].concat();
    let story = parse(&text, Path::new("j")).unwrap();
    assert!(!story.frozen && story.thawed.is_some());
}

#[test]
fn a_strange_journal_is_refused_and_named() {
    let newer = br#"{"version":2,"anything":"else"}"#;
    assert!(matches!(parse(newer, Path::new("j")), Err(JournalError::Newer { .. })));
    for strange in [&b""[..], b"\n", b"{}", b"[1]", br#"{"version":1}"#, b"\xff\xfe"] {
        let error = parse(strange, Path::new("/w/cust01.json")).unwrap_err();
        assert!(matches!(error, JournalError::Damaged { .. }));
        assert!(error.to_string().contains("/w/cust01.json"));
    }
}

#[test]
fn what_must_be_avoided_is_asked_once_and_not_written_down() {
    let config = FsfreezeConfig { mount: "/mnt".into(), avoid: vec!["/state".into()] };
    let text = serde_json::to_string(&FreezerConfig::Fsfreeze(config)).unwrap();
    assert_eq!(text, r#"{"kind":"fsfreeze","mount":"/mnt"}"#);
}

#[test]
fn one_at_a_time_holds_the_lock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.json");
    let first = Journal::create(&path, &intent()).unwrap();
    let second = Journal::open(&path).unwrap();
    assert!(first.lock_within(Duration::ZERO).unwrap());
    assert!(!second.lock_within(Duration::from_millis(10)).unwrap());
    first.unlock();
    assert!(second.lock_within(Duration::ZERO).unwrap());
}
