//! `icecore demo`: the whole story on generated data, told as it happens.
//!
//! Everything is done by the functions behind the other commands. The application is a process of its own, and its account
//! of what it wrote, like the comparison of directories, has nothing in common with the engine: so it proves something.
//!
//! | module | what it holds |
//! |---|---|
//! | [`application`] | the process that writes, and the programs that freeze and thaw it |
//! | [`instance`], [`random`] | what its files look like |
//! | [`ledger`] | its account of them |
//! | [`live`] | the process as the demonstration sees it, and the configuration that names it |
//! | [`mod@story`] | how it is told |
//! | [`trees`] | the comparison of two directories |

mod application;
mod instance;
mod ledger;
mod live;
mod random;
mod story;
mod trees;

use std::cell::OnceCell;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use icecore_engine::Archive;
use icecore_engine::backup::Report;
use icecore_engine::snapshot::Verdict;

use self::application::Places;
use self::ledger::Ledger;
use self::live::Application;
use self::story::Story;
use super::backup::{self, Selection};
use super::{check, init, restore, snapshots};
use crate::args::{BackupArgs, CheckArgs, DemoArgs, DemoPart, DemoPartArgs, InitArgs, RestoreArgs};
use crate::config::Configuration;
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::{Output, human, json, say};
use crate::settings::{Manner, PasswordSource, Place, Settings};
use crate::{interrupt, repository};

/// The name of the demonstration's series.
const SERIES: &str = "demo";

/// The name of the last one, when the application has ended.
const AT_REST: &str = "at-rest";

/// How long the application works between the nights.
const DAY: Duration = Duration::from_secs(1);

/// Differences that are told; more would not say more.
const TOLD: usize = 20;

/// Runs the command.
pub fn run(args: &DemoArgs, output: &mut Output) -> Result<Code> {
    interrupt::install()?;
    let mut directory = tempfile::Builder::new()
        .prefix("icecore-demo-")
        .tempdir()
        .map_err(Error::file("make a directory in", std::env::temp_dir()))?;
    let place = directory.path().display().to_string();
    let mut story = Story::begin(output);
    let told = tell(&mut story, directory.path());
    // What went wrong can be looked at, unless it was the user who ended it.
    let keep = args.keep || (told.is_err() && !interrupt::is_raised());
    if keep {
        directory.disable_cleanup(true);
    } else {
        directory.close().map_err(Error::file("remove", &place))?;
    }
    match told {
        Ok(()) => story.end(&place, keep).map(|()| Code::Done),
        Err(error) => {
            if keep {
                say(format_args!("what was made so far is kept in {place}"));
            }
            Err(error)
        }
    }
}

/// Plays a part: the application, or a program of its freezer.
pub fn play(args: &DemoPartArgs) -> Result<Code> {
    let places = Places::at(&args.directory);
    let failed = Error::file("play its part in", &args.directory);
    match args.part {
        DemoPart::Application => application::run(&places),
        DemoPart::Freeze => places.freeze(),
        DemoPart::Thaw => places.thaw(),
        // As status programs say it: 3 is frozen, 0 is not.
        DemoPart::Status => return places.status().map(Code::partial_if).map_err(failed),
    }
    .map(|()| Code::Done)
    .map_err(failed)
}

/// The places of the demonstration.
struct Stage {
    application: Places,
    nights: [PathBuf; 2],
    rest: PathBuf,
    settings: Settings,
    archive: OnceCell<Archive>,
}

impl Stage {
    fn set(base: &Path) -> Result<Self> {
        let (application, repository, key) = (Places::at(base), base.join("repository"), base.join("password"));
        application.make().map_err(Error::file("write to", base))?;
        let file = base.join("config.toml");
        live::configure(&file, SERIES, base, &application, &repository, &key)?;
        let settings = Settings {
            place: Place::Named(repository),
            password: PasswordSource::File(key),
            state: base.join("state"),
            can_ask: false,
            configuration: Configuration::find(Some(&file), &[])?,
            pace: None,
            log: None,
        };
        let nights = [base.join("restored-first-night"), base.join("restored-second-night")];
        let rest = base.join("restored-at-rest");
        Ok(Self { application, nights, rest, settings, archive: OnceCell::new() })
    }

    /// Opened once; every command that it stands for would open it itself.
    fn archive(&self) -> Result<&Archive> {
        if let Some(archive) = self.archive.get() {
            return Ok(archive);
        }
        let opened = repository::open(&self.settings)?;
        Ok(self.archive.get_or_init(|| opened.archive))
    }
}

/// What the application wrote down when it was frozen: its changes so far, and its account of every file.
type State = (u64, Vec<String>);

fn tell(story: &mut Story<'_>, base: &Path) -> Result<()> {
    let stage = Stage::set(base)?;
    let show = story.shows_progress();
    story.tell(format_args!("icecore demo: everything happens in {}", base.display()))?;

    let application = story.step("An application begins to work: a database, mails, an archive, a wiki.", || {
        let application = Application::start(base, &stage.application)?;
        let (process, place) = (application.id(), stage.application.instance.display());
        let told = format!("process {process} writes to {place}, and rests only when it is frozen");
        Ok((application, told))
    })?;
    story.step("A repository is made, and the application named in a configuration.", || {
        let PasswordSource::File(file) = &stage.settings.password else { return Err(Error::NoPassword) };
        let args = InitArgs { generate_password: Some(file.clone()), label: Some(SERIES.to_owned()) };
        let created = init::create(&args, &stage.settings)?;
        let (place, file, base) = (created.place.display(), file.display(), base.display());
        let told =
            format!("{place}, encrypted with the password in {file}\n{base}/config.toml says how to freeze and thaw");
        Ok(((), told))
    })?;
    let first = story.step("The first night, while it works: icecore backup -i demo", || night(&stage, None, show))?;
    story.step("A day passes, in a second.", || {
        thread::sleep(DAY);
        Ok(((), "mails come and go, pages are rewritten, containers grow, indexes are replaced"))
    })?;
    let second = story.step("The second night: icecore backup -i demo", || night(&stage, Some(&first), show))?;
    story.step("Both nights stand in the repository: icecore snapshots", || Ok(((), nights(&stage)?)))?;
    for (number, (state, target)) in [first, second].iter().zip(&stage.nights).enumerate() {
        let (which, snapshot) = [("first", "demo~1"), ("second", "demo")][number];
        story.step(&format!("The {which} night is restored: icecore restore {snapshot}"), || {
            let restored = bring_back(&stage, snapshot, target, show)?;
            Ok(((), format!("{restored}\n{}", as_frozen(state, target)?)))
        })?;
    }
    drop(application);
    story.step("The application ends. What it leaves is backed up, restored, and compared byte for byte.", || {
        let args = BackupArgs {
            paths: vec![stage.application.instance.clone()],
            name: Some(AT_REST.to_owned()),
            ..BackupArgs::default()
        };
        backup(&stage, &args, Selection::read(&args)?, show)?;
        let restored = bring_back(&stage, AT_REST, &stage.rest, show)?;
        Ok(((), format!("{restored}\n{}", same(&stage.application.instance, &stage.rest)?)))
    })?;
    story.step("Everything in the repository is read and verified: icecore check --read-data", || {
        let report =
            check::perform(CheckArgs { read_data: Some(100), ..CheckArgs::default() }, stage.archive()?, show)?;
        if !report.is_clean() {
            return Err(Error::Demo("the check found damage in a repository that was just made".to_owned()));
        }
        Ok(((), text(|out| check::summarise(&report, out))?))
    })
}

fn backup(stage: &Stage, args: &BackupArgs, selection: Selection, show: bool) -> Result<Report> {
    let report = backup::take(args, selection, &stage.settings, stage.archive()?, show)?;
    match report.snapshot.problems.first() {
        Some(problem) => {
            let path = human::path(&problem.path);
            Err(Error::Demo(format!("{path} was not backed up as it was: {}", problem.message)))
        }
        None => Ok(report),
    }
}

/// A night of the frozen application: what that wrote down, and what is told.
fn night(stage: &Stage, before: Option<&State>, show: bool) -> Result<(State, String)> {
    let (begun, args) = (Instant::now(), BackupArgs::default());
    let configuration = stage.settings.configuration()?;
    let instance = configuration.instance(SERIES)?;
    let selection = Selection::of_instance(&args, instance, configuration, &stage.settings)?;
    let report = backup(stage, &args, selection, show)?;
    let elapsed = begun.elapsed();
    let state =
        stage.application.state().map_err(Error::file("read the account beside", &stage.application.instance))?;
    let snapshot = &report.snapshot;
    let (Some(receipt), Verdict::Application) = (&snapshot.receipt, snapshot.verdict) else {
        return Err(Error::Demo(format!("the snapshot claims no more than {}", json::verdict(snapshot.verdict))));
    };
    let totals = &snapshot.totals;
    let changes = match before {
        None => format!("{} changes by then", human::count(state.0)),
        Some(before) => format!("{} changes since the first night", human::count(state.0 - before.0)),
    };
    let lines = [
        format!("snapshot {} of {SERIES}: {}; {changes}", report.id.short(), json::verdict(snapshot.verdict)),
        format!("  window  {}, thawed by the {}", human::window(receipt), json::thawed_by(receipt.thawed_by)),
        format!(
            "  in all  {}, {}: {} new, {} added to the repository",
            human::counted(totals.entries, "entry", "entries"),
            human::bytes(totals.bytes),
            human::bytes(totals.bytes_new),
            human::bytes(totals.bytes_added)
        ),
        format!("  time    {}", human::duration(elapsed)),
    ];
    Ok((state, lines.join("\n")))
}

fn nights(stage: &Stage) -> Result<String> {
    let catalogue = stage.archive()?.catalogue()?;
    let stored: Vec<_> = catalogue.snapshots.iter().collect();
    let [first, second] = stored[..] else {
        return Err(Error::Demo(format!("there should be two snapshots, not {}", stored.len())));
    };
    let added = [first, second].map(|stored| stored.snapshot.totals.bytes_added);
    text(|out| {
        snapshots::print(&stored, Manner::default(), out)?;
        let share = 100.0 * added[1] as f64 / added[0].max(1) as f64;
        writeln!(out, "the second night added {share:.1} % of what the first did")
    })
}

fn bring_back(stage: &Stage, snapshot: &str, target: &Path, show: bool) -> Result<String> {
    let begun = Instant::now();
    let args = RestoreArgs { target: Some(snapshot.into()), to: Some(target.to_owned()), ..RestoreArgs::default() };
    let report = restore::perform(&args, stage.archive()?, &stage.archive()?.catalogue()?, &[], show)?;
    if !restore::is_whole(&report) {
        return Err(Error::Demo(format!("{snapshot} was not restored as a whole: {:?}", report)));
    }
    let (size, time) = (human::bytes(report.bytes), human::duration(begun.elapsed()));
    Ok(format!("{size} in {time} to {}", target.display()))
}

/// Holds a restored night against what the application wrote down when it was frozen.
fn as_frozen((_, expected): &State, restored: &Path) -> Result<String> {
    let found = Ledger::read(restored).map_err(Error::file("read", restored))?;
    let ((files, bytes), lines) = (found.totals(), found.lines());
    let other: Vec<_> = expected.iter().filter(|line| !lines.contains(line)).take(TOLD).cloned().collect();
    if lines != *expected {
        let sentence = "is not what the application wrote down when it was frozen; that was, among others:";
        return Err(Error::Demo(format!("{} {sentence}\n{}", restored.display(), other.join("\n"))));
    }
    Ok(format!(
        "no difference in {} and {} from what the application wrote down while it was frozen (hash {})",
        human::counted(files, "file", "files"),
        human::bytes(bytes),
        ledger::seal(&lines)
    ))
}

fn same(original: &Path, restored: &Path) -> Result<String> {
    let found = trees::compare(original, restored).map_err(Error::file("compare with", restored))?;
    match found.differences.as_slice() {
        [] => Ok(format!(
            "the same in {} and {}: content, holes, links, owners, permissions, times, attributes",
            human::counted(found.entries, "entry", "entries"),
            human::bytes(found.bytes)
        )),
        differences => Err(Error::Demo(format!("what was restored differs:\n{}", differences.join("\n")))),
    }
}

/// What is printed, as text.
fn text(print: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> Result<String> {
    let mut bytes = Vec::new();
    print(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
