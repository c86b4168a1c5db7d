//! Work that turns up while one works, shared by threads.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Batches of work of which the last one offered is taken from first, so that few are waiting at a
/// time.
pub(super) struct Queue<B> {
    state: Mutex<State<B>>,
    changed: Condvar,
}

struct State<B> {
    waiting: Vec<B>,
    /// Turns that are not over: each may offer more.
    turns: usize,
    stopped: bool,
}

impl<B: Iterator> Queue<B> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { waiting: Vec::new(), turns: 0, stopped: false }), changed: Condvar::new() }
    }

    /// Adds a batch.
    pub(super) fn offer(&self, batch: B) {
        self.lock().waiting.push(batch);
        self.changed.notify_all();
    }

    /// The next piece of work; waits while a turn may still offer some, and is `None` when all is done.
    pub(super) fn take(&self) -> Option<(B::Item, Turn<'_, B>)> {
        let mut state = self.lock();
        while !state.stopped {
            if let Some(batch) = state.waiting.last_mut() {
                match batch.next() {
                    Some(work) => {
                        state.turns += 1;
                        return Some((work, Turn(self)));
                    }
                    None => drop(state.waiting.pop()),
                }
            } else if state.turns == 0 {
                return None;
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        None
    }

    /// Ends everybody's work: nothing is taken any more.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }
}

impl<B> Queue<B> {
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> fmt::Debug for Queue<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.lock().waiting.len()).finish_non_exhaustive()
    }
}

/// Held while one works on what was taken. Its end, a panic included, never leaves others waiting.
pub(super) struct Turn<'q, B>(&'q Queue<B>);

impl<B> Drop for Turn<'_, B> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.turns -= 1;
        state.stopped |= std::thread::panicking();
        if state.turns == 0 || state.stopped {
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn work_that_breeds_work_is_done_once_by_all() {
        let queue = Queue::new();
        let done = AtomicU32::new(0);
        queue.offer(vec![10_u32].into_iter());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some((depth, _turn)) = queue.take() {
                        done.fetch_add(1, Ordering::Relaxed);
                        if depth > 0 {
                            queue.offer(vec![depth - 1; 2].into_iter());
                        }
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 2_u32.pow(11) - 1);
    }

    #[test]
    fn a_thread_that_fails_keeps_nobody_waiting() {
        let queue = Queue::new();
        queue.offer(0_u32..);
        thread::scope(|scope| {
            let panics = scope.spawn(|| {
                let _taken = queue.take();
                panic!("on purpose");
            });
            let goes_on = scope.spawn(|| while queue.take().is_some() {});
            assert!(panics.join().is_err());
            goes_on.join().unwrap();
        });
        assert!(queue.take().is_none());
    }
}
