//! `icecore restore --drop-old`: deletes what stood before exchanges.

use std::io::Write;
use std::path::{Path, PathBuf};

use icecore_engine::restore::{OldTree, drop_old, old_trees};
use icecore_source::claim::{Claim, Use};
use serde_json::json;

use super::identities;
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
        delete(&found, rehearsal)?;
        output.document(json!({ "dry_run": rehearsal, "old": trees }))?;
        return Ok(Code::Done);
    }
    for tree in &found {
        let (entries, bytes) = (human::counted(tree.entries, "entry", "entries"), human::bytes(tree.bytes));
        writeln!(output, "delete    {}  ({entries}, {bytes})", tree.path.display())?;
    }
    // They are named before anything goes.
    output.flush()?;
    delete(&found, rehearsal)?;
    if found.is_empty() {
        output.note(format_args!("no exchange left anything beside {}", directory.display()));
    } else if rehearsal {
        output.note("nothing was changed");
    }
    Ok(Code::Done)
}

fn delete(found: &[OldTree], rehearsal: bool) -> Result<()> {
    if !rehearsal {
        found.iter().try_for_each(drop_old)?;
    }
    Ok(())
}
