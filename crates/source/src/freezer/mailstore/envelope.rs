//! The envelope that every reply of the API comes in.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::freezer::{FreezeError, FreezeErrorKind};

/// Most characters of a reply that are shown to people.
const EXCERPT: usize = 300;

/// How far an operation has come.
#[derive(Debug, PartialEq)]
pub(super) enum Progress {
    /// It goes on; the first reply says by which token to ask for it.
    Running { token: Option<String>, version: u64 },
    /// It succeeded with this result.
    Done(Value),
    /// It failed: a sentence of the server's, and details.
    Failed { message: String, details: String },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    #[serde(default)]
    error: Value,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    status_version: Option<u64>,
    status_code: String,
    #[serde(default)]
    status_text: Option<String>,
    #[serde(default)]
    result: Value,
}

/// Reads an envelope: a success is one without an error whose code says so; whatever is neither that nor
/// running is a failure.
///
/// # Errors
/// [`FreezeErrorKind::Protocol`] if it is none; the sentence does not yet name the server.
pub(super) fn progress(body: &[u8]) -> Result<Progress, FreezeError> {
    let Envelope { error, token, status_version, status_code, status_text, result } = json(body)?;
    Ok(match (error, status_code.as_str()) {
        (Value::Null, "succeeded") => Progress::Done(result),
        (Value::Null, "running") => Progress::Running { token, version: status_version.unwrap_or_default() },
        (error, code) => {
            let text = |key: &str| error.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
            let message = text("message").or(error.as_str()).map(str::to_owned);
            let message = message.or(status_text).unwrap_or_else(|| format!("status {code:?} without a message"));
            Progress::Failed { message, details: text("details").unwrap_or_default().to_owned() }
        }
    })
}

/// Reads JSON, with or without a byte order mark.
///
/// # Errors
/// [`FreezeErrorKind::Protocol`], with the beginning of what came instead.
pub(super) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, FreezeError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    serde_json::from_slice(body).map_err(|e| {
        let text = String::from_utf8_lossy(body);
        let what = match text.trim_start().as_bytes() {
            [] => "with nothing".to_owned(),
            [b'<', ..] => "with HTML instead of JSON: is it the port of the Management API (8474)?".to_owned(),
            _ => format!("with JSON that makes no sense: {e}"),
        };
        let excerpt: String = text.trim_start().chars().take(EXCERPT).collect();
        FreezeError::new(FreezeErrorKind::Protocol, what).with_output(excerpt)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(body: &str) -> (String, String) {
        match progress(body.as_bytes()).unwrap() {
            Progress::Failed { message, details } => (message, details),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_published_shapes_are_read() {
        let immediate = r#"{"error":null,"token":null,"statusVersion":2,"statusCode":"succeeded","percentProgress":null,"statusText":null,"result":[1],"logOutput":null}"#;
        assert_eq!(progress(immediate.as_bytes()).unwrap(), Progress::Done(serde_json::json!([1])));
        let marked = format!("\u{feff}{immediate}");
        assert_eq!(progress(marked.as_bytes()).unwrap(), Progress::Done(serde_json::json!([1])));
        let running = r#"{"error":null,"token":"c1","statusVersion":1,"statusCode":"running","result":null}"#;
        assert_eq!(progress(running.as_bytes()).unwrap(), Progress::Running { token: Some("c1".into()), version: 1 });
    }

    #[test]
    fn whatever_is_neither_running_nor_succeeded_failed() {
        let (message, details) = failed(r#"{"error":{"message":"No.","details":"System"},"statusCode":"failed"}"#);
        assert_eq!((message.as_str(), details.as_str()), ("No.", "System"));
        // An error beside a success, an error without a text, codes that nobody knows.
        assert_eq!(failed(r#"{"error":{"message":"No."},"statusCode":"succeeded"}"#).0, "No.");
        assert_eq!(failed(r#"{"error":"No.","statusCode":"failed"}"#).0, "No.");
        assert_eq!(failed(r#"{"error":null,"statusCode":"cancelled","statusText":"Cancelled"}"#).0, "Cancelled");
        assert_eq!(failed(r#"{"error":{"message":"No."},"token":"c1","statusCode":"running"}"#).0, "No.");
        assert!(failed(r#"{"error":{},"statusCode":"succeeded"}"#).0.contains("succeeded"));
    }

    #[test]
    fn what_is_no_envelope_is_told() {
        for (body, says) in [
            (b"".as_slice(), "nothing"),
            (b" <html>", "HTML"),
            (b"[]", "no sense"),
            (b"{}", "no sense"),
            (b"\xff\xfe", "no sense"),
            (br#"{"statusCode":7}"#, "no sense"),
        ] {
            let error = progress(body).unwrap_err();
            assert_eq!(error.kind, FreezeErrorKind::Protocol);
            assert!(error.message.contains(says), "{error}");
        }
    }
}
