//! Reading ahead: whoever reads a large file from front to back finds its frames opened and its chunks verified.

use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use icecore_engine::access::{Access, Shown};
use icecore_engine::entry::Node;

use super::handles::lock;

/// Bytes that one thread gets at once: about a frame.
const STEP: u64 = 1 << 20;

/// Bytes that are read ahead at most. The kernel itself asks for 128 KiB or two.
const DEPTH: u64 = 8 << 20;

/// Part of the cache that one file may fill by reading ahead, so that several read at once do not drive each other out.
const SHARE: u64 = 8;

/// Bytes that are read in a row before anything is read ahead.
const PROVED: u64 = 256 << 10;

/// The kernel asks for several pieces at once, and they arrive in any order within this many bytes.
const DISORDER: u64 = 1 << 20;

/// Steps that wait for a thread; what does not fit is not read ahead.
const WAITING: usize = 64;

/// How a file is being read.
#[derive(Debug, Default)]
pub struct Run(Mutex<Span>);

/// A range of bytes that was read in a row, and how far ahead of it was read.
#[derive(Debug, Default, Clone, Copy)]
struct Span {
    begin: u64,
    end: u64,
    ahead: u64,
}

/// A part of a file that may be needed soon.
struct Step {
    file: Arc<Shown>,
    from: u64,
}

/// Threads that read ahead, until this is dropped.
#[derive(Debug)]
pub struct Ahead {
    steps: Sender<Step>,
    depth: u64,
}

impl Ahead {
    /// Starts `threads` of them, which fill the frames' cache of `cache` bytes.
    pub fn start(access: &Arc<Access>, cache: u64, threads: usize) -> std::io::Result<Self> {
        let (steps, waiting) = bounded(WAITING);
        for _ in 0..threads {
            let (access, waiting) = (Arc::clone(access), waiting.clone());
            thread::Builder::new().name("read ahead".to_owned()).spawn(move || fetch(&access, &waiting))?;
        }
        Ok(Self { steps, depth: DEPTH.min(cache / SHARE) })
    }

    /// Notes that bytes of a file are being read, and reads on ahead of them if they continue others.
    pub fn note(&self, run: &Run, file: &Arc<Shown>, from: u64, len: u64) {
        let size = file.entry.size();
        let mut span = lock(&run.0);
        let next = span.note(from, len, self.depth, size);
        for from in next {
            if self.steps.try_send(Step { file: Arc::clone(file), from }).is_err() {
                break;
            }
            span.ahead = from.saturating_add(STEP).min(size);
        }
    }
}

impl Span {
    /// Where the steps begin that are to be read now.
    fn note(&mut self, from: u64, len: u64, depth: u64, size: u64) -> Vec<u64> {
        let end = from.saturating_add(len).min(size);
        if from > self.end.saturating_add(DISORDER) || end.saturating_add(DISORDER) < self.end {
            *self = Self { begin: from, end, ahead: end };
        }
        self.end = self.end.max(end);
        self.ahead = self.ahead.max(self.end);
        let until = self.end.saturating_add(depth).min(size);
        if self.end - self.begin < PROVED {
            return Vec::new();
        }
        // Whole steps, but for the file's end.
        let enough = |from: &u64| from.saturating_add(STEP) <= until || (until == size && *from < size);
        std::iter::successors(Some(self.ahead), |from| Some(from.saturating_add(STEP))).take_while(enough).collect()
    }
}

fn fetch(access: &Access, waiting: &Receiver<Step>) {
    for Step { file, from } in waiting {
        if let Node::File(content) = &file.entry.node {
            access.fetch(content, from, STEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    #[test]
    fn what_is_read_in_a_row_is_read_ahead_once() {
        let (mut span, size, mut fetched) = (Span::default(), 20 * STEP + 5, Vec::new());
        for part in 0..size.div_ceil(128 * KIB) {
            // Every second pair arrives the wrong way round.
            let from = (part ^ (part >> 1 & 1)) * 128 * KIB;
            let next = span.note(from, 128 * KIB, DEPTH, size);
            if let Some(last) = next.last() {
                assert!(*last <= span.end + DEPTH);
                span.ahead = (last + STEP).min(size);
            }
            fetched.extend(next);
        }
        let begin = fetched[0];
        assert_eq!(begin, PROVED);
        assert!(fetched.windows(2).all(|pair| pair[1] == pair[0] + STEP));
        assert!(fetched.last().unwrap() + STEP >= size && *fetched.last().unwrap() < size);
    }

    #[test]
    fn nothing_is_read_ahead_of_single_reads() {
        let (mut span, size) = (Span::default(), 1 << 40);
        for from in [0, 1 << 39, 1 << 20, 1 << 38, (1 << 40) - 5, 0] {
            assert_eq!(span.note(from, 128 * KIB, DEPTH, size), [] as [u64; 0]);
        }
        assert_eq!(Span::default().note(0, 1 << 20, DEPTH, 1 << 20), [] as [u64; 0]);
        assert_eq!(span.note(u64::MAX, u64::MAX, DEPTH, u64::MAX), [] as [u64; 0]);
    }
}
