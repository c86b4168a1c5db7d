//! A list that is printed while it is found: as lines, or as one JSON document that is never in memory as a whole.

use std::io::{self, Write};

use icecore_engine::{Error as EngineError, Result as EngineResult};
use serde_json::{Map, Value};

use super::Output;
use crate::error::Result;
use crate::exit::Code;

/// Losses that the JSON document names; all of them are said.
const NAMED: usize = 1000;

/// A list on its way out.
#[derive(Debug)]
pub struct Stream<'a> {
    output: &'a mut Output,
    field: &'static str,
    printed: u64,
    lost: Vec<Value>,
    failed: Option<io::Error>,
}

impl<'a> Stream<'a> {
    /// Begins a list, which the document has in `field`.
    pub fn new(output: &'a mut Output, field: &'static str) -> Self {
        Self { output, field, printed: 0, lost: Vec::new(), failed: None }
    }

    /// Whether it is shown how far the search has come.
    pub fn shows_progress(&self) -> bool {
        self.output.manner().progress
    }

    /// How many were printed.
    pub fn printed(&self) -> u64 {
        self.printed
    }

    /// Whether something could not be found out.
    pub fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Says something on stderr that may interest, unless it is quiet.
    pub fn note(&self, text: impl std::fmt::Display) {
        self.output.note(text);
    }

    /// Prints one more.
    ///
    /// # Errors
    /// [`EngineError::Interrupted`], which ends the search, if nobody reads on or nothing can be written.
    pub fn push(&mut self, lines: impl FnOnce() -> String, object: impl FnOnce() -> Value) -> EngineResult<()> {
        self.failed = self.print(lines, object).and_then(|()| self.output.show()).err();
        self.printed += 1;
        if self.failed.is_some() || self.output.is_unread() { Err(EngineError::Interrupted) } else { Ok(()) }
    }

    /// Says that something could not be found out.
    pub fn lose(&mut self, sentence: &str) {
        self.output.warn(super::human::printable(sentence));
        if self.lost.len() < NAMED {
            self.lost.push(sentence.into());
        }
    }

    /// The same for what has been said already.
    pub fn miss(&mut self, sentences: &[String]) {
        self.lost.extend(sentences.iter().take(NAMED).map(|sentence| Value::from(sentence.as_str())));
    }

    /// Ends the list with what the search came to; the document ends with the fields of `tail`, and `lines` stand below the
    /// list.
    pub fn close(mut self, searched: EngineResult<()>, tail: Map<String, Value>, lines: &str) -> Result<Code> {
        match (self.failed.take(), searched) {
            (Some(error), _) => Err(error.into()),
            (None, Err(EngineError::Interrupted)) if self.output.is_unread() => Ok(Code::Done),
            (None, Err(error)) => {
                // The error says why a document that was begun is not complete.
                if self.output.manner().json && self.printed > 0 {
                    writeln!(self.output, "],\"complete\":false}}")?;
                }
                Err(error.into())
            }
            (None, Ok(())) => {
                let code = Code::partial_if(!self.lost.is_empty());
                self.finish(tail, lines)?;
                Ok(code)
            }
        }
    }

    fn print(&mut self, lines: impl FnOnce() -> String, object: impl FnOnce() -> Value) -> io::Result<()> {
        if !self.output.manner().json {
            let lines = lines();
            return if lines.is_empty() { Ok(()) } else { writeln!(self.output, "{lines}") };
        }
        self.open_item()?;
        serde_json::to_writer(&mut *self.output, &object())?;
        Ok(())
    }

    /// Writes what stands before an item.
    fn open_item(&mut self) -> io::Result<()> {
        if self.printed > 0 {
            return self.output.write_all(b",\n");
        }
        let head = Value::Object(self.output.head()).to_string();
        writeln!(self.output, "{},\"{}\":[", head.trim_end_matches('}'), self.field)
    }

    fn finish(&mut self, mut tail: Map<String, Value>, lines: &str) -> io::Result<()> {
        if !self.output.manner().json {
            return if lines.is_empty() { Ok(()) } else { writeln!(self.output, "{lines}") };
        }
        if self.printed == 0 {
            self.open_item()?;
        }
        tail.insert("damaged".to_owned(), std::mem::take(&mut self.lost).into());
        let complete = tail["damaged"].as_array().is_none_or(Vec::is_empty);
        tail.insert("complete".to_owned(), complete.into());
        let tail = Value::Object(tail).to_string();
        writeln!(self.output, "],{}", tail.trim_start_matches('{'))
    }
}
