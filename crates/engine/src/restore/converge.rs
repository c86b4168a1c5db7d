//! Makes one target what the snapshot has.

use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, ScopedJoinHandle};

use crossbeam_channel::{Receiver, bounded, unbounded};
use icecore_format::manifest::ManifestReader;
use icecore_repo::ChunkReader;
use icecore_source::names::Names;
use icecore_source::target::Owners;

use super::ground::Ground;
use super::links::Links;
use super::seeds::Seeds;
use super::segment::{After, Draft};
use super::selection::Selection;
use super::site::Site;
use super::tally::Tally;
use super::walk::Walk;
use super::{Mode, Observer, RestoreJob, pool, survey, sweep, verify, worker};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress};

/// Restores to one target, or only shows what would be done. Nothing is deleted yet: it may serve the next target.
#[allow(clippy::too_many_arguments, reason = "what a restore of several targets shares")]
pub(super) fn converge(
    archive: &Archive,
    job: &RestoreJob<'_>,
    grounds: &[Ground],
    number: usize,
    tally: &Tally,
    links: &mut Links,
    progress: &Progress,
    rehearsal: Option<Observer<'_>>,
) -> Result<()> {
    let ground = &grounds[number];
    if ground.is_exchanged() {
        return Ok(());
    }
    progress.enter(Phase::Restoring);
    let is_rehearsal = rehearsal.is_some();
    on_site(archive, job, grounds, number, tally, progress, is_rehearsal, |site, reader| {
        let seeds = survey::survey(archive, reader, job, site, grounds, number, progress)?;
        let Some(observer) = rehearsal else {
            ground.begin(archive)?;
            return write(archive, job, ground, site, &seeds, links);
        };
        let draft = Draft::new(site, reader, &seeds, unbounded().0, unbounded().0);
        pool::with(archive, job.threads, |pool| {
            Walk::new(site, ground, draft, links, pool, Some(observer)).run(reader, &job.stored.snapshot.manifest)
        })
    })
}

/// Deletes what should not be there, reads back, and forgets the restore of one target, after all of them were restored.
pub(super) fn conclude(
    archive: &Archive,
    job: &RestoreJob<'_>,
    grounds: &[Ground],
    number: usize,
    tally: &Tally,
    deletes: bool,
    progress: &Progress,
) -> Result<()> {
    let ground = &grounds[number];
    if ground.is_exchanged() {
        return Ok(());
    }
    on_site(archive, job, grounds, number, tally, progress, false, |site, reader| {
        if deletes {
            sweep::sweep(site, ground, reader, &job.stored.snapshot.manifest)?;
        }
        if job.verify || job.mode == Mode::Exchange {
            // Of several targets, nobody has kept what each has.
            let bytes = if grounds.len() == 1 { progress.bytes_total.load(Relaxed) } else { 0 };
            progress.expect(0, bytes);
            progress.enter(Phase::Verifying);
            ground.target.sync().map_err(|source| site.unusable(ground, source))?;
            verify::verify(archive, job, site)?;
        }
        ground.end(archive, job.mode)
    })
}

#[allow(clippy::too_many_arguments, reason = "what a restore of several targets shares")]
fn on_site(
    archive: &Archive,
    job: &RestoreJob<'_>,
    grounds: &[Ground],
    number: usize,
    tally: &Tally,
    progress: &Progress,
    rehearsal: bool,
    act: impl FnOnce(&Site<'_>, &ChunkReader) -> Result<()>,
) -> Result<()> {
    let ground = &grounds[number];
    let reader = archive.reader()?;
    let base = &ground.errand.base;
    // What is damaged here is met again, and told, by the walk.
    let top = ManifestReader::new(&reader, &job.stored.snapshot.manifest).get(base).unwrap_or_default();
    let selection = Selection::new(base, top.as_ref(), &job.filter);
    let trees = survey::seed_trees(job, grounds);
    let site = Site::new(archive, job, grounds, number, &selection, &trees, tally, progress, rehearsal);
    act(&site, &reader)?;
    site.failed()
}

fn write(
    archive: &Archive,
    job: &RestoreJob<'_>,
    ground: &Ground,
    site: &Site<'_>,
    seeds: &Seeds,
    links: &mut Links,
) -> Result<()> {
    let finished = thread::scope(|scope| {
        let (task_sender, tasks) = unbounded();
        let (after_sender, afters) = bounded(1);
        let mut threads: Vec<ScopedJoinHandle<'_, ()>> = Vec::new();
        for _ in 0..job.threads.max(1) {
            let tasks = tasks.clone();
            threads.push(scope.spawn(move || site.run(worker::work(archive, site, &tasks))));
        }
        drop(tasks);
        threads.push(scope.spawn(move || {
            let walked = archive.reader().and_then(|reader| {
                let draft = Draft::new(site, &reader, seeds, task_sender, after_sender);
                pool::with(archive, job.threads, |pool| {
                    Walk::new(site, ground, draft, links, pool, None).run(&reader, &job.stored.snapshot.manifest)
                })
            });
            site.run(walked);
        }));
        site.run(finish(site, &afters));
        drop(afters);
        // Every thread is waited for before one of them counts.
        let ends: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
        ends.into_iter().collect::<thread::Result<()>>()
    });
    finished.map_err(|_| Error::WorkerPanicked)
}

/// Does what has to wait for whole segments.
fn finish(site: &Site<'_>, afters: &Receiver<After>) -> Result<()> {
    for After { done, links, left } in afters {
        // Nothing is ever sent: the end tells.
        let _ = done.recv();
        for (existing, entry, stands) in links {
            site.check()?;
            site.link(&existing, &entry, stands)?;
        }
        for directory in left {
            site.check()?;
            site.tally.faults(site.target.finish(site.selection.place(&directory.path), &directory, &site.owners));
        }
    }
    Ok(())
}

/// Who owns what is restored.
pub(super) fn owners(job: &RestoreJob<'_>) -> Owners {
    if job.numeric_ids {
        return Owners::numeric();
    }
    let (snapshot, names) = (&job.stored.snapshot, Names::new());
    Owners::by_name(&snapshot.users, &snapshot.groups, |name| names.uid(name), |name| names.gid(name))
}
