//! What is measured of a run, for Prometheus.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use icecore_engine::Archive;
use icecore_engine::annotation::{Proof, ProofVerdict};
use icecore_service::measures::{MeasuresFile, Observed};
use icecore_service::{History, RunReport, Task, metrics};

use crate::config::Configuration;
use crate::error::Result;
use crate::{time, world};

/// How long a directory that hangs is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks at the repository, behind everything that was done.
pub fn observe(archive: &Archive, configuration: &Configuration) -> Result<Observed> {
    let (host, mut proved) = (world::host_name(), BTreeMap::new());
    for stored in archive.catalogue()?.snapshots {
        let snapshot = stored.snapshot;
        let is_ours = snapshot.host == host && configuration.instances.iter().any(|one| one.name == snapshot.instance);
        // What nothing has tested may still be of no use.
        let is_sound = |proof: &Proof| proof.verdict == ProofVerdict::Ok && proof.test_seconds.is_some();
        let is_proved = stored.notes.proof.is_some_and(|(proof, _)| is_sound(&proof));
        if let (true, true, Some(taken)) = (is_ours, is_proved, time::to_jiff(snapshot.taken)) {
            // The oldest come first.
            proved.insert(snapshot.instance, taken);
        }
    }
    Ok(Observed { stored_bytes: archive.stored_bytes()?, proved })
}

/// What is taken into what was measured before.
pub struct Ended {
    pub report: RunReport,
    pub observed: Option<Observed>,
    pub history: History,
    /// Those that are configured.
    pub tasks: Vec<Task>,
}

/// Writes the file anew with what a run has added. The sentences are what could not be done.
pub fn tell(file: PathBuf, kept: MeasuresFile, ended: Ended) -> Vec<String> {
    let (done, told) = channel();
    let shown = file.display().to_string();
    let begun = thread::Builder::new().spawn(move || drop(done.send(write(&file, &kept, &ended))));
    match begun.map(|_| told.recv_timeout(PATIENCE)) {
        Ok(Ok(warnings)) => warnings,
        Ok(Err(RecvTimeoutError::Timeout)) => vec![format!("the metrics {shown} were not written within {PATIENCE:?}")],
        Ok(Err(RecvTimeoutError::Disconnected)) => vec![format!("writing the metrics {shown} ended without a word")],
        Err(error) => vec![format!("the metrics {shown} cannot be written: {error}")],
    }
}

fn write(file: &Path, kept: &MeasuresFile, ended: &Ended) -> Vec<String> {
    // Two runs at a time lose nothing of each other. Where nothing can be locked nothing can be kept, which is told below.
    let _lock = kept.lock();
    let mut measures = kept.load();
    measures.take(&ended.report, ended.observed.clone(), &ended.history, &ended.tasks);
    let keep = kept
        .keep(&measures)
        .map_err(|error| format!("what was measured cannot be kept for the next run in the state directory: {error}"));
    let write = metrics::write(file, &measures)
        .map_err(|error| format!("the metrics {} cannot be written: {error}", file.display()));
    [keep, write].into_iter().filter_map(std::result::Result::err).collect()
}

/// Writes the file again if it is gone, as after a start of a host that has it in memory. A failure is told by the next run.
/// Where that hangs, nothing is waited for: a run that has nothing to do must not keep the next one from being started.
pub fn renew(file: &Path, kept: MeasuresFile) {
    let (done, told) = channel();
    let file = file.to_owned();
    let begun = thread::Builder::new().spawn(move || {
        let measures = kept.load();
        if measures.run.is_some() && !file.exists() {
            let _ = metrics::write(&file, &measures);
        }
        let _ = done.send(());
    });
    if begun.is_ok() {
        let _ = told.recv_timeout(PATIENCE);
    }
}
