//! One snapshot, from its choice to its proof.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use icecore_engine::annotate::Author;
use icecore_engine::annotation::{MAX_MESSAGE_LEN, Proof, ProofVerdict};
use icecore_engine::entry::Timestamp;
use icecore_engine::restore::{Destination, Filter, Mode, RestoreJob, RestoreReport, restore};
use icecore_engine::{Archive, Error as EngineError, Stored};
use icecore_service::report::{Drilled, Worth};
use icecore_source::claim::meet;
use icecore_source::freezer::FreezeError;
use icecore_source::freezer::service::{check_program, run_test};
use icecore_source::target::scratch::Scratch;

use super::choose::{Which, choose};
use crate::commands::{restore as restoring, threads};
use crate::config::Instance;
use crate::error::{Error, Result};
use crate::exit::{self, Code, Sorted};
use crate::output::{human, progress};
use crate::settings::Settings;
use crate::{interrupt, time, world};

/// The name of the copy in its scratch directory, which nobody else may enter whatever the modes of the copy are.
const COPY: &str = "restored";

/// Bytes from the beginning of a message that stay when it is too long: what failed. The others are from the end of what a
/// program said.
const HEAD: usize = 1024;

/// What came of a snapshot that was tried.
#[derive(Debug)]
pub struct Attempt {
    pub drilled: Drilled,
    /// What is an alarm: the first is that of the snapshot, if it failed.
    pub failures: Vec<Sorted>,
    /// What came of it stands beside the snapshot.
    pub is_recorded: bool,
    /// What went wrong beside.
    pub warnings: Vec<String>,
}

/// What a snapshot proved to be worth.
struct Finding {
    worth: Worth,
    /// As it is recorded.
    message: String,
    /// What may be done about a failure.
    hint: Option<String>,
    tested: Option<Duration>,
}

impl Finding {
    fn proof(&self, began: Timestamp, took: Duration) -> Proof {
        Proof {
            began,
            verdict: if self.worth == Worth::Failed { ProofVerdict::Failed } else { ProofVerdict::Ok },
            seconds: took.as_secs(),
            message: self.message.clone(),
            test_seconds: self.tested.map(|tested| tested.as_secs()),
        }
    }
}

/// Tries a snapshot of an instance, and records what came of it.
///
/// # Errors
/// It could not be tried, and nothing is recorded.
pub fn attempt(
    instance: &Instance,
    which: Which,
    settings: &Settings,
    archive: &Archive,
    show: bool,
) -> Result<Attempt> {
    let (began, begun) = (time::now(), Instant::now());
    let catalogue = archive.catalogue()?;
    let host = world::host_name();
    let stored = choose(&catalogue, &instance.name, &host, which)?;
    let scratch = make_scratch(instance, settings, archive)?;
    let test = test_program(instance, stored, &scratch.path())?;
    let report = bring_back(stored, &scratch, settings, archive, show)?;
    let restored = begun.elapsed();
    let finding = judge(instance, stored, &report, restored, test.as_deref(), &scratch)?;

    let mut failures = Vec::new();
    if finding.worth == Worth::Failed {
        let of = format!("snapshot {} of {}", stored.id.short(), time::local(stored.snapshot.taken));
        let message = format!("{of}: {}", human::printable(&finding.message));
        failures.push(Sorted { message, hint: finding.hint.clone(), code: Code::Failed });
    }
    let author = Author { host, user: world::user_name(), now: time::now() };
    let recorded = archive.record_proof(stored, finding.proof(began, begun.elapsed()), &author);
    let is_recorded = recorded.is_ok();
    if let Err(error) = recorded {
        let sorted = exit::sort(&error.into());
        failures.push(Sorted { message: format!("the result cannot be recorded: {}", sorted.message), ..sorted });
    }
    let mut warnings = catalogue.damaged.clone();
    warnings.extend(scratch.remove().err().map(|error| error.to_string()));
    let drilled = Drilled {
        snapshot: stored.id.to_string(),
        result: finding.worth,
        restore_seconds: restored.as_secs_f64(),
        test_seconds: finding.tested.map(|tested| tested.as_secs_f64()),
        files: report.files,
        bytes: report.bytes,
        missing: report.missing_count,
        message: finding.message,
    };
    Ok(Attempt { drilled, failures, is_recorded, warnings })
}

/// Makes the directory to restore into, where no backup reads. Unless another place is configured that is beside the index,
/// which every backup leaves out.
fn make_scratch(instance: &Instance, settings: &Settings, archive: &Archive) -> Result<Scratch> {
    let (registry, host) = (settings.scratch(), world::host_name());
    let Some(parent) = &instance.drill.scratch else {
        let parent = archive.index_path().with_file_name("scratch");
        fs::create_dir_all(&parent).map_err(Error::file("make", &parent))?;
        return Ok(Scratch::make(&registry, &parent, &host)?);
    };
    for other in &settings.configuration()?.instances {
        for root in &other.roots {
            // A name that nothing has: a directory that only holds a root is well.
            if meet(&parent.join("icecore-scratch"), &root.path).map_err(Error::file("look at", parent))? {
                return Err(Error::Refused(format!(
                    "the scratch directory {} is in the root {} of instance {}, whose backups would hold the copy: name \
                     another one under [drill]",
                    parent.display(),
                    root.name,
                    other.name
                )));
            }
        }
    }
    Ok(Scratch::make(&registry, parent, &host)?)
}

/// Where a root of a snapshot is restored to.
fn place(stored: &Stored, root: &str, scratch: &Path) -> PathBuf {
    let copy = scratch.join(COPY);
    if stored.snapshot.roots.len() == 1 { copy } else { copy.join(root) }
}

/// The program that tests the copy. It must be told where that is: else it would test the live files. And it must be able to
/// run, unless it stands in the copy itself, which is not there yet.
fn test_program(instance: &Instance, stored: &Stored, scratch: &Path) -> Result<Option<Vec<String>>> {
    let (name, roots) = (&instance.name, &stored.snapshot.roots);
    let Some(test) = instance.test_program(|root| place(stored, &root.name, scratch)) else { return Ok(None) };
    if instance.tested_roots().next().is_none() {
        return Err(Error::Refused(format!(
            "`verify` of instance {name} is not told where the restored copy is, and would test something else: {}",
            instance.stand_ins()
        )));
    }
    if let Some(root) = instance.tested_roots().find(|root| !roots.iter().any(|held| held.name == root.name)) {
        let (id, root) = (stored.id.short(), &root.name);
        return Err(Error::Refused(format!(
            "`verify` of instance {name} tests the root {root}, which snapshot {id} does not have: try one that has it"
        )));
    }
    if !instance.is_test_in_a_root() {
        expect_program(instance, &test)?;
    }
    Ok(Some(test))
}

fn expect_program(instance: &Instance, test: &[String]) -> Result<()> {
    check_program(test).map_err(|source| Error::Freezer { instance: instance.name.clone(), source: source.into() })
}

/// Refuses to test what the copy leads out of itself to: the live files, or anybody's.
fn expect_within(instance: &Instance, stored: &Stored, scratch: &Path) -> Result<()> {
    let whole = scratch.canonicalize().map_err(Error::file("look at", scratch))?;
    for path in instance.tested_places(|root| place(stored, &root.name, scratch)) {
        // What is not there yet would stand where the directory above it is.
        let Some((named, found)) = path.ancestors().find_map(|path| Some((path, path.canonicalize().ok()?))) else {
            continue;
        };
        if !found.starts_with(&whole) {
            let named = named.strip_prefix(scratch.join(COPY)).unwrap_or(named);
            return Err(Error::Refused(format!(
                "`verify` of instance {} would test something else than the restored copy: {} in the copy leads to {}; \
                 name what that links to as a root of its own",
                instance.name,
                named.display(),
                found.display()
            )));
        }
    }
    Ok(())
}

/// Restores all of a snapshot, and reads it back.
fn bring_back(
    stored: &Stored,
    scratch: &Scratch,
    settings: &Settings,
    archive: &Archive,
    show: bool,
) -> Result<RestoreReport> {
    let job = RestoreJob {
        stored,
        path: Vec::new(),
        filter: Filter::default(),
        destination: Destination { to: Some(scratch.path().join(COPY)), roots: Vec::new() },
        mode: Mode::New,
        rehash: false,
        verify: true,
        numeric_ids: false,
        threads: threads(settings.configuration()?.limits.threads),
        spool: archive.index_path().parent().map(Path::to_owned),
        scratch: true,
        // The index stands beside the scratch directory, and is in no danger from one that is new.
        leave_out: restoring::identities(&[settings.place.directory()])?,
        now: time::now(),
    };
    progress::attend(show, |progress| restore(archive, &job, progress))?.map_err(|error| match error {
        EngineError::NoRoom { path, needed, free } => {
            let place = path.ancestors().nth(2).unwrap_or(&path).display();
            Error::Refused(format!(
                "no room to practise the restore of snapshot {}: {} are needed, and {place} has {} free; make room, or name \
                 another directory with `scratch` of [drill]",
                stored.id.short(),
                human::bytes(needed),
                human::bytes(free)
            ))
        }
        EngineError::Interrupted => Error::Interrupted,
        error => Error::Engine(error),
    })
}

/// Says what a copy is worth: tests it, if everything is there and something can.
fn judge(
    instance: &Instance,
    stored: &Stored,
    report: &RestoreReport,
    restored: Duration,
    test: Option<&[String]>,
    scratch: &Scratch,
) -> Result<Finding> {
    if !restoring::is_whole(report) {
        let hint = match report.missing_count {
            0 => "restore as a user who may set it, to a file system that can hold it",
            _ => "`icecore check --read-data` says what is damaged",
        };
        let (message, hint) = (bounded(loss(report)), Some(hint.to_owned()));
        return Ok(Finding { worth: Worth::Failed, message, hint, tested: None });
    }
    let (files, bytes) = (human::counted(report.files, "file", "files"), human::bytes(report.bytes));
    let done = format!("{files}, {bytes}, restored and read back in {}", human::duration(restored));
    let (Some(test), Some(verify)) = (test, &instance.verify) else {
        let message = format!("{done}; not tested: the instance has no `verify`");
        return Ok(Finding { worth: Worth::Restored, message, hint: None, tested: None });
    };
    expect_within(instance, stored, &scratch.path())?;
    expect_program(instance, test)?;
    let begun = Instant::now();
    let tested = run_test(test, &[scratch.mark()], instance.drill.timeout, &|| !interrupt::is_raised());
    let elapsed = begun.elapsed();
    match tested {
        Ok(()) => {
            let message = bounded(format!("{done}; `{}` passed in {}", verify.join(" "), human::duration(elapsed)));
            Ok(Finding { worth: Worth::Verified, message, hint: None, tested: Some(elapsed) })
        }
        // It may have been ended for that.
        Err(_) if interrupt::is_raised() => Err(Error::Interrupted),
        Err(error) => {
            // The copy is gone when this is read.
            let said = in_one_line(&error).replace(&test.join(" "), &verify.join(" "));
            let message = bounded(format!("{said} ({done})"));
            let hint = format!("`icecore restore {} --to DIR` brings it back to be looked at", stored.id.short());
            Ok(Finding { worth: Worth::Failed, message, hint: Some(hint), tested: Some(elapsed) })
        }
    }
}

/// What could not be restored, counted, with the first of each kind.
fn loss(report: &RestoreReport) -> String {
    let mut parts = Vec::new();
    if report.missing_count > 0 {
        let first = report.missing.first();
        let first = first.map_or_else(String::new, |lost| {
            format!(", the first: {}: {}", String::from_utf8_lossy(&lost.path), lost.message)
        });
        parts.push(format!("not restored: {}{first}", human::counted(report.missing_count, "entry", "entries")));
    }
    parts.extend(report.faults.iter().map(|fault| {
        let entries = human::counted(fault.count, "entry", "entries");
        format!("{} of {entries} could not be set, the first: {}", fault.kind, fault.example)
    }));
    parts.join("; ")
}

/// What failed, and what was said.
fn in_one_line(error: &FreezeError) -> String {
    let said = error.output.iter().flat_map(|output| output.lines()).map(str::trim);
    let said: Vec<_> = said.filter(|line| !line.is_empty()).collect();
    if said.is_empty() { error.message.clone() } else { format!("{}: {}", error.message, said.join(" | ")) }
}

/// A message as a record can hold it: without its middle if it is too long.
fn bounded(message: String) -> String {
    const GAP: &str = " … ";
    if message.len() <= MAX_MESSAGE_LEN {
        return message;
    }
    let is_boundary = |at: &usize| message.is_char_boundary(*at);
    let head = (0..=HEAD).rev().find(is_boundary).unwrap_or_default();
    let tail = (message.len() - (MAX_MESSAGE_LEN - HEAD - GAP.len())..).find(is_boundary).unwrap_or_default();
    [&message[..head], GAP, &message[tail..]].concat()
}

#[cfg(test)]
mod tests {
    use icecore_source::freezer::FreezeErrorKind;

    use super::*;

    #[test]
    fn a_message_keeps_its_beginning_and_its_end() {
        assert_eq!(bounded("short".to_owned()), "short");
        for letter in ["a", "ä", "€"] {
            let long = format!("begin{}end", letter.repeat(4000));
            let kept = bounded(long.clone());
            assert!(kept.len() <= MAX_MESSAGE_LEN || long.len() <= MAX_MESSAGE_LEN, "{}", kept.len());
            assert!(kept.len() > MAX_MESSAGE_LEN - 10 || kept == long, "{}", kept.len());
            assert!(kept.starts_with("begin") && kept.ends_with("end"));
        }
    }

    #[test]
    fn what_a_program_said_becomes_one_line() {
        let error = FreezeError::new(FreezeErrorKind::Failed, "`x` failed");
        assert_eq!(in_one_line(&error), "`x` failed");
        assert_eq!(in_one_line(&error.with_output(" a\n\n  b \n")), "`x` failed: a | b");
    }
}
