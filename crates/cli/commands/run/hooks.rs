//! Programs of the user's around a run and around each of its instances.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use icecore_service::Failure;
use icecore_source::freezer::run_program;
use serde::Serialize;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::tasks::Tasks;
use crate::exit::{Code, Sorted};
use crate::output::json;

/// Bytes of what failed that a program gets in its environment, which the system limits; the report has all of it.
const ERROR_LEN: usize = 8 << 10;

/// The name of a report, around what makes it unique.
const PREFIX: &str = "report-";
const SUFFIX: &str = ".json";

/// How old a report is that nobody reads any more: its run was killed.
const LEFT: Duration = Duration::from_secs(24 * 60 * 60);

/// What became of a hook.
#[derive(Debug, Default)]
pub struct Hooked {
    /// What the program said, if there was one.
    pub said: Option<String>,
    /// It failed, with what it said.
    pub failure: Option<Sorted>,
    /// The report that it could not be given.
    pub warning: Option<String>,
}

/// What a hook may want to know.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Its instance, if it is that of one.
    pub instance: Option<&'a str>,
    /// The snapshot that was taken.
    pub snapshot: Option<&'a str>,
    /// The exit code so far.
    pub code: u8,
    /// What failed.
    pub error: Option<&'a Failure>,
}

impl Tasks<'_> {
    /// Runs a program at a moment, with the facts in its environment and the report in a file that is gone afterwards. It runs
    /// without the report if that cannot be written: on a full disk the last hooks are needed most.
    pub fn hook(
        &self,
        moment: &str,
        program: &Option<Vec<String>>,
        timeout: Duration,
        facts: Facts<'_>,
        report: &impl Serialize,
    ) -> Hooked {
        let Some(program) = program else { return Hooked::default() };
        let tell = |why: String| match facts.instance {
            Some(instance) => format!("instance {instance}: the hook `{moment}`: {why}"),
            None => format!("the hook `{moment}`: {why}"),
        };
        let file = self.report_file(report);
        let path = file.as_ref().map_or_else(|_| OsString::new(), |file| file.path().into());
        let mut environment: Vec<(&str, OsString)> = vec![
            ("ICECORE_HOOK", moment.into()),
            ("ICECORE_REPOSITORY", self.settings.place.directory().into()),
            ("ICECORE_CODE", facts.code.to_string().into()),
            ("ICECORE_ERROR", facts.error.map_or_else(String::new, |error| bounded(&error.message)).into()),
            ("ICECORE_REPORT", path),
        ];
        environment.extend(facts.instance.map(|instance| ("ICECORE_INSTANCE", instance.into())));
        environment.extend(facts.snapshot.map(|snapshot| ("ICECORE_SNAPSHOT", snapshot.into())));
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_os_str())).collect();
        let (said, failure) = match run_program(program, &environment, timeout) {
            Ok(said) if said.trim().is_empty() => (Some(format!("hook `{moment}`: done")), None),
            Ok(said) => (Some(format!("hook `{moment}`: {}", said.trim_end())), None),
            Err(error) => (None, Some(Sorted { message: tell(error.to_string()), hint: None, code: Code::Failed })),
        };
        let warning =
            file.err().map(|error| tell(format!("it ran without its report, which cannot be written: {error}")));
        Hooked { said, failure, warning }
    }

    /// A file that only this user can read, and that goes when it is dropped.
    fn report_file(&self, report: &impl Serialize) -> std::io::Result<NamedTempFile> {
        let directory = self.settings.state.join("runs");
        std::fs::create_dir_all(&directory)?;
        clear_away(&directory);
        let mut file = tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).tempfile_in(directory)?;
        let mut document = serde_json::Map::from_iter([("version".to_owned(), json::VERSION.into())]);
        if let Value::Object(fields) = serde_json::to_value(report)? {
            document.extend(fields);
        }
        file.write_all(&serde_json::to_vec_pretty(&document)?)?;
        file.flush()?;
        Ok(file)
    }
}

/// A text as an environment can hold it.
fn bounded(text: &str) -> String {
    let mut text = text.replace('\0', "\u{fffd}");
    if text.len() > ERROR_LEN {
        let end = (0..=ERROR_LEN).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
    }
    text
}

/// Removes reports that runs which were killed have left. Should one stay, it takes a little room.
fn clear_away(directory: &Path) {
    let entries = directory.read_dir().into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_report = name.starts_with(PREFIX) && name.ends_with(SUFFIX);
        let modified = entry.metadata().and_then(|found| found.modified());
        if is_report && modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LEFT)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_any_kind_fits_into_the_environment() {
        assert_eq!(bounded("a\0b"), "a\u{fffd}b");
        let long = bounded(&"ä\0".repeat(ERROR_LEN));
        assert!(long.len() <= ERROR_LEN && long.len() > ERROR_LEN - 4 && !long.contains('\0'), "{}", long.len());
    }

    #[test]
    fn reports_that_were_left_are_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH;
        for (name, is_old) in [("report-a.json", true), ("report-b.json", false), ("abc.json", true)] {
            let file = std::fs::File::create(directory.path().join(name)).unwrap();
            if is_old {
                file.set_modified(old).unwrap();
            }
        }
        clear_away(directory.path());
        let stands = |name: &str| directory.path().join(name).exists();
        assert!(!stands("report-a.json") && stands("report-b.json") && stands("abc.json"));
    }
}
