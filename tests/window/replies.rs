//! The Management API loses replies, is late, refuses, or is gone for a while, in the middle of the window.

use std::fs;
use std::thread;
use std::time::Duration;

use icecore_testkit::live::{State, eventually};
use icecore_testkit::spe::{Body, Reply, Simulator, Switches};

use super::hold::Step;
use super::mailstore::{section, serve};
use super::{Site, snapshot};

/// What the server does, what the run ends with and says, and how often the instance was frozen and thawed.
type Case = (&'static str, fn(&mut Switches), i32, &'static str, u32);

/// What is wrong with the server, and how.
type Fault = (&'static str, fn(&mut Switches));

/// A freeze whose confirmation did not come may take effect late: it is looked out for, and thawed again.
#[test]
fn a_freeze_that_is_not_confirmed_is_thawed_whatever_became_of_it() {
    let cases: [Case; 5] = [
        ("lost", |switches| switches.lose_reply_of = Some("FreezeInstances"), 1, "could not freeze", 1),
        ("late", |switches| switches.freeze_delay = Duration::from_secs(8), 1, "could not freeze", 1),
        (
            "cancelled",
            |switches| {
                (switches.reply, switches.cancellable) = (Reply::Token, true);
                switches.freeze_delay = Duration::from_secs(600);
            },
            1,
            "could not freeze",
            0,
        ),
        ("refused", |switches| switches.refuse_freezes = 1, 1, "refused by the simulator", 0),
        (
            "forgotten",
            |switches| (switches.reply, switches.forget_tokens) = (Reply::Token, true),
            1,
            "could not freeze",
            1,
        ),
    ];
    each(&cases, "max-freeze = \"4s\"");
}

/// Whatever the thaw's replies are, it is asked for until it is confirmed.
#[test]
fn a_thaw_that_is_not_confirmed_is_asked_for_until_it_is() {
    let cases: [Case; 2] = [
        ("refused", |switches| switches.refuse_thaws = 5, 0, "", 1),
        ("late", |switches| switches.thaw_delay = Duration::from_secs(3), 0, "", 1),
    ];
    each(&cases, "");
}

fn each(cases: &[Case], more: &str) {
    thread::scope(|scope| {
        for case in cases {
            let work = move || play(case, more);
            thread::Builder::new().name(case.0.to_owned()).spawn_scoped(scope, work).unwrap();
        }
    });
}

fn play((name, change, code, words, freezes): &Case, more: &str) {
    let (simulator, site) = serve(Site::usual(""), more);
    simulator.set(change);
    let outcome = site.night().expect(*code);
    if *code != 0 {
        outcome.said(&["instance live", words]);
    }
    assert_eq!((simulator.freezes(), simulator.thaws()), (*freezes, *freezes), "{name}");
    expect_another_night(&simulator, &site);
}

fn expect_another_night(simulator: &Simulator, site: &Site<State>) {
    assert!(!simulator.is_frozen("cust01") && !site.journal().exists());
    site.live.expect_awake();
    simulator.set(|switches| *switches = Switches::default());
    let certificate = simulator.certificate_sha256();
    site.configure(&section(site, simulator, "cust01", certificate));
    let outcome = site.night().expect(0);
    assert_eq!(snapshot(&outcome)["verdict"], "application", "{outcome}");
    site.expect_restored(&outcome, &site.live.record());
}

/// While the instance is frozen the server goes, or a proxy stands in between: thawing waits for it.
#[test]
fn a_server_that_is_gone_for_a_while_is_waited_for() {
    let faults: [Fault; 4] = [
        ("gone", |switches| switches.reachable = false),
        ("ill", |switches| switches.http_status = Some(503)),
        ("a page", |switches| switches.body = Body::Html),
        ("lost", |switches| switches.lose_reply_of = Some("ThawInstances")),
    ];
    thread::scope(|scope| {
        for (name, fault) in faults {
            let work = move || {
                let Some(site) = Site::stepwise("") else { return };
                let (simulator, site) = serve(site, "");
                let freezer = section(&site, &simulator, "cust01", simulator.certificate_sha256());
                site.configure(&format!("{freezer}timeout = \"2s\""));
                let engine = site.hold(Step::Frozen);
                simulator.set(fault);
                let log = site.journal().with_extension("log");
                let outcome = thread::scope(|scope| {
                    let ending = scope.spawn(|| engine.go_on());
                    eventually(name, || fs::read_to_string(&log).unwrap_or_default().contains("thaw attempt 2 failed"));
                    simulator.set(|switches| *switches = Switches::default());
                    ending.join().unwrap()
                });
                assert_eq!(snapshot(&outcome.clone().expect(0))["verdict"], "application", "{name}: {outcome}");
                site.expect_restored(&outcome, &site.live.record());
                assert_eq!((simulator.freezes(), simulator.thaws()), (1, 1), "{name}");
                expect_another_night(&simulator, &site);
            };
            thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work).unwrap();
        }
    });
}
