//! A real database, tested by its own program.

use std::fs;
use std::process::{Command, Stdio};

use icecore_testkit::{may_act_as_root, skip};

use super::{drilled, expect_nothing_left, expect_verified, proof};
use crate::common::write;
use crate::run::Site;

/// `gfix` ends with 0 also when it finds a page that is lost, and says nothing if it finds nothing.
const GFIX: &str = "said=$(gfix -v -full -user SYSDBA \"$1\" 2>&1) && [ -z \"$said\" ] || { echo \"$said\"; exit 1; }";

const PAGE: usize = 8192;

/// The first byte of a page that holds rows.
const DATA_PAGE: u8 = 5;

#[test]
fn a_sound_database_is_verified_and_a_damaged_one_fails() {
    if !may_act_as_root("Firebird's packages are needed") {
        return;
    }
    if ["isql-fb", "gfix"].iter().any(|program| Command::new(program).arg("-z").stdin(Stdio::null()).output().is_err())
    {
        return skip("there is no Firebird: install firebird3.0-server-core and firebird3.0-utils");
    }
    let site = Site::new("", &[]);
    let (file, script) = (site.home.make_dir("live/a").join("a.fdb"), site.home.path("script.sql"));
    let mut sql = format!(
        "CREATE DATABASE '{}' PAGE_SIZE {PAGE};\nCREATE TABLE message (id BIGINT NOT NULL PRIMARY KEY, body VARCHAR(2000));\n\
         COMMIT;\n",
        file.display()
    );
    for id in 1..=500 {
        sql.push_str(&format!("INSERT INTO message VALUES ({id}, RPAD('{id}', 1800, UUID_TO_CHAR(GEN_UUID())));\n"));
    }
    sql.push_str("COMMIT;\n");
    write(&script, &sql);
    let mut made = Command::new("isql-fb");
    made.args(["-quiet", "-bail", "-user", "SYSDBA", "-input"]).arg(&script);
    let made = made.stdin(Stdio::null()).output().unwrap();
    assert!(made.status.success() && made.stdout.is_empty(), "{}", String::from_utf8_lossy(&made.stdout));
    let verify = format!("verify = [\"/bin/sh\", \"-c\", {GFIX:?}, \"verify\", \"{{r}}/a.fdb\"]");
    site.configure("", &[("a", &verify)]);
    site.home.ok(["backup", "-i", "a"]);
    expect_verified(&site.home.run(["drill", "-i", "a", "--json"]).expect(0), "a");

    // The backup keeps what stands, whatever that is worth; the drill tells.
    let mut bytes = fs::read(&file).unwrap();
    let data: Vec<_> = (0..bytes.len() / PAGE).filter(|page| bytes[page * PAGE] == DATA_PAGE).collect();
    let lost = data[data.len() * 3 / 4] * PAGE;
    bytes[lost..lost + PAGE].fill(0);
    write(&file, &bytes);
    site.home.ok(["backup", "-i", "a"]);
    let outcome = site.home.run(["drill", "-i", "a", "--json"]).expect(1);
    assert_eq!(drilled(&outcome.json(), "a")["drill"]["result"], "failed", "{outcome}");
    assert_eq!((&proof(&site, "a")["verdict"], &proof(&site, "a~1")["verdict"]), (&"failed".into(), &"ok".into()));
    let message = proof(&site, "a")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("Number of data page errors"), "{message}");
    assert_eq!(fs::read(&file).unwrap(), bytes, "the live file is nobody's but the application's");
    expect_nothing_left(&site);
}
