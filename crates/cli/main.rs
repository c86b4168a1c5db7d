//! The command line of icecore: arguments, output, exit codes.
//!
//! ```text
//! args (what was typed) ─┐
//!                        ├─ settings (what it means) ─▶ commands ─▶ output (stdout) and talk (stderr) ─▶ exit code
//! world (looked at once) ┘
//! ```

mod args;
mod commands;
mod complete;
mod config;
mod error;
mod exit;
mod interrupt;
mod log;
mod output;
mod paced;
mod password;
mod recovery;
mod repository;
mod settings;
mod time;
mod world;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command, ConfigCommand, InstanceCommand, KeyCommand};
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::log::Logging;
use crate::output::{Output, human, json, say};
use crate::recovery::Recovery;
use crate::settings::{Manner, Settings};
use crate::world::World;

fn main() -> ExitCode {
    match complete::answer() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(unknown) => {
            let _ = unknown.print();
            return ExitCode::from(Code::Misuse as u8);
        }
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(shown) => {
            // Help and version come this way too. If nobody can be told, nobody is.
            let _ = shown.print();
            return ExitCode::from(if shown.use_stderr() { Code::Misuse } else { Code::Done } as u8);
        }
    };
    world::raise_file_limit();
    let world = World::look();
    time::tell_in(cli.global.utc);
    let mut output = Output::lock(Manner::decide(&cli.global, &world), cli.command.name());
    let logging = Logging::begin(&cli);
    // Before the configuration is read, which may be broken: an instance that stands still comes first.
    let recovery = Recovery::begin(&cli, &world, &output);
    let code = run(&cli, &world, &recovery, &logging, &mut output)
        .and_then(|code| Ok(output.flush().map(|()| code)?))
        .unwrap_or_else(|error| tell(&error, &mut output));
    let code = code.worst(recovery.code) as u8;
    logging.end(code);
    ExitCode::from(code)
}

fn run(cli: &Cli, world: &World, recovery: &Recovery, logging: &Logging, output: &mut Output) -> Result<Code> {
    let settings = || {
        let settings = Settings::resolve(&cli.global, world)?;
        logging.open(settings.configuration.as_ref());
        Ok(settings)
    };
    match &cli.command {
        Command::Demo(args) => commands::demo::run(args, output),
        Command::Init(args) => commands::init::run(args, &settings()?, output),
        Command::Backup(args) => commands::backup::run(args, &settings()?, output),
        Command::Snapshots(args) => commands::snapshots::run(args, &settings()?, output),
        Command::Show(args) => commands::show::run(args, &settings()?, output),
        Command::Ls(args) => commands::ls::run(args, &settings()?, output),
        Command::Cat(args) => commands::cat::run(args, &settings()?, output),
        Command::Find(args) => commands::find::run(args, &settings()?, output),
        Command::Diff(args) => commands::diff::run(args, &settings()?, output),
        Command::Tag(args) => commands::tag::run(args, &settings()?, output),
        Command::History(args) => commands::history::run(args, &settings()?, output),
        Command::Restore(args) => commands::restore::run(args, &settings()?, output),
        Command::Mount(args) => commands::mount::run(args, &settings()?, output),
        Command::Forget(args) => commands::forget::run(args, &settings()?, output),
        Command::Drill(args) => commands::drill::run(args, &settings()?, output),
        Command::Run(args) => commands::run::run(args, &settings()?, recovery, output),
        Command::Prune(args) => commands::prune::run(args, &settings()?, output),
        Command::Check(args) => commands::check::run(*args, &settings()?, output),
        Command::Repair(args) => commands::repair::run(*args, &settings()?, output),
        Command::Copy(args) => commands::copy::run(args, &settings()?, output),
        Command::Stats(args) => commands::stats::run(args, &settings()?, output),
        Command::Key(KeyCommand::List) => commands::key::list(&settings()?, output),
        Command::Key(KeyCommand::Add(args)) => commands::key::add(args, &settings()?, output),
        Command::Key(KeyCommand::Remove(args)) => commands::key::remove(args, &settings()?, output),
        Command::Key(KeyCommand::Change(args)) => commands::key::change(args, &settings()?, output),
        Command::Instance(InstanceCommand::List) => commands::instance::list::run(&settings()?, output),
        Command::Instance(InstanceCommand::Status(args)) => commands::instance::status::run(args, &settings()?, output),
        Command::Instance(InstanceCommand::Thaw(args)) => {
            commands::instance::thaw::run(args, recovery, settings, output)
        }
        Command::Instance(InstanceCommand::TestFreeze(args)) => {
            commands::instance::test_freeze::run(args, &settings()?, output)
        }
        Command::Instance(InstanceCommand::Discover(args)) => {
            commands::instance::discover::run(args, &cli.global, output)
        }
        Command::Config(ConfigCommand::Check) => commands::config::check::run(&cli.global, world, output),
        Command::Config(ConfigCommand::Show) => commands::config::show(&settings()?, output),
        Command::Config(ConfigCommand::Example) => commands::config::example(output),
        Command::Config(ConfigCommand::Systemd(args)) => commands::config::systemd::run(args, &settings()?, output),
        Command::RebuildIndex => commands::rebuild_index::run(&settings()?, output),
        Command::Completions(args) => commands::completions::run(args, output),
        Command::Man(args) => commands::man::run(args, output),
        Command::Guardian(args) => commands::guardian::run(args, output),
        Command::DemoPart(args) => commands::demo::play(args),
    }
}

/// Tells the user of an error; programs that read JSON find it where they look for the result.
fn tell(error: &Error, output: &mut Output) -> Code {
    let sorted = exit::sort(error);
    // Paths and programs' words stand in messages: they must not play tricks on a terminal.
    let clean = |text: &str| text.split('\n').map(human::printable).collect::<Vec<_>>().join("\n");
    say(format_args!("icecore: {}", clean(&sorted.message)));
    tracing::error!(code = sorted.code as u8, hint = sorted.hint.as_deref(), "{}", sorted.message);
    if let Some(hint) = &sorted.hint {
        say(format_args!("  {}", clean(hint)));
    }
    if output.manner().json && !output.has_begun() {
        // What failed may be stdout itself, and stderr has said it.
        let _ = output.document(json::error(&sorted));
    }
    let _ = output.flush();
    sorted.code
}
