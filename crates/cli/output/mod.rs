//! What goes to stdout (results) and to stderr (talk).

pub mod human;
pub mod json;
pub mod progress;
pub mod stream;

use std::fmt;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write, stderr, stdout};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::settings::Manner;

/// How long a terminal waits for what was printed.
const SHOWN: Duration = Duration::from_millis(50);

/// Bytes that may wait for it.
const HALF: usize = 32 * 1024;

/// The locked stdout. A reader who has seen enough (`icecore ls | head`) is no error: what he does not read is dropped.
#[derive(Debug)]
pub struct Output {
    writer: BufWriter<Patient<StdoutLock<'static>>>,
    manner: Manner,
    command: &'static str,
    begun: bool,
    shown: Instant,
}

impl Output {
    /// Locks stdout for a command.
    pub fn lock(manner: Manner, command: &'static str) -> Self {
        let writer = BufWriter::with_capacity(2 * HALF, Patient { inner: stdout().lock(), gone: false });
        Self { writer, manner, command, begun: false, shown: Instant::now() }
    }

    /// Lets a terminal have what was printed, from time to time. Called between lines, so that what is shown of the progress
    /// never stands within one.
    ///
    /// # Errors
    /// What writing fails with.
    pub fn show(&mut self) -> io::Result<()> {
        let is_due = || self.shown.elapsed() >= SHOWN || self.writer.buffer().len() >= HALF;
        if !self.manner.terminal || !is_due() {
            return Ok(());
        }
        progress::beside(|| self.writer.flush())?;
        self.shown = Instant::now();
        Ok(())
    }

    /// How to talk.
    pub fn manner(&self) -> Manner {
        self.manner
    }

    /// Whether the reader has gone.
    pub fn is_unread(&self) -> bool {
        self.writer.get_ref().gone
    }

    /// Whether anything was printed.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Prints the command's one JSON document: its fields below the version and the command's name.
    pub fn document(&mut self, fields: Value) -> io::Result<()> {
        let mut document = self.head();
        match fields {
            Value::Object(fields) => document.extend(fields),
            other => drop(document.insert("result".to_owned(), other)),
        }
        serde_json::to_writer_pretty(&mut *self, &document)?;
        writeln!(self)
    }

    /// What every JSON document begins with.
    pub fn head(&self) -> Map<String, Value> {
        let mut head = Map::new();
        head.insert("version".to_owned(), json::VERSION.into());
        head.insert("command".to_owned(), self.command.into());
        head
    }

    /// Says something on stderr that may interest, unless it is quiet.
    pub fn note(&self, text: impl fmt::Display) {
        if !self.manner.quiet {
            say(text);
        }
    }

    /// Says something on stderr that must not be missed, also when quiet.
    pub fn always(&self, text: impl fmt::Display) {
        tracing::info!("{text}");
        say(text);
    }

    /// Says something on stderr for those who asked for more.
    pub fn detail(&self, text: impl fmt::Display) {
        if self.manner.verbose {
            say(text);
        }
    }

    /// Says on stderr what is wrong, though not fatal.
    pub fn warn(&self, text: impl fmt::Display) {
        tracing::warn!("{text}");
        say(format_args!("warning: {text}"));
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun = true;
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Says a line on stderr. When even that fails, nobody is left to be told.
pub fn say(text: impl fmt::Display) {
    progress::beside(|| drop(writeln!(stderr().lock(), "{text}")));
}

/// Takes everything, also when the other end of the pipe has gone.
#[derive(Debug)]
struct Patient<W> {
    inner: W,
    gone: bool,
}

impl<W: Write> Patient<W> {
    fn unless_gone<T>(&mut self, instead: T, act: impl FnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        if self.gone {
            return Ok(instead);
        }
        match act(&mut self.inner) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.gone = true;
                Ok(instead)
            }
            done => done,
        }
    }
}

impl<W: Write> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unless_gone(bytes.len(), |inner| inner.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_gone((), Write::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks at the second write.
    struct Pipe(usize);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            if self.0 == 2 { Err(ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_left_is_no_error_and_is_not_bothered_again() {
        let mut patient = Patient { inner: Pipe(0), gone: false };
        for _ in 0..4 {
            patient.write_all(b"line\n").unwrap();
        }
        patient.flush().unwrap();
        assert!(patient.gone);
        assert_eq!(patient.inner.0, 2);
    }
}
