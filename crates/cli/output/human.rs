//! Numbers, paths and tables as people read them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use icecore_engine::snapshot::Receipt;

/// Bytes in binary units: `0 B`, `1023 B`, `1.00 KiB`, `12.3 MiB`, `345 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // What would be rounded to 1024 belongs to the next unit.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A count with commas between its thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count of things: `1 file`, `2 files`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A duration: `0.04 s`, `12.3 s`, `3 min 05 s`, `2 h 03 min`.
pub fn duration(time: Duration) -> String {
    let (seconds, whole) = (time.as_secs_f64(), time.as_secs());
    match whole {
        0..10 => format!("{seconds:.2} s"),
        10..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// What a window was, in one line: `412 ms (380 ms predicted), 12 files and 34.0 MiB by hold`.
pub fn window(receipt: &Receipt) -> String {
    let predicted = receipt.predicted_ms.map_or_else(String::new, |ms| format!(" ({} ms predicted)", count(ms)));
    let files = counted(receipt.hot_files, "file", "files");
    let (size, capture) = (bytes(receipt.hot_bytes), printable(&receipt.capture));
    format!("{} ms{predicted}, {files} and {size} by {capture}", count(receipt.window_ms))
}

/// How many times larger the first is than the second: `3.1:1`. `None` where it is not: there, what is stored around
/// the content outweighs it.
pub fn ratio(large: u64, small: u64) -> Option<String> {
    let ratio = large as f64 / small as f64;
    match ratio {
        _ if small == 0 || large < small => None,
        ..100.0 => Some(format!("{ratio:.1}:1")),
        _ => Some(format!("{}:1", count(ratio as u64))),
    }
}

/// A path that can be printed: control characters, backslashes and what is not UTF-8 are escaped as in `\n` and `\xff`.
pub fn path(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        if !chunk.valid().contains(|c: char| c.is_control() || c == '\\') && chunk.invalid().is_empty() {
            text.push_str(chunk.valid());
            continue;
        }
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// Text of others that can be printed on a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The head of a table.
const HEAD: Style = Style::new().bold();

/// What should be looked at.
pub const DOUBTFUL: Style = AnsiColor::Yellow.on_default();

/// What is bad, or gone.
pub const BAD: Style = AnsiColor::Red.on_default();

/// What is good, or has come.
pub const GOOD: Style = AnsiColor::Green.on_default();

/// A text in a style, if colours may be used.
pub fn paint(text: &str, style: Style, colour: bool) -> Cow<'_, str> {
    if colour && style != Style::new() { format!("{style}{text}{style:#}").into() } else { text.into() }
}

/// Which side of a column the text stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of text in aligned columns.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
    width: Option<usize>,
    /// How rows are marked, by their numbers; nothing is coloured without `colour`.
    marked: BTreeMap<usize, Style>,
    colour: bool,
}

/// Between two columns.
const GAP: usize = 2;

/// A column of words is not made narrower than this.
const NARROW: usize = 8;

impl Table {
    /// Begins a table with its head.
    pub fn new<const N: usize>(columns: [(&str, Align); N]) -> Self {
        let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self {
            columns: columns.iter().map(|(_, align)| *align).collect(),
            rows: vec![head],
            width: None,
            marked: BTreeMap::from([(0, HEAD)]),
            colour: false,
        }
    }

    /// Begins a table without a head.
    pub fn bare<const N: usize>(columns: [Align; N]) -> Self {
        Self { columns: columns.into(), rows: Vec::new(), width: None, marked: BTreeMap::new(), colour: false }
    }

    /// Adds a column with its head and a cell for each row.
    pub fn column(&mut self, head: &str, align: Align, cells: impl Iterator<Item = String>) {
        self.columns.push(align);
        let cells = [head.to_owned()].into_iter().chain(cells).chain(std::iter::repeat_with(String::new));
        self.rows.iter_mut().zip(cells).for_each(|(row, cell)| row.push(cell));
    }

    /// Marks the last row.
    pub fn mark(&mut self, style: Style) {
        self.marked.insert(self.rows.len().saturating_sub(1), style);
    }

    /// Shows marks and the head in colour.
    pub fn coloured(mut self, colour: bool) -> Self {
        self.colour = colour;
        self
    }

    /// Makes it no wider than so many columns of a terminal, if words can be cut short for it.
    pub fn fit(mut self, width: Option<usize>) -> Self {
        self.width = width;
        self
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.into());
    }

    /// Prints it, each row behind `indent`.
    pub fn print(&self, indent: &str, out: &mut dyn Write) -> io::Result<()> {
        let widths = self.widths(indent.chars().count());
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = indent.to_owned();
            for ((cell, align), width) in row.iter().zip(&self.columns).zip(&widths) {
                let cell = shortened(cell, *width);
                match align {
                    Align::Left => line.push_str(&format!("{cell:<width$}  ")),
                    Align::Right => line.push_str(&format!("{cell:>width$}  ")),
                }
            }
            let style = self.marked.get(&number).copied().unwrap_or_default();
            writeln!(out, "{}", paint(line.trim_end(), style, self.colour))?;
        }
        Ok(())
    }
}

impl Table {
    /// The width of each column; the widest columns of words give way first.
    fn widths(&self, indent: usize) -> Vec<usize> {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let mut widths: Vec<_> = (0..self.columns.len()).map(width).collect();
        let Some(room) = self.width else { return widths };
        let gaps = indent + GAP * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > room {
            let words =
                (0..widths.len()).filter(|column| self.columns[*column] == Align::Left && widths[*column] > NARROW);
            let Some(widest) = words.max_by_key(|column| widths[*column]) else { break };
            widths[widest] -= 1;
        }
        widths
    }
}

/// A text of at most so many characters; what is left out is marked.
fn shortened(text: &str, width: usize) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return text.into();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect::<String>().into()
}

/// Prints `name  value` lines, the values below each other.
pub fn fields<'a>(out: &mut dyn Write, fields: impl IntoIterator<Item = (&'a str, String)>) -> io::Result<()> {
    let fields: Vec<_> = fields.into_iter().collect();
    let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    fields.iter().try_for_each(|(name, value)| writeln!(out, "  {name:<width$}  {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits_and_a_binary_unit() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10 * 1024, "10.0 KiB"),
            (1024 * 1024 - 1, "1.00 MiB"),
            (345 << 30, "345 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn counts_durations_and_ratios_read_well() {
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "file", "files"), counted(2000, "file", "files")], ["1 file", "2,000 files"]);
        for (millis, text) in [(41, "0.04 s"), (12_345, "12.3 s"), (185_000, "3 min 05 s"), (7_384_000, "2 h 03 min")] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(ratio(31, 10).unwrap(), "3.1:1");
        assert_eq!(ratio(1 << 40, 1 << 20).unwrap(), "1,048,576:1");
        assert_eq!(ratio(5, 0), None);
        assert_eq!(ratio(4, 5), None);
    }

    #[test]
    fn a_path_cannot_play_tricks_on_a_terminal() {
        assert_eq!(path("Grüße/ a".as_bytes()), "Grüße/ a");
        assert_eq!(path(b"new\nline\x1b[2J"), "new\\nline\\u{1b}[2J");
        assert_eq!(path(b"a\xff\xfeb\\"), "a\\xff\\xfeb\\\\");
        assert_eq!(printable("a\x07b"), "a\u{fffd}b");
    }

    #[test]
    fn a_table_fits_the_terminal_as_far_as_words_can_be_cut() {
        let mut table = Table::new([("name", Align::Left), ("size", Align::Right), ("why", Align::Left)]);
        table.row(["a name of twenty-two c".into(), "1,000,000".into(), "because of a reason".into()]);
        for (width, expected) in [(60, "a name of twenty-two c"), (45, "a name of twent…"), (10, "a name …")] {
            let mut out = Vec::new();
            table.width = Some(width);
            table.print("", &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains(&format!("\n{expected}  ")) && text.contains("1,000,000"), "{text}");
            assert!(width == 10 || text.lines().all(|line| line.chars().count() <= width), "{text}");
        }
    }

    #[test]
    fn colours_stand_around_what_is_aligned() {
        let mut table = Table::new([("name", Align::Left), ("size", Align::Right)]);
        table.row(["a".into(), "10".into()]);
        table.mark(BAD);
        let printed = |table: &Table| {
            let mut out = Vec::new();
            table.print("", &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(printed(&table), "name  size\na       10\n");
        let coloured = printed(&table.coloured(true));
        assert_eq!(coloured, "\u{1b}[1mname  size\u{1b}[0m\n\u{1b}[31ma       10\u{1b}[0m\n");
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new([("name", Align::Left), ("size", Align::Right), ("", Align::Left)]);
        table.row(["ä".into(), "10".into(), "x".into()]);
        table.row(["longer".into(), "9".into(), String::new()]);
        let mut out = Vec::new();
        table.print("", &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "name    size\nä         10  x\nlonger     9\n");
    }
}
