//! How commands end.

use super::*;

#[test]
fn done_failed_misuse_partial_no_repository_wrong_password() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    home.run(args!["backup", &tree]).expect(0);

    home.run(args!["restore", "latest", "--to", &tree]).expect(1).said(&["tree"]);
    home.run(args!["restore", "nobody", "--to", home.path("to")]).expect(1).said(&["nobody", "tree"]);
    home.run(args!["ls", "latest:none"]).expect(1).said(&["none"]);
    home.run(args!["init", "--password-file", home.path("password")]).expect(1).said(&["already"]);

    home.run([""; 0]).expect(2);
    home.run(["no-such-command"]).expect(2);
    home.run(["backup"]).expect(2);
    home.run(["restore", "latest"]).expect(2);
    home.run(["stats", "--repo", "s3://bucket"]).expect(2).said(&["s3"]);

    home.run(args!["stats", "--repo", home.path("nothing")]).expect(10).said(&["nothing", "init"]);
    home.run(args!["stats", "--repo", &tree]).expect(10);

    write(home.path("wrong"), "not it\n");
    home.run(args!["stats", "--password-file", home.path("wrong")]).expect(12).said(&["password"]);
    write(home.path("empty"), "\n");
    home.run(args!["stats", "--password-file", home.path("empty")]).expect(2).said(&["empty"]);

    // Without its data the rest is restored, and what is missing is named.
    write(tree.join("later"), noise(7, 300_000));
    let before = home.objects("packs");
    home.backup(&tree, &[]);
    let mut added = home.objects("packs");
    added.retain(|pack| !before.contains(pack));
    let data = added.iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    fs::remove_file(data).unwrap();
    home.run(args!["restore", "latest", "--to", home.path("partial")]).expect(3).said(&["not restored: later"]);
    assert!(home.path("partial/large").is_file() && !home.path("partial/later").exists());
    home.run(["check"]).expect(1);
}

#[test]
fn an_existing_directory_is_not_made_a_repository() {
    let home = Home::new();
    let tree = make_tree(&home);
    let line = args!["init", "--repo", &tree, "--generate-password", home.path("key")];
    home.run(&line).expect(1).said(&["not empty"]);
    assert!(!tree.join("config").exists());
}
