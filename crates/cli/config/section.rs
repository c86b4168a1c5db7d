//! TOML values, read by key and type. Every error names file, line and key.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{ConfigError, Mark};

type Result<T> = std::result::Result<T, ConfigError>;

/// How alike two words must be for one to be a slip of the other; 1 is the same (Jaro-Winkler).
const ALIKE: f64 = 0.8;

/// A file's text.
#[derive(Debug)]
pub struct Source<'a> {
    pub file: Arc<Path>,
    pub text: &'a str,
}

impl Source<'_> {
    /// The mark of what stands at some bytes of the text.
    pub fn mark(&self, span: &Range<usize>, key: String) -> Mark {
        let before = self.text.as_bytes().iter().take(span.start);
        let line = 1 + before.filter(|&&byte| byte == b'\n').count();
        Mark { file: Arc::clone(&self.file), line, key }
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
    pub fn new(source: &'a Source<'a>, table: &'a DeTable<'a>, at: Mark, known: &[&str]) -> Result<Self> {
        let section = Self { source, table, at };
        match section.items().find(|item| !known.contains(&item.name)) {
            Some(unknown) => Err(unknown.at.error(match nearest(unknown.name, known) {
                Some(near) => format!("unknown key: did you mean {near:?}?"),
                None => format!("unknown key: the keys here are {}", known.join(", ")),
            })),
            None => Ok(section),
        }
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
            Some(first) if Path::new(first).is_absolute() => Ok(program),
            Some(first) => Err(self
                .at
                .error(format!("the program {first:?} must be named by its absolute path; no shell looks for it"))),
            None => Err(self.at.error("is empty: write [\"/path/of/program\", \"argument\"]")),
        }
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
        Section::new(self.source, self.table()?, self.at.clone(), known)
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

/// The word that was probably meant.
pub fn nearest<'w>(word: &str, words: &[&'w str]) -> Option<&'w str> {
    let rated = words.iter().map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate));
    let best = rated.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= ALIKE).then_some(best.1)
}
