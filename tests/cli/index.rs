//! The local index is derived.

use super::*;

#[test]
fn losing_the_state_directory_loses_nothing() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    home.backup(&tree, &[]);
    let lose = || fs::remove_dir_all(home.path("home/.local")).unwrap();
    lose();
    assert_same(&tree, &home.restore("latest", "restored"));
    lose();
    home.ok(["rebuild-index"]);
    home.check(&["--read-data"]);
    lose();
    let again = home.backup(&tree, &[]);
    assert_eq!(again["snapshot"]["totals"]["bytes_read"], 0);
    assert_eq!(again["snapshot"]["totals"]["bytes_added"], 0);

    // A damaged one is as good as none.
    let database = home.json(["stats"])["index"].as_str().unwrap().to_owned();
    write(&database, noise(1, 5000));
    home.ok(["rebuild-index"]);
    assert_same(&tree, &home.restore("latest", "restored again"));
}

#[test]
fn losing_the_fragments_costs_one_command() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    home.backup(&tree, &[]);
    for keep_state in [true, false] {
        let fragments = home.objects("index");
        assert!(!fragments.is_empty());
        fragments.iter().for_each(|fragment| fs::remove_file(fragment).unwrap());
        if !keep_state {
            fs::remove_dir_all(home.path("home/.local")).unwrap();
        }
        let rebuilt = home.json(["rebuild-index"]);
        assert_eq!(rebuilt["missing"], serde_json::json!([]));
        assert_eq!(rebuilt["packs"], home.objects("packs").len());
        assert!(!home.objects("index").is_empty(), "other hosts read them");
        assert_same(&tree, &home.restore("latest", &format!("restored {keep_state}")));
        home.check(&["--read-data"]);
    }
    fs::remove_dir_all(home.path("home/.local")).unwrap();
    assert_eq!(home.backup(&tree, &[])["snapshot"]["totals"]["bytes_added"], 0);
}
