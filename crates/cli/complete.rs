//! What a shell completes: what this host knows of itself, found without a password, a question, a change or a wait.
//!
//! ```text
//! shell ─▶ ICECORE_COMPLETE=SHELL icecore -- WORDS ─▶ clap_complete ─▶ a function here ─▶ candidates
//! WORDS, environment, configuration ─▶ settings ─┬─ configured instances
//!                                                └─ names of records in the repository, records in the local index
//! ```

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::{CommandFactory, FromArgMatches};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use icecore_engine::{Remembered, Stored};
use icecore_store::LocalStore;

use crate::args::{Cli, Global};
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::time;
use crate::world::{self, World};

/// The variable by which a shell asks, with its own name.
const ASKS: &str = "ICECORE_COMPLETE";

/// Ids that are offered where nothing of one was typed.
const NEWEST: usize = 10;

/// Nights before the newest that are offered behind a `~`.
const BEFORE: usize = 9;

/// Answers if a shell asks; whether one did.
///
/// # Errors
/// A shell that is not known.
pub fn answer() -> clap::error::Result<bool> {
    let here = std::env::current_dir().ok();
    CompleteEnv::with_factory(Cli::command).var(ASKS).try_complete(world::command_line(), here.as_deref())
}

/// The script by which a shell learns to ask.
pub fn script(shell: &str) -> Result<Vec<u8>> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let known = shells.completer(shell).ok_or_else(|| Error::Misuse(format!("the shell {shell} is not known")))?;
    known.write_registration(ASKS, "icecore", "icecore", "icecore", &mut script)?;
    Ok(script)
}

/// For what names a snapshot: series, `latest`, `NAME~N`, and ids.
pub fn snapshots() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let Some(remembered) = remembered() else { return Vec::new() };
        matching(typed, selectors(&remembered, &typed.to_string_lossy()))
    })
}

/// For the name of a series.
pub fn series() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let Some(remembered) = remembered() else { return Vec::new() };
        matching(typed, names(&remembered))
    })
}

/// For the name of a configured instance.
pub fn instances() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let configuration = settings().and_then(|settings| settings.configuration);
        let instances = configuration.into_iter().flat_map(|configuration| configuration.instances);
        matching(typed, instances.map(|instance| (instance.name, "a configured instance".to_owned())))
    })
}

/// For a tag.
pub fn tags() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let Some(remembered) = remembered() else { return Vec::new() };
        let mut tags: BTreeMap<String, String> = BTreeMap::new();
        // The newest that has it comes last.
        for stored in &remembered.snapshots {
            tags.extend(stored.snapshot.tags.iter().map(|tag| (tag.clone(), told(stored))));
        }
        matching(typed, tags)
    })
}

fn matching(typed: &OsStr, candidates: impl IntoIterator<Item = (String, String)>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let candidates = candidates.into_iter().filter(|(word, _)| word.starts_with(&*typed) && is_one_word(word));
    candidates.map(|(word, what)| CompletionCandidate::new(word).help(Some(what.into()))).collect()
}

/// Whether no shell takes it apart, nor a selector: some shells put a candidate on the line as it is.
fn is_one_word(word: &str) -> bool {
    word.chars().all(|c| c.is_alphanumeric() || "-_./+,~".contains(c)) && !word.starts_with(['-', '~'])
}

fn selectors(remembered: &Remembered, typed: &str) -> Vec<(String, String)> {
    let Remembered { snapshots, others } = remembered;
    if let Some((name, _)) = typed.split_once('~') {
        let of_series = snapshots.iter().rev().filter(|stored| name == "latest" || stored.snapshot.instance == name);
        let before = of_series.enumerate().skip(1).take(BEFORE);
        return before.map(|(steps, stored)| (format!("{name}~{steps}"), meant(remembered, stored))).collect();
    }
    let mut candidates = names(remembered);
    candidates.extend(snapshots.last().map(|newest| ("latest".to_owned(), meant(remembered, newest))));
    let most = if typed.is_empty() { NEWEST } else { usize::MAX };
    let known = snapshots.iter().rev().map(|stored| (stored.id.short(), told(stored)));
    let unknown = others.iter().map(|id| (id.short(), "a snapshot".to_owned()));
    candidates.extend(known.chain(unknown).take(most));
    candidates
}

/// The names of all series, each with its newest snapshot.
fn names(remembered: &Remembered) -> Vec<(String, String)> {
    let series: BTreeMap<_, _> = remembered
        .snapshots
        .iter()
        .map(|stored| (stored.snapshot.instance.clone(), meant(remembered, stored)))
        .collect();
    series.into_iter().collect()
}

/// What a word means that goes by order: not told where this host does not know all snapshots, one of which may be meant.
fn meant(remembered: &Remembered, stored: &Stored) -> String {
    if remembered.others.is_empty() { told(stored) } else { stored.snapshot.instance.clone() }
}

/// A snapshot in a few words.
fn told(stored: &Stored) -> String {
    let snapshot = &stored.snapshot;
    format!("{}, {}", snapshot.instance, time::local(snapshot.taken))
}

fn remembered() -> Option<Remembered> {
    let settings = settings()?;
    let store = LocalStore::open_untouched(settings.place.directory()).ok()?;
    Remembered::load(&store, &settings.state).ok()
}

/// What the line that is being typed means so far.
fn settings() -> Option<Settings> {
    let words: Vec<OsString> = world::command_line().into_iter().skip_while(|word| word != "--").skip(1).collect();
    let typed = Cli::command().ignore_errors(true).try_get_matches_from(words);
    let global = typed.ok().and_then(|typed| Global::from_arg_matches(&typed).ok()).unwrap_or_default();
    time::tell_in(global.utc);
    let world = World::look();
    // What is no file may keep the shell waiting.
    let named = global.config.as_ref().or(world.config.as_ref());
    if named.is_some_and(|file| !std::fs::metadata(file).is_ok_and(|found| found.is_file())) {
        return None;
    }
    Settings::resolve(&global, &world).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_take_apart_is_not_offered() {
        for (word, offered) in [
            ("wiki", true),
            ("/srv/data", true),
            ("Grüße_1", true),
            ("wiki~2", true),
            ("a b", false),
            ("a:b", false),
            ("$x", false),
            ("-x", false),
        ] {
            assert_eq!(is_one_word(word), offered, "{word}");
        }
    }

    #[test]
    fn every_shell_has_a_script() {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            assert!(String::from_utf8(script(shell).unwrap()).unwrap().contains(ASKS), "{shell}");
        }
        assert!(script("sh").is_err());
    }
}
