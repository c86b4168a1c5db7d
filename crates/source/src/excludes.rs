//! What is left out of a snapshot by name.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Patterns in gitignore syntax, matched against paths of the snapshot.
///
/// The last pattern that matches decides, `!` takes something back in, a leading `/` ties a pattern
/// to the top of the snapshot, a trailing one to directories. With several roots the top holds the
/// roots, so that `/base/tmp` means the directory `tmp` of the root `base`. As in git, nothing below an
/// excluded directory can be taken back in.
#[derive(Debug, Clone)]
pub struct Excludes(Gitignore);

/// A pattern that means nothing.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the exclude pattern {pattern:?}{}: {reason}", origin.as_ref().map(|name| format!(" of {name}")).unwrap_or_default())]
pub struct ExcludeError {
    /// As it was written.
    pub pattern: String,
    /// The exclude file and line that it stands in.
    pub origin: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// An exclude file that the caller has read: one pattern a line, `#` begins a comment.
#[derive(Debug, Clone)]
pub struct ExcludeFile {
    /// Where it was read from, for messages.
    pub name: String,
    /// Its content.
    pub text: String,
}

impl Excludes {
    /// Compiles `patterns` and then those of `files`, so that the latter decide where both match.
    ///
    /// # Errors
    /// The first pattern that cannot be compiled.
    pub fn new(patterns: &[String], files: &[ExcludeFile]) -> Result<Self, ExcludeError> {
        Self::build(patterns, files, false)
    }

    /// The same, where upper and lower case are one.
    ///
    /// # Errors
    /// The first pattern that cannot be compiled.
    pub fn ignoring_case(patterns: &[String]) -> Result<Self, ExcludeError> {
        Self::build(patterns, &[], true)
    }

    fn build(patterns: &[String], files: &[ExcludeFile], ignore_case: bool) -> Result<Self, ExcludeError> {
        let fail = |error: ignore::Error| ExcludeError {
            pattern: patterns.join(" "),
            origin: None,
            reason: error.to_string(),
        };
        let mut builder = GitignoreBuilder::new("");
        builder.allow_unclosed_class(false).case_insensitive(ignore_case).map_err(fail)?;
        for pattern in patterns {
            add(&mut builder, pattern, None)?;
        }
        for file in files {
            let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
            for (line, pattern) in text.lines().enumerate() {
                add(&mut builder, pattern, Some(format!("{}:{}", file.name, line + 1)))?;
            }
        }
        Ok(Self(builder.build().map_err(fail)?))
    }

    /// Excludes nothing.
    pub fn none() -> Self {
        Self(Gitignore::empty())
    }

    /// Whether nothing can match.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the entry at `path` is left out. The parents of `path` are not looked at: whoever asks
    /// does not go into a directory that matched. Nothing matches the empty path.
    pub fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        !self.is_empty() && !path.is_empty() && self.0.matched(as_path(path), is_dir).is_ignore()
    }
}

impl Default for Excludes {
    fn default() -> Self {
        Self::none()
    }
}

fn add(builder: &mut GitignoreBuilder, pattern: &str, origin: Option<String>) -> Result<(), ExcludeError> {
    match builder.add_line(None, &with_literal_braces(pattern)) {
        Ok(_) => Ok(()),
        Err(error) => Err(ExcludeError { pattern: pattern.to_owned(), origin, reason: error.to_string() }),
    }
}

/// Escapes `{` and `}`, which mean themselves in git (and in names such as `{5bd1e2f0}`) but
/// alternatives to the library.
fn with_literal_braces(pattern: &str) -> String {
    let mut literal = String::with_capacity(pattern.len());
    let mut escaped = false;
    let mut in_class = false;
    for c in pattern.chars() {
        if matches!(c, '{' | '}') && !escaped && !in_class {
            literal.push('\\');
        }
        match c {
            '[' if !escaped => in_class = true,
            ']' => in_class = false,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        literal.push(c);
    }
    literal
}

#[cfg(unix)]
fn as_path(path: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(path))
}

#[cfg(not(unix))]
fn as_path(path: &[u8]) -> std::path::PathBuf {
    // Patterns are text: what is no text matches by its readable part.
    Path::new(&*String::from_utf8_lossy(path)).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(patterns: &[&str]) -> Excludes {
        Excludes::new(&patterns.iter().map(ToString::to_string).collect::<Vec<_>>(), &[]).unwrap()
    }

    #[test]
    fn patterns_mean_what_they_mean_in_git() {
        let cases: [(&[&str], &[u8], bool, bool); 22] = [
            (&["*.tmp"], b"a.tmp", false, true),
            (&["*.tmp"], b"deep/down/a.tmp", false, true),
            (&["*.tmp"], b"a.tmpx", false, false),
            (&["*.tmp", "!keep.tmp"], b"x/keep.tmp", false, false),
            (&["!keep.tmp", "*.tmp"], b"x/keep.tmp", false, true),
            (&["/top"], b"top", true, true),
            (&["/top"], b"a/top", true, false),
            (&["a/b"], b"a/b", false, true),
            (&["a/b"], b"c/a/b", false, false),
            (&["cache/"], b"x/cache", true, true),
            (&["cache/"], b"x/cache", false, false),
            (&["**/x/*.log"], b"a/x/1.log", false, true),
            (&["a/*"], b"a/b/c", false, false),
            (&["# no pattern", ""], b"# no pattern", false, false),
            (&["\\#x"], b"#x", false, true),
            (&["*.tmp"], b"\xff\xfe.tmp", false, true),
            (&["*.tmp"], b"new\nline.tmp", false, true),
            (&["a?b"], b"a\nb", false, true),
            (&["{5bd1}"], b"{5bd1}", false, true),
            (&["{5bd1}"], b"5bd1", false, false),
            (&["\\{x}[{]"], b"{x}{", false, true),
            (&["*"], b"", true, false),
        ];
        for (patterns, path, is_dir, expected) in cases {
            let path_text = String::from_utf8_lossy(path);
            assert_eq!(excludes(patterns).matches(path, is_dir), expected, "{patterns:?} against {path_text:?}");
        }
    }

    #[test]
    fn exclude_files_follow_and_may_take_back() {
        let file = ExcludeFile { name: "list".into(), text: "\u{feff}*.bak\n# words\n!keep.log\r\n".into() };
        let excludes = Excludes::new(&["*.log".into()], &[file]).unwrap();
        assert!(excludes.matches(b"a.log", false));
        assert!(excludes.matches(b"a.bak", false));
        assert!(!excludes.matches(b"keep.log", false));
        assert!(!Excludes::none().matches(b"keep.log", false));
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Excludes::new(&["fine".into(), "[z-a]".into()], &[]).unwrap_err();
        assert_eq!(error.pattern, "[z-a]");
        let file = ExcludeFile { name: "list".into(), text: "ok\n[abc\n".into() };
        let error = Excludes::new(&[], &[file]).unwrap_err();
        assert!(error.to_string().contains("\"[abc\" of list:2"), "{error}");
    }
}
