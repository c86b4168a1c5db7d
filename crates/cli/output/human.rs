//! Numbers, paths and tables as people read them.

use std::io::{self, Write};
use std::time::Duration;

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
}

impl Table {
    /// Begins a table with its head.
    pub fn new<const N: usize>(columns: [(&str, Align); N]) -> Self {
        let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self { columns: columns.iter().map(|(_, align)| *align).collect(), rows: vec![head] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.into());
    }

    /// Prints it, each row behind `indent`.
    pub fn print(&self, indent: &str, out: &mut dyn Write) -> io::Result<()> {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..self.columns.len()).map(width).collect();
        for row in &self.rows {
            let mut line = indent.to_owned();
            for ((cell, align), width) in row.iter().zip(&self.columns).zip(&widths) {
                match align {
                    Align::Left => line.push_str(&format!("{cell:<width$}  ")),
                    Align::Right => line.push_str(&format!("{cell:>width$}  ")),
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
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
    fn columns_are_aligned() {
        let mut table = Table::new([("name", Align::Left), ("size", Align::Right), ("", Align::Left)]);
        table.row(["ä".into(), "10".into(), "x".into()]);
        table.row(["longer".into(), "9".into(), String::new()]);
        let mut out = Vec::new();
        table.print("", &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "name    size\nä         10  x\nlonger     9\n");
    }
}
