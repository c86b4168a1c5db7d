//! TOML values, read by key and type. Every error names file, line, column and key; all of a file are gathered.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{ConfigError, ConfigErrors, Mark};
use super::file::TABLES;

type Result<T> = std::result::Result<T, ConfigError>;

/// How alike two words must be for one to be a slip of the other; 1 is the same (Jaro-Winkler).
const ALIKE: f64 = 0.8;

/// A file's text, and what was found out about it so far.
#[derive(Debug)]
pub struct Source<'a> {
    pub file: Arc<Path>,
    pub text: &'a str,
    problems: RefCell<Vec<ConfigError>>,
    references: RefCell<Vec<Reference>>,
}

/// Something on the disk that a configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where it is named.
    pub at: Mark,
    /// What is named; absolute.
    pub path: PathBuf,
    /// It is to be run.
    pub is_program: bool,
}

impl<'a> Source<'a> {
    /// A file of which nothing is known yet.
    pub fn new(file: Arc<Path>, text: &'a str) -> Self {
        Self { file, text, problems: RefCell::default(), references: RefCell::default() }
    }

    /// The mark of what stands at some bytes of the text.
    pub fn mark(&self, span: &Range<usize>, key: String) -> Mark {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = 1 + before.bytes().filter(|&byte| byte == b'\n').count();
        Mark { file: Arc::clone(&self.file), line, column: 1 + before[line_start..].chars().count(), key }
    }

    /// Remembers a problem. Whatever is read in its place is never seen.
    pub fn note(&self, problem: ConfigError) {
        self.problems.borrow_mut().push(problem);
    }

    /// What the file names on the disk, if nothing is wrong with it.
    pub fn finish(&self) -> std::result::Result<Vec<Reference>, ConfigErrors> {
        let mut problems = self.problems.take();
        problems.sort_by_key(|problem| (problem.at.line, problem.at.column));
        if problems.is_empty() { Ok(self.references.take()) } else { Err(ConfigErrors(problems)) }
    }
}

/// A table, of which only some keys are known.
#[derive(Debug)]
pub struct Section<'a> {
    source: &'a Source<'a>,
    table: &'a DeTable<'a>,
    /// Its header.
    pub at: Mark,
}

impl<'a> Section<'a> {
    /// Takes a table; none but the `known` keys may stand in it.
    pub fn new(source: &'a Source<'a>, table: &'a DeTable<'a>, at: Mark, known: &[&str]) -> Self {
        let section = Self { source, table, at };
        for unknown in section.items().filter(|item| !known.contains(&item.name)) {
            source.note(unknown.at.error(
                match (nearest(unknown.name, known), home_of(unknown.name, &section.at.key)) {
                    (Some(near), _) => format!("unknown key: did you mean {near:?}?"),
                    // A line below the header of a table belongs to that table: the usual slip.
                    (None, Some(home)) => format!("unknown key: it belongs to {home}"),
                    (None, None) => format!("unknown key: the keys here are {}", known.join(", ")),
                },
            ));
        }
        section
    }

    /// Everything in it, sorted by key.
    pub fn items(&self) -> impl Iterator<Item = Item<'a>> + use<'a> {
        let Self { source, table, .. } = *self;
        let inside = if self.at.key.is_empty() { String::new() } else { format!("{}.", self.at.key) };
        table.iter().map(move |(key, value)| {
            let (name, span) = (key.get_ref().as_ref(), key.span());
            let at = source.mark(&span, format!("{inside}{name}"));
            Item { source, name, value: value.get_ref(), at }
        })
    }

    /// What stands under a key, if anything does.
    pub fn get(&self, key: &str) -> Option<Item<'a>> {
        self.items().find(|item| item.name == key)
    }

    /// What stands under a key that must be there; `example` shows how.
    pub fn need(&self, key: &str, example: &str) -> Result<Item<'a>> {
        self.get(key).ok_or_else(|| {
            let inside = if self.at.key.is_empty() { String::new() } else { format!("{}.", self.at.key) };
            let at = Mark { key: format!("{inside}{key}"), ..self.at.clone() };
            at.error(format!("is missing: write, for example, {key} = {example}"))
        })
    }

    /// What was read; what could not be is noted.
    pub fn take<T>(&self, read: Result<T>) -> Option<T> {
        read.map_err(|problem| self.source.note(problem)).ok()
    }

    /// What stands under a key, read, if anything does.
    pub fn find<T>(&self, key: &str, read: impl FnOnce(&Item<'a>) -> Result<T>) -> Option<T> {
        self.get(key).and_then(|item| self.take(read(&item)))
    }

    /// The same; `otherwise` if nothing does.
    pub fn read<T>(&self, key: &str, otherwise: T, read: impl FnOnce(&Item<'a>) -> Result<T>) -> T {
        self.find(key, read).unwrap_or(otherwise)
    }

    /// What stands under a key that must be there, read; `example` shows how.
    pub fn require<T>(&self, key: &str, example: &str, read: impl FnOnce(&Item<'a>) -> Result<T>) -> Option<T> {
        self.take(self.need(key, example).and_then(|item| read(&item)))
    }

    /// The table under a key, with none but the `known` keys, if there is one.
    pub fn table(&self, key: &str, known: &[&str]) -> Option<Section<'a>> {
        self.find(key, |item| item.section(known))
    }
}

/// A value under its key.
#[derive(Debug)]
pub struct Item<'a> {
    source: &'a Source<'a>,
    /// Its key.
    pub name: &'a str,
    value: &'a DeValue<'a>,
    /// Where it stands.
    pub at: Mark,
}

impl<'a> Item<'a> {
    /// Whether a list stands here.
    pub fn is_list(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    /// A text that is not empty.
    pub fn text(&self) -> Result<&'a str> {
        match self.value {
            DeValue::String(text) if text.is_empty() => {
                Err(self.at.error("is empty: write a text, or leave the key out"))
            }
            DeValue::String(text) => Ok(text.as_ref()),
            other => Err(self.wrong(other, "a text in quotes")),
        }
    }

    /// One of several words.
    pub fn word<T: Clone>(&self, words: &[(&str, T)]) -> Result<T> {
        let text = self.text()?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(meaning.clone());
        }
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        Err(self.at.error(match nearest(text, &words) {
            Some(near) => format!("{text:?} is not known: did you mean {near:?}?"),
            None => format!("{text:?} is not known: write one of {}", words.join(", ")),
        }))
    }

    /// The absolute path of something.
    pub fn path(&self) -> Result<PathBuf> {
        let text = self.text()?;
        if Path::new(text).is_absolute() && !text.contains('\0') {
            self.refer(text, false);
            return Ok(PathBuf::from(text));
        }
        Err(self.at.error(format!("{text:?} is not an absolute path: write it from / on")))
    }

    /// A list of texts.
    pub fn texts(&self) -> Result<Vec<String>> {
        let DeValue::Array(array) = self.value else {
            return Err(self.wrong(self.value, "a list of texts, as in [\"one\", \"two\"]"));
        };
        let texts = self.elements(array).map(|element| match element.value {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            other => Err(element.wrong(other, "a text in quotes")),
        });
        texts.collect()
    }

    /// The absolute path of a program and its arguments.
    pub fn program(&self) -> Result<Vec<String>> {
        let program = self.texts()?;
        match program.first() {
            Some(first) if Path::new(first).is_absolute() => {
                self.refer(first, true);
                Ok(program)
            }
            Some(first) => Err(self
                .at
                .error(format!("the program {first:?} must be named by its absolute path; no shell looks for it"))),
            None => Err(self.at.error("is empty: write [\"/path/of/program\", \"argument\"]")),
        }
    }

    /// Remembers that something on the disk is meant.
    pub fn refer(&self, path: &str, is_program: bool) {
        let reference = Reference { at: self.at.clone(), path: PathBuf::from(path), is_program };
        self.source.references.borrow_mut().push(reference);
    }

    /// What another part of the program reads from a text; its error says what to write.
    pub fn parsed<T, E: std::fmt::Display>(&self, parse: impl FnOnce(&str) -> std::result::Result<T, E>) -> Result<T> {
        parse(self.text()?).map_err(|error| self.at.error(error.to_string()))
    }

    /// Yes or no.
    pub fn truth(&self) -> Result<bool> {
        match self.value {
            DeValue::Boolean(truth) => Ok(*truth),
            other => Err(self.wrong(other, "true or false")),
        }
    }

    /// A number within limits.
    pub fn number(&self, limits: RangeInclusive<u32>) -> Result<u32> {
        let DeValue::Integer(digits) = self.value else { return Err(self.wrong(self.value, "a number")) };
        match u32::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(number) if limits.contains(&number) => Ok(number),
            _ => {
                let (least, most) = limits.into_inner();
                Err(self.at.error(format!("{digits} is out of bounds: write a number from {least} to {most}")))
            }
        }
    }

    /// A duration within limits.
    pub fn duration(&self, limits: RangeInclusive<Duration>) -> Result<Duration> {
        let DeValue::String(text) = self.value else {
            return Err(self.wrong(self.value, "a duration in quotes, as in \"30s\""));
        };
        let read = text.parse::<jiff::SignedDuration>().ok().and_then(|read| Duration::try_from(read).ok());
        match read {
            Some(read) if limits.contains(&read) => Ok(read),
            Some(_) => {
                let (least, most) = limits.into_inner();
                Err(self.at.error(format!("{text:?} is out of bounds: write a duration from {least:?} to {most:?}")))
            }
            None => Err(self
                .at
                .error(format!("{text:?} is not a duration: write, for example, \"500ms\", \"30s\" or \"2m\""))),
        }
    }

    /// A table with none but the `known` keys.
    pub fn section(&self, known: &[&str]) -> Result<Section<'a>> {
        Ok(Section::new(self.source, self.table()?, self.at.clone(), known))
    }

    /// A table with whatever keys.
    pub fn open_section(&self) -> Result<Section<'a>> {
        Ok(Section { source: self.source, table: self.table()?, at: self.at.clone() })
    }

    /// Tables, each under a `[[header]]`.
    pub fn sections(&self, known: &[&str]) -> Result<Vec<Section<'a>>> {
        let header = format!("tables, each below a line [[{}]]", self.name);
        let DeValue::Array(array) = self.value else { return Err(self.wrong(self.value, &header)) };
        let sections = self.elements(array).map(|element| match element.value {
            DeValue::Table(_) => element.section(known),
            other => Err(element.wrong(other, &header)),
        });
        sections.collect()
    }

    fn table(&self) -> Result<&'a DeTable<'a>> {
        match self.value {
            DeValue::Table(table) => Ok(table),
            other => Err(self.wrong(other, &format!("a table, as in {} = {{ name = \"value\" }}", self.name))),
        }
    }

    fn elements(&self, array: &'a DeArray<'a>) -> impl Iterator<Item = Item<'a>> {
        let (source, name, key) = (self.source, self.name, self.at.key.clone());
        array.iter().map(move |element: &Spanned<DeValue<'_>>| {
            let at = source.mark(&element.span(), key.clone());
            Item { source, name, value: element.get_ref(), at }
        })
    }

    fn wrong(&self, found: &DeValue<'_>, wanted: &str) -> ConfigError {
        let found = match found {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.at.error(format!("must be {wanted}, and is {found}"))
    }
}

/// The only other table that has a key of this name, apart from what instances share.
fn home_of(key: &str, own: &str) -> Option<String> {
    let mut homes = TABLES.iter().filter(|(table, keys)| !table.starts_with("defaults") && keys.contains(&key));
    let (home, _) = homes.next()?;
    (*home != own && homes.all(|(other, _)| other == home)).then(|| match *home {
        "" => "the top of the file".to_owned(),
        "instance" => "[[instance]]".to_owned(),
        home => format!("[{home}]"),
    })
}

/// The word that was probably meant.
pub fn nearest<'w>(word: &str, words: &[&'w str]) -> Option<&'w str> {
    let rated = words.iter().map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate));
    let best = rated.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= ALIKE).then_some(best.1)
}
