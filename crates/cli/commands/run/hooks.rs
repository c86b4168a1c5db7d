//! Programs of the user's around a run and around each of its instances.

use std::ffi::OsString;
use std::io::Write as _;
use std::time::Duration;

use icecore_service::Failure;
use icecore_source::freezer::run_program;
use serde::Serialize;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::tasks::Tasks;
use crate::exit::{Code, Sorted};
use crate::output::json;

/// What a program said, if there was one; or that it failed, with what it said.
pub type Hooked = Result<Option<String>, Sorted>;

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
    /// Runs a program at a moment, with the facts in its environment and the report in a file that is gone afterwards.
    pub fn hook(
        &self,
        moment: &str,
        program: &Option<Vec<String>>,
        timeout: Duration,
        facts: Facts<'_>,
        report: &impl Serialize,
    ) -> Hooked {
        let Some(program) = program else { return Ok(None) };
        let failed = |why: String| Sorted {
            message: match facts.instance {
                Some(instance) => format!("instance {instance}: the hook `{moment}`: {why}"),
                None => format!("the hook `{moment}`: {why}"),
            },
            hint: None,
            code: Code::Failed,
        };
        let file =
            self.report_file(report).map_err(|error| failed(format!("its report cannot be written: {error}")))?;
        let mut environment: Vec<(&str, OsString)> = vec![
            ("ICECORE_HOOK", moment.into()),
            ("ICECORE_REPOSITORY", self.settings.place.directory().into()),
            ("ICECORE_CODE", facts.code.to_string().into()),
            ("ICECORE_ERROR", facts.error.map_or_else(OsString::new, |error| error.message.clone().into())),
            ("ICECORE_REPORT", file.path().into()),
        ];
        environment.extend(facts.instance.map(|instance| ("ICECORE_INSTANCE", instance.into())));
        environment.extend(facts.snapshot.map(|snapshot| ("ICECORE_SNAPSHOT", snapshot.into())));
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_os_str())).collect();
        let said = run_program(program, &environment, timeout).map_err(|error| failed(error.to_string()))?;
        Ok(Some(format!("hook `{moment}`: {}", if said.trim().is_empty() { "done" } else { said.trim_end() })))
    }

    /// A file that only this user can read, and that goes when it is dropped.
    fn report_file(&self, report: &impl Serialize) -> std::io::Result<NamedTempFile> {
        let directory = self.settings.state.join("runs");
        std::fs::create_dir_all(&directory)?;
        let mut file = tempfile::Builder::new().prefix("report-").suffix(".json").tempfile_in(directory)?;
        let mut document = serde_json::Map::from_iter([("version".to_owned(), json::VERSION.into())]);
        if let Value::Object(fields) = serde_json::to_value(report)? {
            document.extend(fields);
        }
        file.write_all(&serde_json::to_vec_pretty(&document)?)?;
        file.flush()?;
        Ok(file)
    }
}
