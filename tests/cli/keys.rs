//! Keys come and go.

use super::*;

fn ids(home: &Home) -> Vec<(String, String)> {
    let listed = home.json(["key", "list"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    listed["keys"].as_array().unwrap().iter().map(|key| (text(&key["id"]), text(&key["role"]))).collect()
}

#[test]
fn come_and_go() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    home.backup(&tree, &[]);
    let [(first, role)] = ids(&home).try_into().unwrap();
    assert_eq!(role, "reader");
    home.run(["key", "remove", &first]).expect(1).said(&["last"]);

    // A second reader, with a password of a person.
    let second = home.path("second");
    write(&second, "correct horse battery staple\n");
    home.ok(args!["key", "add", "--label", "zweiter", "--new-password-file", &second]);
    assert_eq!(ids(&home).len(), 2);
    home.ok(args!["snapshots", "--password-file", &second]);
    assert!(home.ok(["key", "list"]).out().contains("zweiter"));

    // It changes its password: the old one is worth nothing, the other key everything.
    let third = home.path("third");
    home.ok(args!["key", "change", "--generate-password", &third, "--password-file", &second]);
    home.run(args!["snapshots", "--password-file", &second]).expect(12);
    home.ok(args!["snapshots", "--password-file", &third]);
    home.ok(["snapshots"]);
    assert_eq!(ids(&home).len(), 2);

    // The first one goes, and what it backed up is still there for the other.
    home.ok(args!["key", "remove", &first[..8], "--password-file", &third]);
    home.run(["snapshots"]).expect(12);
    let mut home = home;
    home.set("ICECORE_PASSWORD_FILE", third);
    assert_same(&tree, &home.restore("latest", "restored"));
    home.check(&["--read-data"]);
    home.run(["key", "remove", "0000"]).expect(1);

    // The environment can hold the password itself.
    let bare = fs::read_to_string(home.path("third")).unwrap();
    home.set("ICECORE_PASSWORD_FILE", "");
    home.set("ICECORE_PASSWORD", bare);
    home.ok(["stats"]);
}

#[test]
fn a_writer_reads_nothing() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    home.backup(&tree, &["--name", "secrets"]);
    let writer = home.path("writer");
    home.ok(args!["key", "add", "--role", "writer", "--label", "web1", "--generate-password", &writer]);
    assert_eq!(fs::metadata(&writer).unwrap().permissions().mode() & 0o777, 0o600);
    let mut roles: Vec<_> = ids(&home).into_iter().map(|(_, role)| role).collect();
    roles.sort();
    assert_eq!(roles, ["reader", "writer"]);

    // On a host of its own, which holds no index that a reader made.
    let reads: [&[&str]; 5] = [
        &["restore", "secrets", "--to", "restored"],
        &["ls", "secrets"],
        &["show", "secrets"],
        &["snapshots"],
        &["check", "--read-data"],
    ];
    for line in reads {
        let as_writer = args!["--password-file", &writer, "--state-dir", home.path("another host")];
        let refused = home.run(line.iter().map(Into::into).chain(as_writer)).expect(1).said(&["reader"]);
        assert_eq!(refused.out(), "", "{refused}");
    }
    assert!(!home.path("home/restored").exists());
    // Nor where a reader works too.
    home.run(args!["restore", "secrets", "--to", "restored", "--password-file", &writer]).expect(1).said(&["reader"]);
    assert!(!home.path("home/restored").exists());
}
