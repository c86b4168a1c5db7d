//! How the demonstration is told: as text while it happens, or as one document at its end.

use std::fmt;
use std::io::{self, Write};
use std::time::Instant;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::interrupt;
use crate::output::{Output, human};

/// The story so far.
#[derive(Debug)]
pub struct Story<'a> {
    output: &'a mut Output,
    begun: Instant,
    steps: Vec<Value>,
}

impl<'a> Story<'a> {
    /// Begins.
    pub fn begin(output: &'a mut Output) -> Self {
        Self { output, begun: Instant::now(), steps: Vec::new() }
    }

    /// Does the next step: its title is told before, what it says and the time it took after; gives what it returns.
    pub fn step<T, S: fmt::Display>(&mut self, title: &str, work: impl FnOnce() -> Result<(T, S)>) -> Result<T> {
        if interrupt::is_raised() {
            return Err(Error::Interrupted);
        }
        let begun = Instant::now();
        let number = self.steps.len() + 1;
        self.tell(format_args!("{number}. {title}"))?;
        let (result, outcome) = work()?;
        let (outcome, elapsed) = (outcome.to_string(), begun.elapsed());
        outcome.lines().try_for_each(|line| self.tell(format_args!("   {line}")))?;
        self.steps.push(json!({ "title": title, "outcome": outcome, "seconds": elapsed.as_secs_f64() }));
        Ok(result)
    }

    /// Whether progress is shown.
    pub fn shows_progress(&self) -> bool {
        self.output.manner().progress
    }

    /// Tells a line at once; a person follows it.
    pub fn tell(&mut self, line: impl fmt::Display) -> io::Result<()> {
        let manner = self.output.manner();
        if manner.json || manner.quiet {
            return Ok(());
        }
        writeln!(self.output, "{line}")?;
        self.output.flush()
    }

    /// Ends.
    pub fn end(mut self, directory: &str, kept: bool) -> Result<()> {
        let elapsed = self.begun.elapsed();
        let fate =
            if kept { format!("Everything is kept in {directory}.") } else { "Everything was removed.".to_owned() };
        self.tell(format_args!("Done in {}. {fate}", human::duration(elapsed)))?;
        if self.output.manner().json {
            let (steps, seconds) = (&self.steps, elapsed.as_secs_f64());
            self.output
                .document(json!({ "directory": directory, "kept": kept, "steps": steps, "seconds": seconds }))?;
        }
        Ok(())
    }
}
