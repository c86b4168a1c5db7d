use std::cell::RefCell;
use std::collections::VecDeque;

use super::*;
use crate::window::journal::Intent;

fn clock() -> Timestamp {
    Timestamp { seconds: 1_795_000_000, nanos: 0 }
}

fn quick() -> Retry {
    Retry {
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
        patience: Duration::from_millis(30),
        settle: Duration::from_millis(40),
        turn: Duration::from_millis(50),
        ..Retry::default()
    }
}

/// Answers as told, then with success; writes down what it was asked.
#[derive(Default)]
struct Scripted {
    thaws: VecDeque<Result<(), &'static str>>,
    statuses: VecDeque<Status>,
    stronger: Option<Result<(), &'static str>>,
    late: bool,
    asked: Vec<&'static str>,
}

fn answer(answer: Result<(), &'static str>) -> Result<(), FreezeError> {
    answer.map_err(|message| FreezeError::new(FreezeErrorKind::Failed, message))
}

impl Freezer for Scripted {
    fn check(&mut self) -> Result<(), FreezeError> {
        Ok(())
    }
    fn freeze(&mut self, _: Duration) -> Result<(), FreezeError> {
        Ok(())
    }
    fn thaw(&mut self, _: Duration) -> Result<(), FreezeError> {
        self.asked.push("thaw");
        answer(self.thaws.pop_front().unwrap_or(Ok(())))
    }
    fn status(&mut self, _: Duration) -> Result<Status, FreezeError> {
        Ok(self.statuses.pop_front().unwrap_or(Status::Running))
    }
    fn last_resort(&mut self, _: Duration) -> Option<Result<(), FreezeError>> {
        self.asked.push("restart");
        self.stronger.map(answer)
    }
    fn describe(&self) -> String {
        "the scripted one".to_owned()
    }
    fn may_freeze_late(&self) -> bool {
        self.late
    }
}

/// A journal in a directory of its own, with records after the intent.
fn journal(records: &[Record]) -> (tempfile::TempDir, Journal) {
    let directory = tempfile::tempdir().unwrap();
    let intent = Intent::new("cust01", &FreezerConfig::None, Duration::from_secs(1), &quick(), clock());
    let mut journal = Journal::create(&directory.path().join("cust01.json"), &intent).unwrap();
    records.iter().for_each(|record| journal.append(record).unwrap());
    (directory, journal)
}

fn thaw(journal: &mut Journal, freezer: &mut Scripted, retry: &Retry) -> (Result<Done, ThawError>, Vec<String>) {
    let said = RefCell::new(Vec::new());
    let mut log = |line: &str| said.borrow_mut().push(line.to_owned());
    let mut thawing = Thawing { by: ThawedBy::Recovery, clock: &clock, retry, log: &mut log };
    let done = thaw_journal(journal, freezer, &mut thawing);
    (done, said.into_inner())
}

#[test]
fn a_confirmed_thaw_is_written_down_and_never_repeated() {
    let (_directory, mut journal) = journal(&[Record::Frozen]);
    let mut freezer = Scripted { thaws: [Err("no"), Err("no")].into(), ..Scripted::default() };
    let (done, said) = thaw(&mut journal, &mut freezer, &quick());
    let done = done.unwrap();
    assert_eq!(done.thaw, Thaw { by: ThawedBy::Recovery, at: clock(), attempts: 3 });
    assert_eq!((done.first, said.len()), (ThawedBy::Recovery, 2));
    let again = thaw(&mut journal, &mut freezer, &quick()).0.unwrap();
    assert_eq!(again.thaw, done.thaw);
    assert_eq!(freezer.asked, ["thaw"; 3]);
}

#[test]
fn whoever_began_to_thaw_and_died_is_remembered() {
    let (_directory, mut journal) = journal(&[Record::Frozen, Record::Thawing { by: ThawedBy::Guardian }]);
    let done = thaw(&mut journal, &mut Scripted::default(), &quick()).0.unwrap();
    assert_eq!((done.first, done.thaw.by), (ThawedBy::Guardian, ThawedBy::Recovery));
}

#[test]
fn stronger_means_come_last_and_only_with_permission() {
    let stubborn = || Scripted { thaws: [Err("no"); 500].into(), stronger: Some(Ok(())), ..Scripted::default() };
    let (_directory, mut first) = journal(&[Record::Frozen]);
    let mut freezer = stubborn();
    let done = thaw(&mut first, &mut freezer, &quick()).0.unwrap();
    assert!(done.thaw.attempts > 3, "{done:?}");
    assert_eq!(freezer.asked.iter().position(|asked| *asked == "restart"), Some(freezer.asked.len() - 1));

    let (_directory, mut second) = journal(&[Record::Frozen]);
    let mut freezer = stubborn();
    let error = thaw(&mut second, &mut freezer, &Retry { last_resort: false, ..quick() }).0.unwrap_err();
    assert!(!freezer.asked.contains(&"restart"));
    let said = error.to_string();
    assert!(said.contains("cust01 MAY STILL BE FROZEN") && said.contains("cust01.json"), "{said}");
    assert_eq!(second.read().unwrap().thawed, None);
}

#[test]
fn a_freeze_that_nobody_confirmed_is_looked_out_for() {
    let late = || Scripted { late: true, statuses: [Status::Frozen].into(), ..Scripted::default() };
    let (_directory, mut unanswered) = journal(&[]);
    let mut freezer = late();
    thaw(&mut unanswered, &mut freezer, &quick()).0.unwrap();
    assert_eq!(freezer.asked, ["thaw", "thaw"]);

    let (_directory, mut answered) = journal(&[Record::Frozen]);
    let mut freezer = late();
    thaw(&mut answered, &mut freezer, &quick()).0.unwrap();
    assert_eq!(freezer.asked, ["thaw"]);
}

#[test]
fn somebody_who_hangs_with_the_lock_is_not_waited_for_for_ever() {
    let (_directory, mut mine) = journal(&[Record::Frozen]);
    let theirs = Journal::open(mine.path()).unwrap();
    assert!(theirs.lock_within(Duration::ZERO).unwrap());
    let (done, said) = thaw(&mut mine, &mut Scripted::default(), &quick());
    assert_eq!(done.unwrap().thaw.attempts, 1);
    assert!(said[0].contains("hang"), "{said:?}");
}

#[test]
fn a_freezer_that_cannot_be_opened_is_a_failed_attempt() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.json");
    let freezer = FreezerConfig::Command(crate::freezer::CommandConfig {
        freeze: vec!["/nowhere/freeze".to_owned()],
        thaw: vec!["/nowhere/thaw".to_owned()],
        status: None,
        timeout_ms: 100,
        stop: None,
        start: None,
    });
    Journal::create(&path, &Intent::new("a", &freezer, Duration::from_secs(1), &quick(), clock())).unwrap();
    let error = thaw_once(&path, ThawedBy::Recovery, &clock, &quick(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("/nowhere/thaw"), "{error}");
    let gone = thaw_once(Path::new("/nowhere/a.json"), ThawedBy::Recovery, &clock, &quick(), &mut |_| {});
    assert!(matches!(gone, Err(ThawError::Journal(error)) if error.is_gone()));
}
