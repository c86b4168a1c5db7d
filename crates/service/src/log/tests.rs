use std::fs;
use std::sync::mpsc::channel;

use icecore_testkit::SmallDisk;
use tracing::subscriber::with_default;

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn clock() -> Timestamp {
    "2026-11-23T09:00:00.123456Z".parse().unwrap()
}

fn target(file: &Path, format: Format) -> Target {
    Target { file: file.to_owned(), format, level: Level::INFO }
}

#[test]
fn events_are_lines_whatever_stands_in_them() {
    let directory = tempfile::tempdir().unwrap();
    for (format, expected) in [
        (
            Format::Text,
            "2026-11-23T09:00:00.123Z INFO  backup committed instance=wiki bytes=7 seconds=1.5 ok=true\n\
             2026-11-23T09:00:00.123Z WARN  two\\nlines\\u{1b}[2J path=\"a b\\n\" empty=\"\"\n",
        ),
        (
            Format::Json,
            "{\"time\":\"2026-11-23T09:00:00.123Z\",\"level\":\"info\",\"message\":\"backup committed\",\"instance\":\"wiki\",\
             \"bytes\":7,\"seconds\":1.5,\"ok\":true}\n\
             {\"time\":\"2026-11-23T09:00:00.123Z\",\"level\":\"warn\",\"message\":\"two\\nlines\\u001b[2J\",\
             \"path\":\"a b\\n\",\"empty\":\"\"}\n",
        ),
    ] {
        let file = directory.path().join(format!("{format:?}"));
        let (log, collector) = Log::begin(clock);
        with_default(collector, || {
            // What is told before it is opened is not lost.
            tracing::info!(instance = %"wiki", bytes = 7u64, seconds = 1.5, ok = true, "backup committed");
            log.open(target(&file, format), |error| panic!("{error}"));
            tracing::debug!("not asked for");
            tracing::error!(target: "rustls", "not ours");
            tracing::warn!(path = "a b\n", empty = "", "two\nlines\u{1b}[2J");
        });
        assert!(log.end(LONG));
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, expected);
        if format == Format::Json {
            text.lines().for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap()));
        }
    }
}

#[test]
fn a_file_that_was_moved_away_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let [file, old] = ["log", "log.1"].map(|name| directory.path().join(name));
    let (log, collector) = Log::begin(clock);
    log.open(target(&file, Format::Text), |error| panic!("{error}"));
    with_default(collector, || {
        tracing::info!("one");
        assert!(log.end(LONG));
        fs::rename(&file, &old).unwrap();
        tracing::info!("two");
        assert!(log.end(LONG));
    });
    assert!(fs::read_to_string(&old).unwrap().ends_with(" one\n"));
    assert!(fs::read_to_string(&file).unwrap().ends_with(" two\n"));
}

#[test]
fn a_full_disk_is_told_once_and_what_was_lost_is_counted() {
    let Some(disk) = SmallDisk::mount(64 << 10) else { return };
    let (file, filler) = (disk.path().join("log"), disk.path().join("full"));
    let (log, collector) = Log::begin(clock);
    let (tell, told) = channel();
    log.open(target(&file, Format::Text), move |error| drop(tell.send(error)));
    with_default(collector, || {
        tracing::info!("one");
        assert!(log.end(LONG));
        let _ = fs::write(&filler, vec![0; 128 << 10]);
        for _ in 0..3 {
            tracing::info!("{}", "x".repeat(5000));
            assert!(log.end(LONG));
        }
        fs::remove_file(&filler).unwrap();
        tracing::info!("two");
        assert!(log.end(LONG));
    });
    let said: Vec<String> = told.try_iter().collect();
    assert!(said.len() == 1 && said[0].contains("cannot be written"), "{said:?}");
    let text = fs::read_to_string(&file).unwrap();
    let (first, last) = (text.lines().next().unwrap(), text.lines().rev().take(2).collect::<Vec<_>>());
    assert!(first.ends_with(" one") && last[1].ends_with(" two"), "{text}");
    assert!(last[0].contains("WARN") && last[0].ends_with("lost count=3"), "{text}");
}

/// A named pipe that nobody reads stands for a file system that hangs.
#[test]
fn whoever_tells_of_something_never_waits() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log");
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    let (log, collector) = Log::begin(clock);
    log.open(target(&file, Format::Text), drop);
    with_default(collector, || (0..2 * QUEUE).for_each(|number| tracing::info!(number, "line")));
    assert!(!log.end(Duration::from_millis(10)));
    // Somebody reads at last, one batch after the other: what was lost is counted.
    let mut text = String::new();
    while !text.contains("lines before this were lost count=") {
        io::Read::read_to_string(&mut fs::File::open(&file).unwrap(), &mut text).unwrap();
    }
    assert!(text.contains("line number=0\n"), "{}", text.len());
}
