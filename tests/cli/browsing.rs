//! How snapshots are named and shown.

use super::*;

#[test]
fn a_series_is_a_directory_however_it_is_called_or_a_name() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    std::os::unix::fs::symlink(&tree, home.path("home/other")).unwrap();
    fs::create_dir(home.path("home/sub")).unwrap();
    let canonical = fs::canonicalize(&tree).unwrap();
    for path in [tree.as_os_str(), "other".as_ref(), "sub/../other/.".as_ref(), "../tree".as_ref()] {
        let report = home.json(args!["backup", path]);
        assert_eq!(report["snapshot"]["instance"], canonical.to_str().unwrap());
    }
    let unchanged = home.json(["snapshots"]);
    let all = unchanged["snapshots"].as_array().unwrap();
    assert!(all.iter().skip(1).all(|snapshot| snapshot["parent"].is_string()), "{unchanged:#}");
    let named = home.backup(&tree, &["--name", "mine", "--tag", "a", "--tag", "b", "--host", "elsewhere"]);
    let named = &named["snapshot"];
    assert_eq!((&named["instance"], &named["host"]), (&"mine".into(), &"elsewhere".into()));
    assert_eq!((&named["tags"], &named["parent"]), (&serde_json::json!(["a", "b"]), &Value::Null));
    let mine = home.json(["snapshots", "--instance", "mine"]);
    assert_eq!(mine["snapshots"].as_array().unwrap().len(), 1);
}

#[test]
fn a_snapshot_is_found_by_each_kind_of_name() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    let mut ids = Vec::new();
    for night in 0..3 {
        write(tree.join("night"), night.to_string());
        ids.push(home.backup(&tree, &["--name", "n"])["snapshot"]["id"].as_str().unwrap().to_owned());
    }
    let taken = home.json(["show", &ids[1]])["snapshot"]["taken"].as_str().unwrap().to_owned();
    let at = format!("n@{taken}");
    for (name, night) in
        [("latest", 2), ("n", 2), ("n~1", 1), ("n~2", 0), (&at, 1), (&ids[0][..12], 0), ("n@2999-01-01", 2)]
    {
        assert_eq!(home.json(["show", name])["snapshot"]["id"], *ids[night], "{name}");
        let restored = home.restore(format!("{name}:night"), &format!("restored {name}"));
        assert_eq!(fs::read_to_string(restored.join("night")).unwrap(), night.to_string(), "{name}");
    }
    home.run(["show", "n~3"]).expect(1).said(&["n has 3"]);
    home.run(["show", "n@2001-01-01"]).expect(1).said(&["2001"]);
}

#[test]
fn a_list_shows_what_there_is() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    fs::set_permissions(tree.join("large"), PermissionsExt::from_mode(0o4750)).unwrap();
    fs::hard_link(tree.join("large"), tree.join("link to large")).unwrap();
    write(tree.join("new\nline"), "");
    home.backup(&tree, &["--name", "n"]);
    let names = home.ok(["ls", "n"]).out();
    assert_eq!(names.lines().collect::<Vec<_>>(), ["0/", "1/", "2/", "large", "link to large", "new\\nline"]);
    let long = home.ok(["ls", "-l", "n:large"]).out();
    assert!(long.contains("rwsr-x---") && long.contains("400,000"), "{long}");
    let entries = home.json(["ls", "-R", "n"]);
    let entries = entries["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 3 + 20 + 3);
    let entry = |path: &str| entries.iter().find(|entry| entry["path"] == path).unwrap();
    assert_eq!((&entry("large")["size"], &entry("large")["mode"]), (&400_000.into(), &"4750".into()));
    assert_eq!(entry("link to large")["link_of"], "large");
    assert_eq!(entry("1")["kind"], "directory");
}

#[test]
fn a_summary_tells_what_was_done() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    let first = home.ok(args!["backup", &tree]).out();
    for part in
        ["21 new", "0 changed", "0 unchanged", "read", "chunk", "added", "dedup", "compression", "time", "stable"]
    {
        assert!(first.contains(part), "{part}: {first}");
    }
    write(tree.join("0/0"), "changed");
    fs::remove_file(tree.join("1/1")).unwrap();
    settle();
    let second = home.ok(args!["backup", &tree]).out();
    for part in ["0 new", "1 changed", "19 unchanged", "1 entry removed"] {
        assert!(second.contains(part), "{part}: {second}");
    }
    let stats = home.json(["stats"]);
    assert_eq!(stats["snapshots"], 2);
    let ids: Vec<_> = home.objects("packs").iter().map(|pack| pack.file_name().unwrap().to_owned()).collect();
    assert_eq!(number(&stats["data_packs"]) + number(&stats["manifest_packs"]), ids.len() as u64);
    assert_eq!(number(&stats["pack_bytes"]), home.stored());
}
