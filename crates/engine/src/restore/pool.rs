//! Threads that look at what stands, each with a reader of its own.

use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use icecore_repo::ChunkReader;

use crate::archive::Archive;
use crate::error::{Error, Result};

type Job<'e> = Box<dyn FnOnce(&ChunkReader) + Send + 'e>;

/// Where to ask.
#[derive(Clone)]
pub(super) struct Pool<'e> {
    jobs: Sender<Job<'e>>,
    /// Taken only by a thread that waits.
    idle: Sender<Job<'e>>,
}

/// What will be answered.
#[derive(Debug)]
pub(super) struct Answer<T>(Receiver<T>);

impl<T> Answer<T> {
    /// Waits for it. An error says that no thread is left to give it.
    pub fn wait(self) -> Result<T> {
        self.0.recv().map_err(|_| Error::WorkerPanicked)
    }
}

impl<'e> Pool<'e> {
    /// Has something looked at, in the order of asking.
    pub fn ask<T: Send + 'e>(&self, look: impl FnOnce(&ChunkReader) -> T + Send + 'e) -> Answer<T> {
        let (job, answer) = job(look);
        // Fails only when every thread stopped; whoever waits for the answer learns that.
        let _ = self.jobs.send(job);
        answer
    }

    /// Has something looked at by a thread that is idle right now, or else by this one, at once. So whoever waits for the
    /// answer never waits for what others asked.
    pub fn share<T: Send + 'e>(
        &self,
        reader: &ChunkReader,
        look: impl FnOnce(&ChunkReader) -> T + Send + 'e,
    ) -> Answer<T> {
        let (job, answer) = job(look);
        if let Err(error) = self.idle.try_send(job) {
            (error.into_inner())(reader);
        }
        answer
    }
}

fn job<'e, T: Send + 'e>(look: impl FnOnce(&ChunkReader) -> T + Send + 'e) -> (Job<'e>, Answer<T>) {
    let (sender, answer) = bounded(1);
    let job = move |reader: &ChunkReader| {
        // Nobody may want it any more.
        let _ = sender.send(look(reader));
    };
    (Box::new(job), Answer(answer))
}

/// Runs `body` with a pool, whose threads end when everything is answered.
pub(super) fn with<'e, T>(
    archive: &'e Archive,
    threads: usize,
    body: impl FnOnce(&Pool<'e>) -> Result<T>,
) -> Result<T> {
    thread::scope(|scope| {
        let (jobs, queue) = unbounded::<Job<'e>>();
        let (idle, offers) = bounded::<Job<'e>>(0);
        let mut running = Vec::new();
        for _ in 0..threads.max(1) {
            let (queue, offers) = (queue.clone(), offers.clone());
            running.push(scope.spawn(move || -> Result<()> {
                let reader = archive.reader()?;
                loop {
                    let job = select! {
                        recv(queue) -> job => job,
                        recv(offers) -> job => job,
                    };
                    match job {
                        Ok(job) => job(&reader),
                        Err(_) => return Ok(()),
                    }
                }
            }));
        }
        drop((queue, offers));
        let done = body(&Pool { jobs, idle });
        for thread in running {
            // The body may have failed because a thread did: that one says why.
            thread.join().unwrap_or(Err(Error::WorkerPanicked))?;
        }
        done
    })
}
