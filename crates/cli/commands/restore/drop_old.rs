//! `icecore restore --drop-old`: deletes what stood before exchanges.

use std::io::Write;
use std::path::{Path, PathBuf};

use icecore_engine::restore::{OldTree, drop_old, old_trees};
use icecore_source::claim::{Claim, Use};
use serde_json::json;

use super::{NAMED, identities};
use crate::error::Result;
use crate::exit::Code;
use crate::output::{Output, human};
use crate::settings::Settings;

/// Names the trees beside a directory, and deletes them unless it is a rehearsal. The repository need not be there.
pub fn run(directory: &Path, rehearsal: bool, settings: &Settings, output: &mut Output) -> Result<Code> {
    let ours: Vec<PathBuf> =
        [settings.place.directory(), settings.state.clone()].into_iter().filter(|path| path.exists()).collect();
    // What an exchange is building beside looks like what an interrupted one left.
    let claimed = [(directory.to_owned(), Use::Write)];
    let _claim = match rehearsal {
        true => None,
        false => Some(Claim::take(&settings.claims(), &claimed, "the deletion of what exchanges left")?),
    };
    let found = old_trees(directory, &identities(&ours)?)?;
    if output.manner().json {
        let trees = found
            .iter()
            .map(|tree| json!({ "path": tree.path.to_string_lossy(), "entries": tree.entries, "bytes": tree.bytes }));
        let trees: Vec<_> = trees.collect();
        let kept = delete(&found, rehearsal, output)?;
        output.document(json!({ "dry_run": rehearsal, "old": trees, "kept_count": kept }))?;
        return Ok(Code::partial_if(kept > 0));
    }
    for tree in &found {
        let (entries, bytes) = (human::counted(tree.entries, "entry", "entries"), human::bytes(tree.bytes));
        writeln!(output, "delete    {}  ({entries}, {bytes})", tree.path.display())?;
    }
    // They are named before anything goes.
    output.flush()?;
    let kept = delete(&found, rehearsal, output)?;
    if found.is_empty() {
        output.note(format_args!("no exchange left anything beside {}", directory.display()));
    } else if rehearsal {
        output.note("nothing was changed");
    }
    Ok(Code::partial_if(kept > 0))
}

/// Tells what could not be deleted, and how many entries that are.
fn delete(found: &[OldTree], rehearsal: bool, output: &Output) -> Result<u64> {
    let mut count = 0;
    for tree in found.iter().filter(|_| !rehearsal) {
        let kept = drop_old(tree)?;
        for problem in kept.first.iter().take(NAMED) {
            let (path, why) = (human::path(&problem.path), human::printable(&problem.message));
            output.warn(format_args!("not deleted: {path}: {why}"));
        }
        let more = kept.count.saturating_sub(kept.first.len().min(NAMED) as u64);
        if more > 0 {
            output.warn(format_args!("not deleted: {} more", human::count(more)));
        }
        count += kept.count;
    }
    Ok(count)
}
