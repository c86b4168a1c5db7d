//! `icecore demo`: the whole story on generated data, told as it happens.
//!
//! Everything is done by the functions behind the other commands; only making, copying and comparing directories is the
//! demonstration's own, so that it proves something.

mod instance;
mod random;
mod story;
mod trees;

use std::cell::OnceCell;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use icecore_engine::Archive;

use self::story::Story;
use super::{backup, check, init, restore, snapshots};
use crate::args::{BackupArgs, CheckArgs, DemoArgs, InitArgs, RestoreArgs};
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::{Output, human, say};
use crate::settings::{PasswordSource, Place, Settings};
use crate::{interrupt, repository};

/// The name of the demonstration's series.
const SERIES: &str = "demo";

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

/// The places of the demonstration.
struct Stage {
    instance: PathBuf,
    aside: PathBuf,
    nights: [PathBuf; 2],
    settings: Settings,
    archive: OnceCell<Archive>,
}

impl Stage {
    fn set(base: &Path) -> Self {
        let settings = Settings {
            place: Place::Named(base.join("repository")),
            password: PasswordSource::File(base.join("password")),
            state: base.join("state"),
            can_ask: false,
            configuration: None,
        };
        let nights = [base.join("restored-first-night"), base.join("restored-second-night")];
        Self {
            instance: base.join("instance"),
            aside: base.join("kept-aside"),
            nights,
            settings,
            archive: OnceCell::new(),
        }
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

fn tell(story: &mut Story<'_>, base: &Path) -> Result<()> {
    let stage = Stage::set(base);
    let show = story.shows_progress();
    story.tell(format_args!("icecore demo: everything happens in {}", base.display()))?;

    story.step("An application's directory is made: a database, a mail archive, a wiki, some odd files.", || {
        instance::make(&stage.instance).map_err(Error::file("write to", &stage.instance))?;
        Ok(stage.instance.display().to_string())
    })?;
    story.step("A repository is made, encrypted with a generated password.", || {
        let PasswordSource::File(file) = &stage.settings.password else { return Err(Error::NoPassword) };
        let args = InitArgs { generate_password: Some(file.clone()), label: Some(SERIES.to_owned()) };
        let created = init::create(&args, &stage.settings)?;
        Ok(format!("{}\npassword in {}", created.place.display(), file.display()))
    })?;
    story.step("The first night: icecore backup", || night(&stage, show))?;
    story.step("A copy is kept aside for later. A day passes, and the application changes its files.", || {
        trees::copy(&stage.instance, &stage.aside).map_err(Error::file("copy to", &stage.aside))?;
        instance::change(&stage.instance).map_err(Error::file("change", &stage.instance))?;
        Ok("24 pages of the database were rewritten in part, 25 mails came, a container grew,\n\
            a page of the wiki was renamed, one removed, one made private")
    })?;
    story.step("The second night: icecore backup", || night(&stage, show))?;
    story.step("Both nights stand in the repository: icecore snapshots", || nights(&stage))?;
    for (number, (snapshot, target)) in ["demo~1", "demo"].iter().zip(&stage.nights).enumerate() {
        let title = format!("The {} night is restored: icecore restore {snapshot}", ["first", "second"][number]);
        story.step(&title, || bring_back(&stage, snapshot, target, show))?;
    }
    story.step("The first night is compared with the copy kept aside, byte for byte, metadata included.", || {
        same(&stage.aside, &stage.nights[0])
    })?;
    story.step("The second night is compared with the application's directory as it stands.", || {
        same(&stage.instance, &stage.nights[1])
    })?;
    story.step("Everything in the repository is read and verified: icecore check --read-data", || {
        let report =
            check::perform(CheckArgs { read_data: Some(100), ..CheckArgs::default() }, stage.archive()?, show)?;
        if !report.is_clean() {
            return Err(Error::Demo("the check found damage in a repository that was just made".to_owned()));
        }
        text(|out| check::summarise(&report, out))
    })
}

fn night(stage: &Stage, show: bool) -> Result<String> {
    let begun = Instant::now();
    let args =
        BackupArgs { paths: vec![stage.instance.clone()], name: Some(SERIES.to_owned()), ..BackupArgs::default() };
    let selection = backup::Selection::read(&args)?;
    let report = backup::take(&args, selection, &stage.settings, stage.archive()?, show)?;
    if let Some(problem) = report.snapshot.problems.first() {
        return Err(Error::Demo(format!("{} was not backed up: {}", human::path(&problem.path), problem.message)));
    }
    text(|out| backup::summarise(&report, begun.elapsed(), out))
}

fn nights(stage: &Stage) -> Result<String> {
    let catalogue = stage.archive()?.catalogue()?;
    let stored: Vec<_> = catalogue.snapshots.iter().collect();
    let [first, second] = stored[..] else {
        return Err(Error::Demo(format!("there should be two snapshots, not {}", stored.len())));
    };
    let added = [first, second].map(|stored| stored.snapshot.totals.bytes_added);
    text(|out| {
        snapshots::print(&stored, out)?;
        let [first, second] = added.map(human::bytes);
        let share = 100.0 * added[1] as f64 / added[0].max(1) as f64;
        writeln!(out, "the first night added {first}, the second {second}: {share:.1} % of that")
    })
}

fn bring_back(stage: &Stage, snapshot: &str, target: &Path, show: bool) -> Result<String> {
    let begun = Instant::now();
    let args = RestoreArgs { target: snapshot.into(), to: target.to_owned(), numeric_ids: false, threads: None };
    let restored = restore::perform(&args, stage.archive()?, &stage.archive()?.catalogue()?, show)?;
    if !restore::is_whole(&restored.report) {
        return Err(Error::Demo(format!("{snapshot} was not restored as a whole: {:?}", restored.report)));
    }
    text(|out| {
        writeln!(out, "{}", target.display())?;
        restore::summarise(&restored.report, begun.elapsed(), out)
    })
}

fn same(original: &Path, restored: &Path) -> Result<String> {
    let found = trees::compare(original, restored).map_err(Error::file("compare with", restored))?;
    match found.differences.as_slice() {
        [] => Ok(format!(
            "no difference in {} and {}",
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
