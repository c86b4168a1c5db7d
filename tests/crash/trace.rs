//! The order of durability as the operating system saw it: every call that matters, recorded by strace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Home, Running, args, noise, write};

/// What was asked of the file system. The place in the trace is where it ended, but for [`Call::Named`]: where it began.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    /// `fsync` or `fdatasync` of a file or directory.
    Synced(PathBuf),
    /// A temporary file got its name.
    Named { from: PathBuf, to: PathBuf },
    /// A directory was made.
    Made(PathBuf),
}

#[test]
fn every_object_is_durable_before_another_depends_on_it() {
    if !icecore_testkit::may_act_as_root("the order of durability is traced") {
        return;
    }
    if Command::new("strace").arg("-V").output().is_err() {
        return icecore_testkit::skip("strace is not installed");
    }
    let home = Home::with_repository();
    let live = home.make_dir("live");
    for number in 0..3 {
        write(live.join(number.to_string()), noise(number, 12 << 20));
    }
    let trace = home.path("trace");
    let mut strace = Command::new("strace");
    let calls = "trace=fsync,fdatasync,sync_file_range,rename,renameat,renameat2,link,linkat,mkdir,mkdirat";
    strace.args(["-f", "-y", "-e", calls, "-o"]).arg(&trace);
    let program = home.command(args!["backup", &live]);
    strace.arg(program.get_program()).args(program.get_args()).env_clear();
    strace.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace.current_dir(home.path("home"));
    let ended = Running::start(strace).finish().expect(0);
    assert!(ended.err().is_empty(), "{ended}");

    let repository = fs::canonicalize(home.repository()).unwrap();
    let calls = read(&fs::read_to_string(&trace).unwrap());
    let shown: Vec<_> = calls.iter().map(|call| format!("{call:?}")).collect();
    let shown = shown.join("\n").replace(repository.to_str().unwrap(), "…");
    show(&shown);
    let objects = in_order(&calls, &repository).unwrap_or_else(|why| panic!("{why}\n{shown}"));
    let count = |kind: &str| objects.iter().filter(|object| object.starts_with(kind)).count();
    assert!(count("packs") >= 3 && count("index") >= 1 && count("snapshots") == 1, "{objects:?}");
}

/// Shown with `--nocapture`, and when the test fails.
#[allow(clippy::print_stdout, reason = "the test harness keeps it to itself")]
fn show(calls: &str) {
    println!("{calls}");
}

/// Follows a trace; gives the objects in the order in which they were named, or what broke the order.
fn in_order(calls: &[Call], repository: &Path) -> Result<Vec<PathBuf>, String> {
    let mut synced_files = BTreeSet::new();
    // Directories with entries that are not durable yet, and those entries.
    let mut pending: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    let mut objects = Vec::new();
    for call in calls {
        match call {
            Call::Synced(path) => {
                pending.remove(path);
                synced_files.insert(path.clone());
            }
            Call::Made(path) if path.starts_with(repository) => {
                pending.entry(path.parent().unwrap().to_owned()).or_default().push(path.clone());
            }
            Call::Named { from, to } if to.starts_with(repository) => {
                if !synced_files.contains(from) {
                    return Err(format!("{} got its name before it was synced", to.display()));
                }
                if to.starts_with(repository.join("index")) || to.starts_with(repository.join("snapshots")) {
                    let own = to.parent().unwrap();
                    let volatile = |path: &PathBuf| path != own && !path.ends_with("tmp");
                    if let Some(path) = pending.values().flatten().find(|path| volatile(path)) {
                        return Err(format!("{} was named while {} was not durable", to.display(), path.display()));
                    }
                }
                pending.entry(to.parent().unwrap().to_owned()).or_default().push(to.clone());
                objects.push(to.strip_prefix(repository).unwrap().to_owned());
            }
            Call::Named { .. } | Call::Made(_) => {}
        }
    }
    pending.retain(|_, entries| entries.iter().any(|entry| !entry.ends_with("tmp")));
    if pending.is_empty() { Ok(objects) } else { Err(format!("at the end these are not durable: {pending:?}")) }
}

/// Reads what `strace -f -y -o` wrote.
fn read(trace: &str) -> Vec<Call> {
    // Calls of several threads are interrupted by each other's lines.
    let mut begun: BTreeMap<&str, String> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(head) = text.strip_suffix(" <unfinished ...>") {
            // A name counts from the moment at which it may be there.
            calls.extend(
                parse(&format!("{head} = 0")).filter(|call| matches!(call, Call::Named { .. } | Call::Made(_))),
            );
            begun.insert(thread, head.to_owned());
        } else if text.starts_with("<... ") {
            let (head, rest) =
                (begun.remove(thread).unwrap_or_default(), text.split_once("resumed>").map_or("", |s| s.1));
            calls.extend(parse(&format!("{head}{rest}")).filter(|call| matches!(call, Call::Synced(_))));
        } else {
            calls.extend(parse(text));
        }
    }
    calls
}

/// Reads one whole call; `None` if it failed or is no call.
fn parse(text: &str) -> Option<Call> {
    let (call, result) = text.rsplit_once('=')?;
    if result.trim() != "0" {
        return None;
    }
    let (name, arguments) = call.split_once('(')?;
    let mut quoted = arguments.split('"').skip(1).step_by(2).map(PathBuf::from);
    match name {
        "fsync" | "fdatasync" => {
            let (_, path) = arguments.split_once('<')?;
            Some(Call::Synced(path.rsplit_once('>')?.0.into()))
        }
        "mkdir" | "mkdirat" => quoted.next().map(Call::Made),
        "rename" | "renameat" | "renameat2" | "link" | "linkat" => {
            Some(Call::Named { from: quoted.next()?, to: quoted.next()? })
        }
        _ => None,
    }
}

#[test]
fn a_trace_out_of_order_is_noticed() {
    let whole = "\
7 mkdir(\"/r/packs/3f\", 0700) = 0
7 fsync(5</r/packs>) = 0
7 fdatasync(6</r/tmp/1-a>) = 0
8 fdatasync(9</r/tmp/1-b> <unfinished ...>
7 renameat2(AT_FDCWD</h>, \"/r/tmp/1-a\", AT_FDCWD</h>, \"/r/packs/3f/a\", RENAME_NOREPLACE) = 0
7 fsync(5</r/packs/3f>) = 0
8 <... fdatasync resumed>) = 0
8 renameat2(AT_FDCWD</h>, \"/r/tmp/1-b\", AT_FDCWD</h>, \"/r/snapshots/b\", RENAME_NOREPLACE) = 0
8 fsync(5</r/snapshots>) = 0";
    let objects = in_order(&read(whole), Path::new("/r")).unwrap();
    assert_eq!(objects, [Path::new("packs/3f/a"), Path::new("snapshots/b")]);
    for left_out in [1, 2, 5, 6, 8] {
        let lines: Vec<_> = whole.lines().enumerate().filter(|(n, _)| *n != left_out).map(|(_, line)| line).collect();
        assert!(in_order(&read(&lines.join("\n")), Path::new("/r")).is_err(), "without line {left_out}");
    }
}
