use super::super::Verdict;
use super::*;

fn message(subject: &str, text: &str) -> String {
    let mail = Mail {
        to: vec!["ann@example.com".into(), "bob@example.com".into()],
        from: "icecore@host".into(),
        deliver: Arc::new(|_, _| Ok(())),
    };
    let envelope = Envelope {
        subject: subject.into(),
        date: "2026-11-23T01:02:03Z".parse().unwrap(),
        zone: TimeZone::fixed(jiff::tz::offset(1)),
        id: "42.7.icecore".into(),
        host: "ho st_ä.example".into(),
    };
    let ending =
        Ending { verdict: Verdict::Failed, still_failing: false, document: Vec::new(), text: text.into(), envelope };
    mail.message(&ending)
}

/// The headers with their lines joined, and the body as a reader shows it.
fn read(message: &str) -> (Vec<(String, String)>, String) {
    let (head, body) = message.split_once("\n\n").unwrap();
    assert!(head.lines().all(|line| line.len() <= 78 && line.is_ascii()), "{head}");
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in head.lines() {
        match line.strip_prefix(' ') {
            Some(more) => headers.last_mut().unwrap().1.push_str(&format!(" {more}")),
            None => headers.push(line.split_once(": ").map(|(name, value)| (name.into(), value.into())).unwrap()),
        }
    }
    let encoding = headers.iter().find(|(name, _)| name == "Content-Transfer-Encoding").unwrap().1.clone();
    let body = match encoding.as_str() {
        "7bit" => body.to_owned(),
        "base64" => {
            assert!(body.lines().all(|line| line.len() <= 76));
            let bytes = Base64::decode_vec(&body.replace('\n', "")).unwrap();
            String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
        }
        other => panic!("{other}"),
    };
    (headers, body)
}

/// The text of encoded words, which are joined without the blanks between them.
fn decoded(value: &str) -> String {
    let words = value.split(' ').map(|word| {
        assert!(word.len() <= 75, "{word}");
        let text = word.strip_prefix("=?utf-8?B?").and_then(|word| word.strip_suffix("?=")).unwrap();
        String::from_utf8(Base64::decode_vec(text).unwrap()).unwrap()
    });
    words.collect()
}

#[test]
fn a_message_says_who_when_and_what() {
    let text = "table\n.\nFrom here\n";
    let (headers, body) = read(&message("icecore on host: backup wiki failed", text));
    let expected = [
        ("From", "icecore@host"),
        ("To", "ann@example.com, bob@example.com"),
        ("Subject", "icecore on host: backup wiki failed"),
        ("Date", "Mon, 23 Nov 2026 02:02:03 +0100"),
        ("Message-ID", "<42.7.icecore@host.example>"),
        ("MIME-Version", "1.0"),
        ("Auto-Submitted", "auto-generated"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Transfer-Encoding", "7bit"),
    ];
    assert!(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(expected), "{headers:?}");
    assert_eq!(body, text);
}

#[test]
fn what_is_not_plain_is_encoded_and_comes_back() {
    for text in ["Grüße\nzwei\n".to_owned(), "x".repeat(999), "bell\u{7}\n".to_owned(), "ä".repeat(500)] {
        assert_eq!(read(&message("s", &text)).1, text);
    }
    for subject in ["backup Büro failed".to_owned(), "ä".repeat(100), "x".repeat(200), "=?x?=".to_owned()] {
        let (headers, _) = read(&message(&subject, ""));
        assert_eq!(decoded(&headers[2].1), subject);
    }
    // No subject begins another header.
    let (headers, _) = read(&message("a\r\nBcc: eve@example.com", ""));
    assert_eq!((decoded(&headers[2].1).as_str(), headers.len()), ("a  Bcc: eve@example.com", 9));
}

#[test]
fn addresses_are_plain_ones() {
    for text in ["a@b", "ann.b+c@mail.example.com", "o'neil@x"] {
        assert!(is_address(text), "{text}");
    }
    for text in ["", "a", "a@", "@b", "a@b@c", "Ann <a@b>", "a@b, c@d", "a b@c", "ä@b", "a@b\nBcc: c", "-t@b"] {
        assert!(!is_address(text), "{text}");
    }
}
