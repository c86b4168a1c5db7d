//! `diff --live`: the live side is looked at as it was when the snapshot was made.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use icecore_testkit::SmallDisk;

use super::{Nights, put};
use crate::common::{Home, Running, args, settle, write};

#[test]
fn what_the_backup_left_out_is_not_called_added() {
    let Some(disk) = SmallDisk::of_kind("ext4", 16 << 20) else { return };
    let home = Home::with_repository();
    let live = home.make_dir("live");
    write(live.join("file"), "file");
    write(live.join("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n");
    write(live.join("cache/big"), "again and again");
    write(live.join("notes.tmp"), "left out");
    write(disk.path().join("photo"), "elsewhere");
    let uploads = home.make_dir("live/uploads");
    assert!(Command::new("mount").arg("--bind").arg(disk.path()).arg(&uploads).status().unwrap().success());
    settle();
    fs::write(home.path("patterns"), "\u{feff}*.tmp\n").unwrap();
    let patterns = home.path("patterns");
    home.ok(args![
        "backup",
        &live,
        "--name",
        "tree",
        "--exclude-caches",
        "--one-file-system",
        "--exclude-file",
        &patterns
    ]);
    let as_then = home.json(["diff", "tree", "--live"]);
    home.ok(args!["backup", &live, "--name", "all"]);
    let all = home.json(["diff", "all", "--live"]);
    write(live.join("cache/more"), "and again");
    write(uploads.join("new"), "elsewhere");
    let later = [home.json(["diff", "tree", "--live"]), home.json(["diff", "all", "--live"])];
    let shown = home.ok(["show", "tree"]).out();
    let record = home.json(["show", "tree"]);
    assert!(Command::new("umount").arg(&uploads).status().unwrap().success());
    assert_eq!((as_then["changes"].as_array().unwrap().len(), all["changes"].as_array().unwrap().len()), (0, 0));
    assert_eq!((&later[0]["stat"]["added"], &later[1]["stat"]["added"]), (&0.into(), &2.into()), "{later:#?}");
    assert!(shown.contains("CACHEDIR.TAG") && shown.contains("what is mounted below"), "{shown}");
    assert_eq!(
        (&record["snapshot"]["exclude_caches"], &record["snapshot"]["one_file_system"]),
        (&true.into(), &true.into())
    );
}

#[test]
fn a_path_that_is_no_text_is_taken() {
    let nights = Nights::new();
    let odd = OsString::from_vec(b"odd \xff\xfe".to_vec());
    put(&nights.live.join(&odd).join("a"), b"one", 8);
    nights.night();
    put(&nights.live.join(&odd).join("b"), b"two", 9);
    put(&nights.live.join("elsewhere"), b"three", 9);
    let found = nights.home.json(args!["diff", "wiki", "--live", &odd]);
    assert_eq!((found["changes"].as_array().unwrap().len(), &found["stat"]["added"]), (1, &1.into()), "{found:#}");
    nights.night();
    let found = nights.home.json(args!["diff", "wiki~1", "wiki", &odd]);
    assert_eq!((found["changes"].as_array().unwrap().len(), &found["stat"]["added"]), (1, &1.into()), "{found:#}");
}

/// Who compares as a user without powers meets what cannot be listed: it is told where it touches what was asked for.
#[test]
fn problems_elsewhere_are_not_told() {
    const NOBODY: &str = "65534";
    if !rustix::process::geteuid().is_root() {
        return icecore_testkit::skip("nobody's problems are met as nobody, which takes root");
    }
    let home = Home::with_repository();
    write(home.path("live/open/file"), "file");
    write(home.path("live/closed/inner/file"), "file");
    settle();
    home.backup(&home.path("live"), &["--name", "tree"]);
    assert!(Command::new("chown").args(["-R", NOBODY]).arg(home.path("")).status().unwrap().success());
    let closed = home.path("live/closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let diff = |path: &str| {
        let program = home.command(["diff", "tree", "--live", path, "--json"]);
        let mut command = Command::new("setpriv");
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"]);
        command.arg(program.get_program()).args(program.get_args()).env_clear();
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(home.path("home"));
        Running::start(command).finish()
    };
    let (open, below, all) = (diff("open"), diff("closed/inner"), diff(""));
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(open.expect(0).json()["damaged"].as_array().unwrap().len(), 0);
    for touched in [below, all] {
        let document = touched.expect(3).json();
        let told = document["damaged"].as_array().unwrap();
        assert!(told.iter().any(|sentence| sentence.as_str().unwrap().starts_with("\"closed\"")), "{document:#}");
        assert_eq!(document["stat"]["removed"], 0, "{document:#}");
    }
}
