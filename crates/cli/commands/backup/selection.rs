//! What is backed up: paths that were typed, or a configured instance.

use std::fs;
use std::path::Path;

use icecore_engine::snapshot::Snapshot;
use icecore_source::freezer::FreezerConfig;
use icecore_source::{ExcludeFile, Excludes, Root};

use crate::args::BackupArgs;
use crate::config::{Configuration, Freezing, Instance, Ours};
use crate::error::{Error, Result};
use crate::output::human;
use crate::settings::Settings;

/// What is to be backed up, found to be there.
#[derive(Debug)]
pub struct Selection {
    /// The name of the series.
    pub instance: String,
    /// The directories.
    pub roots: Vec<Root>,
    /// What is left out.
    pub excludes: Excludes,
    /// The same as it was typed, that of files included.
    pub patterns: Vec<String>,
    /// How it is frozen, if it is.
    pub freezing: Option<Freezing>,
}

impl Selection {
    /// Looks at the paths and patterns.
    pub fn read(args: &BackupArgs) -> Result<Self> {
        let roots = args.paths.iter().map(|path| root(path)).collect::<Result<Vec<_>>>()?;
        let paths: Vec<_> = roots.iter().map(|root| root.path.to_string_lossy()).collect();
        let instance = args.name.clone().unwrap_or_else(|| paths.join(" + "));
        Snapshot::check_instance(&instance).map_err(|_| {
            Error::Misuse(format!(
                "\"{}\" cannot name a series: choose another with --name NAME",
                human::printable(&instance)
            ))
        })?;
        let (excludes, patterns) = excludes(&[], args)?;
        Ok(Self { instance, roots, excludes, patterns, freezing: None })
    }

    /// Looks at an instance. What it leaves out, and what was typed to be left out, both count.
    pub fn of_instance(
        args: &BackupArgs,
        instance: &Instance,
        configuration: &Configuration,
        settings: &Settings,
    ) -> Result<Self> {
        let repository = settings.place.directory();
        let roots = configuration.roots(instance, &Ours::of(Some(&repository), Some(&settings.state)))?;
        let (excludes, patterns) = excludes(&instance.exclude, args)?;
        let freezing = Some(&instance.freezing).filter(|freezing| freezing.freezer != FreezerConfig::None).cloned();
        Ok(Self { instance: instance.name.clone(), roots, excludes, patterns, freezing })
    }
}

/// Compiles the patterns of an instance and those that were typed; tells them all as they were written.
fn excludes(configured: &[String], args: &BackupArgs) -> Result<(Excludes, Vec<String>)> {
    let files = args.exclude_files.iter().map(|file| exclude_file(file)).collect::<Result<Vec<_>>>()?;
    let mut patterns = [configured, &args.excludes].concat();
    let excludes = Excludes::new(&patterns, &files)?;
    let lines = files.iter().flat_map(|file| file.text.lines());
    patterns.extend(lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(str::to_owned));
    Ok((excludes, patterns))
}

/// A directory by the name that it has without links, so that its series is the same however it is typed.
fn root(path: &Path) -> Result<Root> {
    let path = fs::canonicalize(path).map_err(Error::file("back up", path))?;
    let name = path.file_name().map_or_else(|| "root".to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(Root { name, path })
}

fn exclude_file(file: &Path) -> Result<ExcludeFile> {
    let bytes = fs::read(file).map_err(Error::file("read the exclude file", file))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::Misuse(format!("the exclude file {} is not UTF-8 text", file.display())))?;
    // Some editors put a byte order mark in front, which is part of no pattern.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
    Ok(ExcludeFile { name: file.display().to_string(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_named_by_its_canonical_paths_unless_it_has_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir(base.join("a")).unwrap();
        fs::create_dir(base.join("b")).unwrap();
        let paths = vec![base.join("a/../a"), base.join("b")];
        let args = BackupArgs { paths, ..BackupArgs::default() };
        let selection = Selection::read(&args).unwrap();
        assert_eq!(selection.instance, format!("{0}/a + {0}/b", base.display()));
        assert_eq!(selection.roots[0].name, "a");
        let named = BackupArgs { name: Some("wiki".into()), ..args.clone() };
        assert_eq!(Selection::read(&named).unwrap().instance, "wiki");
        let bad = BackupArgs { name: Some("wi\nki".into()), ..args };
        assert!(matches!(Selection::read(&bad), Err(Error::Misuse(_))));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let missing = BackupArgs { paths: vec!["/no/such/place".into()], ..BackupArgs::default() };
        assert!(Selection::read(&missing).unwrap_err().to_string().contains("/no/such/place"));
        let args = BackupArgs { paths: vec!["/".into()], excludes: vec!["[z-a]".into()], ..BackupArgs::default() };
        assert!(matches!(Selection::read(&args), Err(Error::Exclude(_))));
    }

    #[test]
    fn patterns_of_files_stand_in_the_record() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("list");
        fs::write(&file, "# words\n*.bak\n\n").unwrap();
        let args = BackupArgs {
            paths: vec![directory.path().into()],
            excludes: vec!["*.tmp".into()],
            exclude_files: vec![file],
            ..BackupArgs::default()
        };
        assert_eq!(Selection::read(&args).unwrap().patterns, ["*.tmp", "*.bak"]);
    }
}
