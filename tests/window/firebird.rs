//! A real database.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use icecore_testkit::live::Work;
use icecore_testkit::{may_act_as_root, skip};

use super::{Site, receipt, snapshot};
use crate::common::{Home, number, write};

const NIGHTS: usize = 20;

/// Rows of one transaction.
const BATCH: u64 = 20;

/// A database into which transactions are committed all the time. Each is a client of its own.
struct Database {
    file: PathBuf,
    script: PathBuf,
    rows: u64,
}

impl Database {
    fn create(home: &Home) -> Self {
        let (file, script) = (home.make_dir("live/base").join("archive.fdb"), home.path("script.sql"));
        let create = format!(
            "CREATE DATABASE '{}' PAGE_SIZE 8192;\nCREATE TABLE message (id BIGINT NOT NULL PRIMARY KEY, touched BIGINT, \
             body VARCHAR(2000));\nCREATE INDEX by_touch ON message (touched);\nCOMMIT;\n",
            file.display()
        );
        sql(None, &script, &create);
        Self { file, script, rows: 0 }
    }
}

impl Work for Database {
    type Record = u64;

    fn step(&mut self) {
        let mut script = String::new();
        for id in self.rows + 1..=self.rows + BATCH {
            let len = 100 + id * 7919 % 1800;
            script.push_str(&format!("INSERT INTO message VALUES ({id}, 0, RPAD('{id}', {len}, 'ice'));\n"));
        }
        let (some, all) = (self.rows % 7, self.rows + BATCH);
        script.push_str(&format!("UPDATE message SET touched = {all} WHERE MOD(id, 7) = {some};\nCOMMIT;\n"));
        sql(Some(&self.file), &self.script, &script);
        self.rows = all;
    }

    fn record(&mut self) -> u64 {
        self.rows
    }
}

/// Runs a script by the embedded engine: no server, no network. What it printed.
fn sql(database: Option<&Path>, script: &Path, text: &str) -> String {
    write(script, text);
    let mut command = Command::new("isql-fb");
    command.args(["-quiet", "-bail", "-user", "SYSDBA", "-input"]).arg(script).args(database);
    let output = command.stdin(Stdio::null()).output().expect("isql-fb");
    let said = said(&output);
    assert!(output.status.success() && !said.contains("Statement failed"), "{said}\n{text}");
    said
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_database_comes_back_with_what_was_committed_before_its_freeze() {
    if !may_act_as_root("Firebird's packages are needed") {
        return;
    }
    if ["isql-fb", "gfix"].iter().any(|program| Command::new(program).arg("-z").stdin(Stdio::null()).output().is_err())
    {
        return skip("there is no Firebird: install firebird3.0-server-core and firebird3.0-utils");
    }
    let home = Home::with_repository();
    home.make_dir("live/store");
    let work = Database::create(&home);
    let site = Site::new(home, work, "");
    let mut before = 0;
    for night in 1..=NIGHTS {
        site.live.expect_awake();
        let outcome = site.night().expect(0);
        let snapshot = snapshot(&outcome);
        assert_eq!(snapshot["verdict"], "application", "{outcome}");
        assert_eq!(number(&receipt(&snapshot)["hot_files"]), 1, "{outcome}");
        let committed = site.live.record();
        assert!(committed > before, "nothing was written since the night before");
        before = committed;

        let restored = site.home.restore(snapshot["id"].as_str().unwrap(), &format!("night-{night}"));
        let copy = restored.join("base/archive.fdb");
        let validated = Command::new("gfix").args(["-v", "-full", "-user", "SYSDBA"]).arg(&copy).output().unwrap();
        assert!(validated.status.success() && said(&validated).trim().is_empty(), "{}", said(&validated));
        let query = "SET HEADING OFF;\nSELECT COUNT(*) || ' ' || MAX(id) || ' ' || SUM(id) || ' ' || \
                     COUNT(CASE WHEN body STARTING WITH CAST(id AS VARCHAR(20)) THEN 1 END) FROM message;\n";
        let found = sql(Some(&copy), &site.home.path("query.sql"), query);
        let expected = format!("{committed} {committed} {} {committed}", committed * (committed + 1) / 2);
        assert_eq!(found.split_whitespace().collect::<Vec<_>>().join(" "), expected, "night {night}");
        site.expect_awake(night, night);
    }
}
