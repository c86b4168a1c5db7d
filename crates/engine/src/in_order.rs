//! Work that is done by several threads and taken in the order in which it was given.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::error::{Error, Result};

/// Tasks that one thread may be ahead of the order.
const AHEAD: u64 = 4;

/// Hands what `feed` gives to the workers, and their results to `take` in the same order; at most a few tasks for each
/// worker are on their way. `end` is called for each worker that has not failed. `feed` and `take` run on this thread.
pub(crate) fn in_order<W: Send, T: Send, R: Send>(
    workers: Vec<W>,
    work: impl Fn(&mut W, T) -> Result<R> + Sync,
    end: impl Fn(W) -> Result<()> + Sync,
    feed: impl FnOnce(&mut dyn FnMut(T) -> Result<()>) -> Result<()>,
    take: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let limit = AHEAD * workers.len() as u64;
    thread::scope(|scope| {
        let (tasks, tasks_end) = unbounded::<(u64, T)>();
        let (results_end, results) = unbounded();
        let mut running = Vec::new();
        for mut worker in workers {
            let (tasks, results) = (tasks_end.clone(), results_end.clone());
            let (work, end) = (&work, &end);
            running.push(scope.spawn(move || {
                for (number, task) in tasks {
                    // A panic is told like an error: whoever waits for this result must not wait for ever.
                    let done = catch_unwind(AssertUnwindSafe(|| work(&mut worker, task)));
                    let done = done.unwrap_or(Err(Error::WorkerPanicked));
                    let failed = done.is_err();
                    // Nobody listens any more when the other end gave up.
                    drop(results.send((number, done)));
                    if failed {
                        return Ok(());
                    }
                }
                end(worker)
            }));
        }
        drop((tasks_end, results_end));
        let mut order = Order { tasks: Some(tasks), results, sent: 0, taken: 0, waiting: BTreeMap::new(), take };
        let fed = feed(&mut |task| order.give(task, limit)).and_then(|()| order.drain());
        drop(order);
        running.into_iter().fold(fed, |all, worker| all.and(worker.join().unwrap_or(Err(Error::WorkerPanicked))))
    })
}

struct Order<T, R, F> {
    tasks: Option<Sender<(u64, T)>>,
    results: Receiver<(u64, Result<R>)>,
    sent: u64,
    taken: u64,
    waiting: BTreeMap<u64, R>,
    take: F,
}

impl<T, R, F: FnMut(R) -> Result<()>> Order<T, R, F> {
    fn give(&mut self, task: T, limit: u64) -> Result<()> {
        while self.sent - self.taken >= limit {
            self.receive()?;
        }
        if let Some(tasks) = &self.tasks {
            tasks.send((self.sent, task)).map_err(|_| Error::WorkerPanicked)?;
        }
        self.sent += 1;
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        self.tasks = None;
        while self.taken < self.sent {
            self.receive()?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let (number, done) = self.results.recv().map_err(|_| Error::WorkerPanicked)?;
        self.waiting.insert(number, done?);
        while let Some(result) = self.waiting.remove(&self.taken) {
            self.taken += 1;
            (self.take)(result)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(limit: u64, fail_at: Option<u64>, panic_at: Option<u64>) -> (Result<()>, Vec<u64>) {
        let mut taken = Vec::new();
        let work = |worker: &mut u64, task: u64| {
            thread::sleep(std::time::Duration::from_micros(task * 7919 % 500 * (*worker + 1)));
            assert!(panic_at != Some(task), "as it should");
            if fail_at == Some(task) { Err(Error::Interrupted) } else { Ok(task * 2) }
        };
        let feed = |give: &mut dyn FnMut(u64) -> Result<()>| (0..limit).try_for_each(give);
        let ended = in_order(
            vec![0, 1, 2],
            work,
            |_| Ok(()),
            feed,
            |result| {
                taken.push(result);
                Ok(())
            },
        );
        (ended, taken)
    }

    #[test]
    fn results_come_in_the_order_of_the_tasks() {
        let (ended, taken) = run(200, None, None);
        ended.unwrap();
        assert_eq!(taken, (0..200).map(|task| task * 2).collect::<Vec<_>>());
        assert!(run(0, None, None).1.is_empty());
    }

    #[test]
    fn a_failure_or_a_panic_ends_it() {
        let (ended, taken) = run(200, Some(50), None);
        assert!(matches!(ended, Err(Error::Interrupted)) && taken.len() <= 50);
        let (ended, taken) = run(200, None, Some(60));
        assert!(matches!(ended, Err(Error::WorkerPanicked)) && taken.len() <= 60);
    }
}
