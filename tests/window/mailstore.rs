//! The Management API as the freezer.

use std::time::Duration;

use icecore_testkit::live::State;
use icecore_testkit::spe::{Body, Filter, Instance, Options, Reply, Simulator, Switches};

use super::{Site, receipt, snapshot};
use crate::common::write;

/// A server that freezes the usual instance, and whatever else it serves.
pub fn served() -> (Simulator, Site<State>) {
    serve(Site::usual(""), "")
}

/// The same for an instance that is there. `more` stands in its section.
pub fn serve(site: Site<State>, more: &str) -> (Simulator, Site<State>) {
    write(site.home.path("api-password"), "secret\n");
    let (freezing, thawing) = (site.live.controls().clone(), site.live.controls().clone());
    let mut options = Options::new(vec![Instance::new("cust01"), Instance::new("cust010")]);
    options.on_freeze = Box::new(move |_| freezing.freeze());
    options.on_thaw = Box::new(move |_| thawing.thaw());
    let simulator = Simulator::start(options);
    let certificate = simulator.certificate_sha256();
    site.configure(&format!("{more}\n{}", section(&site, &simulator, "cust01", certificate)));
    (simulator, site)
}

/// The freezer's section of the configuration.
pub fn section(site: &Site<State>, simulator: &Simulator, id: &str, certificate: &str) -> String {
    let (endpoint, password) = (simulator.endpoint(), site.home.path("api-password"));
    format!(
        "[instance.freezer]\nkind = \"mailstore\"\nendpoint = {endpoint:?}\nuser = \"admin\"\n\
         password-file = {password:?}\ninstance-id = {id:?}\ncertificate-sha256 = {certificate:?}\n"
    )
}

#[test]
fn an_instance_is_frozen_by_its_server_once_a_night() {
    let (simulator, site) = served();
    let slowly = |switches: &mut Switches| {
        (switches.reply, switches.bom, switches.shows_frozen) = (Reply::Token, true, true);
        (switches.freeze_delay, switches.thaw_delay) = (Duration::from_millis(200), Duration::from_millis(200));
    };
    for night in 1..=3 {
        if night == 2 {
            simulator.set(slowly);
        }
        let outcome = site.night().expect(0);
        let snapshot = snapshot(&outcome);
        assert_eq!(snapshot["verdict"], "application", "{outcome}");
        let receipt = receipt(&snapshot);
        assert_eq!((&receipt["freezer"], &receipt["thawed_by"]), (&"mailstore".into(), &"engine".into()), "{receipt}");
        assert_eq!((simulator.freezes(), simulator.thaws()), (night, night));
        assert_eq!(
            (simulator.calls("FreezeInstances"), simulator.calls("ThawInstances")),
            (night as usize, night as usize)
        );
        site.expect_restored(&outcome, &site.live.record());
        site.live.expect_awake();
    }
    assert!(!site.journal().exists());
}

#[test]
fn a_thaw_that_the_server_refuses_is_asked_for_again() {
    let (simulator, site) = served();
    simulator.set(|switches| switches.refuse_thaws = 2);
    let outcome = site.night().expect(0);
    assert_eq!(snapshot(&outcome)["verdict"], "application", "{outcome}");
    site.expect_restored(&outcome, &site.live.record());
    assert_eq!((simulator.freezes(), simulator.thaws(), simulator.calls("ThawInstances")), (1, 1, 3));
}

#[test]
fn a_server_with_another_certificate_is_told_nothing() {
    let (simulator, site) = served();
    let other = "ab".repeat(32);
    site.configure(&section(&site, &simulator, "cust01", &other));
    let found = simulator.certificate_sha256().to_owned();
    let outcome = site.night().expect(1);
    let said = outcome.err().to_lowercase().replace(':', "");
    assert!(said.contains(&other) && said.contains(&found), "{outcome}");
    assert!(said.contains("nothing was frozen"), "{outcome}");
    assert_eq!((simulator.requests().len(), site.live.records().len()), (0, 0));
    assert!(!site.journal().exists());
    site.live.expect_awake();
}

#[test]
fn a_server_that_cannot_be_asked_freezes_nothing() {
    let (simulator, site) = served();
    for (change, words) in [
        ((|switches| switches.http_status = Some(401)) as fn(&mut Switches), "401"),
        (|switches| switches.http_status = Some(403), "403"),
        (|switches| switches.http_status = Some(411), "411"),
        (|switches| switches.body = Body::Html, "JSON"),
        (|switches| switches.body = Body::Endless, "longer than"),
        (|switches| switches.filter = Filter::Prefix, "cust01, cust010"),
        (|switches| switches.without = vec!["ThawInstances"], "does not know ThawInstances"),
        (|switches| switches.reachable = false, "refused"),
    ] {
        simulator.set(change);
        site.night().expect(1).said(&["instance live", "nothing was frozen", words]);
        simulator.set(|switches| *switches = Switches::default());
    }
    site.configure(&section(&site, &simulator, "cust99", simulator.certificate_sha256()));
    site.night().expect(1).said(&["instance live", "nothing was frozen", "has no instance \"cust99\""]);
    assert_eq!((simulator.calls("FreezeInstances"), site.live.records().len()), (0, 0));
    assert!(!site.journal().exists());
}
