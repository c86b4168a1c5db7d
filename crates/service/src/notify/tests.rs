use std::fs;
use std::net::TcpListener;
use std::sync::Mutex;

use icecore_testkit::{Answer, WebServer};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::*;

fn address(url: String) -> Address {
    Address { url, headers: Vec::new(), secret_file: None }
}

fn silent(patience: Duration) -> Channels {
    Channels { client: Client::new(Trust::System, "icecore/test"), patience, webhook: None, ping: None, mail: None }
}

fn ending(verdict: Verdict) -> Ending {
    let envelope = Envelope {
        subject: "icecore on h".into(),
        date: Timestamp::UNIX_EPOCH,
        zone: TimeZone::UTC,
        id: "1".into(),
        host: "h".into(),
    };
    let (document, text) = (b"{\"code\": 1}".to_vec(), "in words\n".to_owned());
    Ending { verdict, still_failing: false, document, text, envelope }
}

const LONG: Duration = Duration::from_secs(120);

/// Tells a webhook of a failure; what was said of it.
fn hook(client: Client, address: Address, patience: Duration) -> Vec<String> {
    let channels = Channels { client, webhook: Some((address, On::Failure)), ..silent(patience) };
    Notifier::begin(channels).end(ending(Verdict::Failed))
}

#[test]
fn a_webhook_gets_the_document_with_its_secret_and_tries_again() {
    let server = WebServer::start();
    server.answer([Answer::Status(500), Answer::HangUp, Answer::Status(429)]);
    let directory = tempfile::tempdir().unwrap();
    let secret_file = directory.path().join("secret");
    fs::write(&secret_file, "s3cr3t\n").unwrap();
    let address = Address {
        url: format!("{}/hook?key={SECRET}", server.url()),
        headers: vec![("Authorization".into(), format!("Bearer {SECRET}")), ("X-Team".into(), "backup".into())],
        secret_file: Some(secret_file.clone()),
    };
    let client = Client::new(Trust::System, "icecore/test");
    assert_eq!(hook(client.clone(), address.clone(), LONG), [""; 0]);
    let posted = server.posted();
    assert_eq!(posted.len(), 4, "three failures, then a success");
    for one in &posted {
        assert_eq!((one.method.as_str(), one.path.as_str(), one.text()), ("POST", "/hook?key=s3cr3t", "{\"code\": 1}"));
        assert_eq!(one.header("authorization"), Some("Bearer s3cr3t"));
        assert_eq!((one.header("x-team"), one.header("content-type")), (Some("backup"), Some("application/json")));
        assert_eq!(one.header("user-agent"), Some("icecore/test"));
    }
    // What cannot get better is tried once, and told without the secret.
    for status in [401, 404, 301] {
        server.answer([Answer::Status(status)]);
        let before = server.posted().len();
        let said = hook(client.clone(), address.clone(), LONG);
        assert!(said.len() == 1 && said[0].contains(&status.to_string()), "{said:?}");
        assert!(!said[0].contains("s3cr3t") && !said[0].contains("key="), "{said:?}");
        assert_eq!(server.posted().len(), before + 1);
    }
    for wrong in ["", "\n", "two\nlines", "x\u{1}"] {
        fs::write(&secret_file, wrong).unwrap();
        let said = hook(client.clone(), address.clone(), LONG);
        assert!(said.len() == 1 && said[0].contains("secret file"), "{said:?}");
    }
}

#[test]
fn only_a_server_that_is_trusted_hears_anything() {
    let server = WebServer::start_secure();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    fs::write(&file, server.ca_pem()).unwrap();
    let trusting = Client::new(Trust::File(file.clone()), "icecore/test");
    assert_eq!(hook(trusting.clone(), address(server.url()), LONG), [""; 0]);
    assert_eq!(server.posted().len(), 1);
    let other = WebServer::start_secure();
    let said = hook(trusting, address(other.url()), LONG);
    assert!(said.len() == 1 && said[0].contains("is not trusted"), "{said:?}");
    fs::write(&file, "no certificate").unwrap();
    let said = hook(Client::new(Trust::File(file), "icecore/test"), address(other.url()), LONG);
    assert!(said.len() == 1 && said[0].contains("no PEM certificate"), "{said:?}");
    assert!(other.posted().is_empty());
}

#[test]
fn who_does_not_answer_is_not_waited_for_beyond_the_time() {
    let server = WebServer::start();
    server.answer([Answer::Hang; 8]);
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, says) in [(server.url(), "did not answer in time"), (format!("http://{refused}"), "cannot be reached")] {
        let channels = Channels {
            webhook: Some((address(url.clone()), On::Always)),
            ping: Some(address(url.clone())),
            ..silent(Duration::from_millis(1500))
        };
        let said = Notifier::begin(channels).end(ending(Verdict::Well));
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said.iter().all(|said| said.contains(says) && said.contains(&url)), "{said:?}");
    }
}

#[test]
fn a_dead_mans_switch_hears_of_the_beginning_and_of_how_it_ended() {
    let components = |verdict: Verdict, still_failing: bool, answers: &[Answer]| {
        let server = WebServer::start();
        server.answer(answers.iter().copied());
        let channels = Channels { ping: Some(address(format!("{}/uuid", server.url()))), ..silent(LONG) };
        let notifier = Notifier::begin(channels);
        server.wait_for(answers.len().max(1));
        assert_eq!(notifier.end(Ending { still_failing, ..ending(verdict) }), [""; 0]);
        let posted = server.posted();
        assert!(posted.iter().all(|one| one.method == "POST"));
        let last = posted.last().unwrap();
        assert!(last.text() == if last.path.ends_with("start") { "" } else { "in words\n" });
        posted.into_iter().map(|one| one.path).collect::<Vec<_>>()
    };
    assert_eq!(components(Verdict::Well, false, &[]), ["/uuid/start", "/uuid"]);
    assert_eq!(components(Verdict::Failed, false, &[]), ["/uuid/start", "/uuid/fail"]);
    assert_eq!(components(Verdict::Well, true, &[]), ["/uuid/start", "/uuid/fail"]);
    assert_eq!(components(Verdict::Busy, false, &[]), ["/uuid/start"]);
    // A beginning that is not heard is told again, and never behind the end.
    let again = components(Verdict::Well, false, &[Answer::Status(500), Answer::Status(503)]);
    assert_eq!(again.iter().position(|path| path == "/uuid"), Some(again.len() - 1), "{again:?}");
}

#[test]
fn who_wants_to_hear_of_failures_alone_does() {
    let server = WebServer::start();
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    for (on, verdict, expected) in [
        (On::Failure, Verdict::Well, 0),
        (On::Failure, Verdict::Busy, 0),
        (On::Failure, Verdict::Failed, 1),
        (On::Always, Verdict::Well, 2),
        (On::Always, Verdict::Busy, 3),
    ] {
        let deliver: Arc<Deliver> = {
            let heard = Arc::clone(&heard);
            Arc::new(move |message: &[u8], _| {
                heard.lock().unwrap().push(String::from_utf8(message.to_vec()).unwrap());
                Ok(())
            })
        };
        let mail = Mail { to: vec!["a@b".into()], from: "c@d".into(), deliver };
        let channels = Channels { webhook: Some((address(server.url()), on)), mail: Some((mail, on)), ..silent(LONG) };
        assert_eq!(Notifier::begin(channels).end(ending(verdict)), [""; 0]);
        assert_eq!((server.posted().len(), heard.lock().unwrap().len()), (expected, expected), "{on:?} {verdict:?}");
    }
}

#[test]
fn a_run_that_dies_without_an_end_leaves_nothing_behind() {
    let server = WebServer::start();
    drop(Notifier::begin(Channels { ping: Some(address(server.url())), ..silent(LONG) }));
    assert!(server.posted().iter().all(|one| one.path == "/start"));
}

#[test]
fn what_can_never_work_is_told_before_it_is_tried() {
    let file = Some("/secret".into());
    let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    for (url, headers, secret_file, says) in [
        ("ftp://a", Vec::new(), None, "is not an address"),
        ("https://a/{secret}", Vec::new(), None, "secret-file, which is missing"),
        ("https://a", Vec::new(), file.clone(), "nothing uses the secret-file"),
        ("http://a/{secret}", Vec::new(), file.clone(), "write https://"),
        ("https://a", header("X Y", "z"), None, "cannot name a header"),
        ("https://a", header("Host", "z"), None, "icecore's own"),
        ("https://a", header("X", "z\r\nY: z"), None, "holds what no header can"),
    ] {
        let said = Address { url: url.into(), headers, secret_file }.check().unwrap_err();
        assert!(said.contains(says), "{url}: {said}");
    }
    let well = Address { url: "https://a/{secret}".into(), headers: Vec::new(), secret_file: file };
    assert_eq!(well.check(), Ok(()));
}
