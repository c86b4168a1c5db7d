//! The report in words, by mail: a message by [RFC 5322](https://www.rfc-editor.org/rfc/rfc5322) for a program such as sendmail.
//!
//! Lines end as in files of this system; the program makes of them what goes over the wire.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding as _};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;

use super::Ending;
use super::retry::{Failed, retry, sleep};

/// Bytes of a line of a message, without its end, that no server may refuse.
const LINE: usize = 998;

/// Bytes of a line of Base64.
const BASE64_LINE: usize = 76;

/// Bytes of text in one encoded word of a header: the line that it begins, header's name included, has 76 characters at most.
const WORD: usize = 39;

/// Gives a message to a program: what it reads, and how long it may take.
pub type Deliver = dyn Fn(&[u8], Duration) -> Result<(), Undelivered> + Send + Sync;

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// In words.
    pub why: String,
    /// It may be taken later.
    pub is_for_now: bool,
}

/// Who gets mail, and how.
#[derive(Clone)]
pub struct Mail {
    /// Addresses.
    pub to: Vec<String>,
    /// The address of the sender.
    pub from: String,
    /// What takes the message.
    pub deliver: Arc<Deliver>,
}

/// What a message is headed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What it is about.
    pub subject: String,
    /// When it was written.
    pub date: Timestamp,
    /// In which zone that is told.
    pub zone: TimeZone,
    /// The part of its id before the `@`, unlike any other.
    pub id: String,
    /// The host that wrote it.
    pub host: String,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("to", &self.to).field("from", &self.from).finish_non_exhaustive()
    }
}

/// Whether a text is an address as people have them, `name@host` in ASCII: no quotes, comments or lists.
pub fn is_address(text: &str) -> bool {
    let is_ours = |c: u8| c.is_ascii_graphic() && !b"()<>[]:;@\\,\"".contains(&c);
    text.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && !host.is_empty() && name.bytes().chain(host.bytes()).all(is_ours) && !name.starts_with('-')
    })
}

impl Mail {
    /// Sends the report; a sentence if nobody took it.
    pub(super) fn send(&self, ending: &Ending, deadline: Instant) -> Vec<String> {
        let message = self.message(ending);
        let sent = retry(deadline, sleep, |_| {
            let left = deadline.saturating_duration_since(Instant::now());
            (self.deliver)(message.as_bytes(), left).map_err(|Undelivered { why, is_for_now }| match is_for_now {
                true => Failed::ForNow(why),
                false => Failed::ForGood(why),
            })
        });
        sent.err().map(|why| format!("the mail was not sent: {why}")).into_iter().collect()
    }

    /// The whole message.
    fn message(&self, ending: &Ending) -> String {
        let Envelope { subject, date, zone, id, host } = &ending.envelope;
        let mut message = String::with_capacity(ending.text.len() * 2);
        let date = rfc2822::to_string(&date.to_zoned(zone.clone())).unwrap_or_default();
        let host = mail_host(host);
        // One address a line: a list of any length stays within lines that every server takes.
        let (to, subject) = (self.to.join(",\n "), header(subject));
        let _ = write!(
            message,
            "From: {}\nTo: {to}\nSubject: {subject}\nDate: {date}\nMessage-ID: <{id}@{host}>\nMIME-Version: 1.0\n\
             Auto-Submitted: auto-generated\nContent-Type: text/plain; charset=utf-8\n",
            self.from
        );
        let is_plain =
            |line: &str| line.len() <= LINE && line.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
        if ending.text.lines().all(is_plain) {
            let _ = write!(message, "Content-Transfer-Encoding: 7bit\n\n{}", ending.text);
            if !message.ends_with('\n') {
                message.push('\n');
            }
        } else {
            message.push_str("Content-Transfer-Encoding: base64\n\n");
            // What is encoded keeps the line ends of the wire.
            let text = Base64::encode_string(ending.text.replace('\n', "\r\n").as_bytes());
            for line in text.as_bytes().chunks(BASE64_LINE) {
                message.push_str(str::from_utf8(line).unwrap_or_default());
                message.push('\n');
            }
        }
        message
    }
}

/// The text of a header, in encoded words ([RFC 2047](https://www.rfc-editor.org/rfc/rfc2047)) where it is more than one short
/// line of ASCII.
fn header(text: &str) -> String {
    let is_plain = |c: char| c == ' ' || c.is_ascii_graphic();
    if text.chars().all(is_plain) && text.len() <= BASE64_LINE - "Subject: ".len() && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if word.len() + c.len_utf8() > WORD {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let words: Vec<_> =
        words.iter().map(|word| format!("=?utf-8?B?{}?=", Base64::encode_string(word.as_bytes()))).collect();
    words.join("\n ")
}

/// A host's name as it may stand in an address, whatever it is.
pub fn mail_host(name: &str) -> String {
    let host: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).collect();
    if host.is_empty() { "localhost".to_owned() } else { host }
}

#[cfg(test)]
mod tests;
