use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::*;
use crate::agenda::Task;
use crate::measures::{MeasuresFile, Observed};
use crate::records::History;
use crate::report::{Failure, Outcome, RunReport, Taken, TaskReport, Work};

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn backup(instance: &str) -> Task {
    Task::Backup { instance: instance.to_owned() }
}

fn done(task: Task, started: i64, work: Option<Work>) -> TaskReport {
    let (result, code) = if work.is_some() { (Outcome::Done, 0) } else { (Outcome::Failed, 1) };
    let error = work.is_none().then(|| Failure { message: "no disk".into(), hint: None, code: 1 });
    TaskReport {
        task,
        result,
        code,
        started: time(started),
        seconds: 1.5,
        due_since: None,
        error,
        warnings: vec!["one".into()],
        work,
    }
}

fn taken(entries: u64) -> Option<Work> {
    Some(Work::Backup(Taken {
        snapshot: "00".into(),
        verdict: "application".into(),
        window_ms: Some(41),
        entries,
        bytes: 1 << 40,
        bytes_read: 7,
        bytes_added: 5,
        problems: 2,
    }))
}

fn run(tasks: Vec<TaskReport>, finished: i64) -> RunReport {
    RunReport {
        host: "h".into(),
        repository: "/srv/ice \"cold\"\\\n".into(),
        started: time(finished - 10),
        finished: time(finished),
        seconds: 10.0,
        code: tasks.iter().map(|task| task.code).max().unwrap_or(0),
        error: None,
        warnings: Vec::new(),
        tasks,
    }
}

/// A series: its name and its labels with their values, as they were before they were escaped.
type Series = (String, BTreeMap<String, String>);

/// Reads the text format, and holds it to what `promtool check metrics` asks for.
fn lint(text: &str) -> BTreeMap<Series, f64> {
    let (mut series, mut helped, mut typed, mut current) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new(), "");
    assert!(text.is_empty() || text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(helped.insert(name) && !help.is_empty(), "{line}");
            current = name;
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert_eq!(rest, format!("{current} gauge"));
            assert!(typed.insert(current), "{line}");
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap();
        assert!(name == current && typed.contains(name), "metrics stand together below their type: {line}");
        let mut labels = BTreeMap::new();
        let mut rest = rest;
        while let Some((label, after)) = rest.split_once("=\"") {
            assert!(label.bytes().all(|c| c.is_ascii_lowercase() || c == b'_') && !label.starts_with("__"), "{line}");
            let (value, after) = unescaped(after);
            assert!(labels.insert(label.to_owned(), value).is_none(), "a label twice: {line}");
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        let value: f64 = rest.strip_prefix("} ").unwrap().parse().unwrap();
        assert!(series.insert((name.to_owned(), labels), value).is_none(), "a series twice: {line}");
    }
    for name in helped {
        assert!(typed.contains(name) && name.starts_with("icecore_"), "{name}");
        assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{name}");
        let words: Vec<_> = name.split('_').collect();
        // Suffixes of other types, types in names, units that are no base units, and their abbreviations.
        let not_last = ["total", "sum", "count", "bucket", "info"];
        let never = ["gauge", "counter", "histogram", "summary", "untyped"];
        let units = ["milliseconds", "minutes", "hours", "days", "weeks", "kilobytes", "megabytes", "bits", "percent"];
        let short = ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "h", "d", "m"];
        assert!(!not_last.contains(words.last().unwrap()), "{name}");
        assert!(!words.iter().any(|word| [&never[..], &units, &short].concat().contains(word)), "{name}");
        for unit in ["seconds", "bytes"] {
            assert!(!words.contains(&unit) || words.last() == Some(&unit), "{name}: the unit is last");
        }
    }
    series
}

/// The value of a label up to its quote, and what follows that.
fn unescaped(text: &str) -> (String, &str) {
    let (mut value, mut characters) = (String::new(), text.char_indices());
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next().unwrap().1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            '\n' => panic!("a line end in a label"),
            c => value.push(c),
        }
    }
    panic!("a label without an end: {text}")
}

fn find(series: &BTreeMap<Series, f64>, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let has = |found: &BTreeMap<String, String>| {
        found.len() == labels.len() + 1 && labels.iter().all(|(label, value)| found[*label] == *value)
    };
    series.iter().find(|((found, with), _)| found == &format!("icecore_{name}") && has(with)).map(|(_, value)| *value)
}

#[test]
fn what_was_not_due_keeps_its_values_and_odd_names_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let kept = MeasuresFile::new(&directory.path().join("runs"), "abc");
    let file = directory.path().join("icecore.prom");
    let odd = "w\"i\\k\ni";
    let tasks = [backup(odd), backup("mail"), Task::Prune];
    let mut history = History::default();
    history.succeeded(&Task::Prune, time(50));
    let proved = BTreeMap::from([("mail".to_owned(), time(77))]);
    let observed = Observed { stored_bytes: 1000, proved };

    let mut measures = kept.load();
    let first = run(vec![done(backup(odd), 100, taken(800)), done(backup("mail"), 110, taken(9))], 120);
    measures.take(&first, Some(observed), &history, &tasks);
    kept.keep(&measures).unwrap();
    write(&file, &measures).unwrap();
    let series = lint(&fs::read_to_string(&file).unwrap());
    assert!(series.keys().all(|(_, labels)| labels["repository"] == first.repository));
    let (of_wiki, of_mail) = ([("task", "backup"), ("name", odd)], [("task", "backup"), ("name", "mail")]);
    assert_eq!(find(&series, "task_last_success_timestamp_seconds", &of_wiki), Some(100.0));
    assert_eq!(find(&series, "task_last_success_timestamp_seconds", &[("task", "prune")]), Some(50.0));
    assert_eq!(find(&series, "task_last_attempt_timestamp_seconds", &[("task", "prune")]), None);
    assert_eq!(find(&series, "backup_window_seconds", &[("name", odd)]), Some(0.041));
    assert_eq!(find(&series, "backup_content_bytes", &[("name", odd)]), Some((1u64 << 40) as f64));
    assert_eq!(find(&series, "backup_proved_timestamp_seconds", &[("name", "mail")]), Some(77.0));
    assert_eq!(find(&series, "run_warnings", &[]), Some(2.0));

    // A later process; the repository could not be opened, and one instance alone was due.
    let mut measures = kept.load();
    measures.take(&run(vec![done(backup("mail"), 200, None)], 210), None, &history, &tasks);
    let series = lint(&render(&measures));
    assert_eq!(find(&series, "backup_entries", &[("name", odd)]), Some(800.0));
    assert_eq!(find(&series, "task_last_attempt_timestamp_seconds", &of_mail), Some(200.0));
    assert_eq!(find(&series, "task_last_success_timestamp_seconds", &of_mail), Some(110.0));
    assert_eq!(find(&series, "task_exit_code", &of_mail), Some(1.0));
    assert_eq!(find(&series, "backup_entries", &[("name", "mail")]), Some(9.0));
    assert_eq!(find(&series, "repository_size_bytes", &[]), Some(1000.0));
    assert_eq!((find(&series, "run_exit_code", &[]), find(&series, "run_failed_tasks", &[])), (Some(1.0), Some(1.0)));

    // One that is configured no more goes; one that was backed up by hand is told of.
    history.succeeded(&backup("mail"), time(300));
    measures.take(&run(Vec::new(), 310), None, &history, &tasks[1..]);
    let series = lint(&render(&measures));
    assert!(!series.keys().any(|(_, labels)| labels.get("name").is_some_and(|name| name == odd)), "{series:?}");
    assert_eq!(find(&series, "task_last_success_timestamp_seconds", &of_mail), Some(300.0));
}

#[test]
fn what_was_kept_and_is_torn_is_measured_anew() {
    let directory = tempfile::tempdir().unwrap();
    let kept = MeasuresFile::new(directory.path(), "abc");
    let mut measures = kept.load();
    measures.take(&run(vec![done(backup("a"), 1, taken(1))], 2), None, &History::default(), &[backup("a")]);
    kept.keep(&measures).unwrap();
    assert_eq!(kept.load().backups, measures.backups);
    let file = directory.path().join("abc.measures.json");
    let whole = fs::read(&file).unwrap();
    for len in 0..whole.len() {
        fs::write(&file, &whole[..len]).unwrap();
        assert_eq!(lint(&render(&kept.load())).len(), 0);
    }
}

#[test]
fn the_old_file_stays_whole_where_no_new_one_fits() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("icecore.prom");
    let mut measures = Measures::default();
    measures.take(&run(Vec::new(), 10), None, &History::default(), &[]);
    write(&file, &measures).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(directory.path().read_dir().unwrap().count(), 1, "nothing is left beside it");
    let Some(disk) = icecore_testkit::SmallDisk::mount(64 << 10) else { return };
    let file = disk.path().join("icecore.prom");
    write(&file, &measures).unwrap();
    let before = fs::read(&file).unwrap();
    let _ = fs::write(disk.path().join("full"), vec![0; 128 << 10]);
    measures.take(&run(Vec::new(), 20), None, &History::default(), &[]);
    let error = write(&file, &measures).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(disk.path().read_dir().unwrap().count(), 2, "nothing is left beside it");
}
