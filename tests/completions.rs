//! Completions as shells get them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::common::{Home, Outcome, Running, settle, write};

/// Two series, `wiki` with two nights and the tag `release`, and `a mail` with one.
fn home() -> Home {
    let home = Home::with_repository();
    write(home.path("live/a"), "a");
    home.backup(&home.path("live"), &["--name", "wiki", "--tag", "release"]);
    settle();
    home.backup(&home.path("live"), &["--name", "wiki"]);
    home.backup(&home.path("live"), &["--name", "a mail"]);
    home
}

/// What bash would offer for the last of these words.
fn bash(home: &Home, words: &[&str]) -> Vec<String> {
    let program = PathBuf::from(home.command([""; 0]).get_program());
    let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let (last, before) = (quoted.last().unwrap(), quoted.get(quoted.len().wrapping_sub(2)).unwrap());
    let script = format!(
        "PATH=\"$BIN:$PATH\"; source <(icecore completions bash); COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9\n\
         _clap_complete_icecore icecore {last} {before}; for word in \"${{COMPREPLY[@]}}\"; do echo \"$word\"; done",
        quoted.join(" "),
        words.len() - 1,
    );
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", &script]).env_clear().current_dir(home.path("home"));
    let template = home.command([""; 0]);
    command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("BIN", program.parent().unwrap());
    let outcome = Running::start(command).finish().expect(0);
    assert_eq!(outcome.err(), "", "{outcome}");
    // Options are offered too where something else may stand.
    let is_asked = |word: &&str| words[words.len() - 1].starts_with('-') || !word.starts_with('-');
    outcome.out().lines().filter(is_asked).map(str::to_owned).collect()
}

/// What another shell is answered.
fn asked(home: &Home, shell: &str, words: &[&str]) -> Outcome {
    let mut command = home.command(["--"].iter().chain(words));
    command.env("ICECORE_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
    Running::start(command).finish()
}

#[test]
fn bash_knows_series_snapshots_and_tags() {
    let home = home();
    let ids: Vec<String> = home.json(["snapshots"])["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|snapshot| snapshot["id"].as_str().unwrap()[..8].to_owned())
        .collect();
    let [first, second, third] = &ids[..] else { panic!("{ids:?}") };
    assert_eq!(bash(&home, &["icecore", "ls", "wi"]), ["wiki"]);
    assert_eq!(bash(&home, &["icecore", "restore", "lat"]), ["latest"]);
    assert_eq!(bash(&home, &["icecore", "show", "wiki~"]), ["wiki~1"]);
    assert_eq!(bash(&home, &["icecore", "cat", &first[..7]]), [first.as_str()]);
    // A name that bash would take apart is left out; its snapshots have ids.
    assert_eq!(bash(&home, &["icecore", "diff", "wiki", ""]), ["wiki", "latest", third, second, first]);
    assert_eq!(bash(&home, &["icecore", "find", "x", "-i", ""]), ["wiki"]);
    assert_eq!(bash(&home, &["icecore", "snapshots", "--tag", "re"]), ["release"]);
    assert_eq!(bash(&home, &["icecore", "hist"]), ["history"]);
    assert_eq!(bash(&home, &["icecore", "check", "--read-d"]), ["--read-data"]);
    let repository = home.repository();
    let begun = format!("{}/rep", repository.parent().unwrap().display());
    assert_eq!(bash(&home, &["icecore", "ls", "--repo", &begun]), [format!("{}/", repository.display())]);
}

#[test]
fn shells_that_show_it_are_told_what_a_word_is() {
    let home = home();
    let fish = asked(&home, "fish", &["icecore", "ls", "wik"]).expect(0).out();
    assert!(fish.starts_with("wiki\twiki, 20"), "{fish}");
    let zsh = asked(&home, "zsh", &["icecore", "ls", "wik"]).expect(0).out();
    assert!(zsh.starts_with("wiki:wiki, 20"), "{zsh}");
    asked(&home, "no-shell", &["icecore", "ls", ""]).expect(2).said(&["unknown shell"]);
}

#[test]
fn configured_instances_are_known() {
    let mut home = Home::new();
    let configuration = "[[instance]]\nname = 'cust01'\nroots = { base = '/srv/a' }\n\
                         [[instance]]\nname = 'cust02'\nroots = { base = '/srv/b' }\n";
    let file = home.path("config.toml");
    fs::write(&file, configuration).unwrap();
    // Also of a file that the line itself names.
    let typed = file.display().to_string();
    assert_eq!(bash(&home, &["icecore", "--config", &typed, "backup", "-i", "cust"]), ["cust01", "cust02"]);
    assert!(bash(&home, &["icecore", "backup", "-i", "cust"]).is_empty());
    home.set("ICECORE_CONFIG", &file);
    assert_eq!(bash(&home, &["icecore", "backup", "-i", "cust01", "cust"]), ["cust01", "cust02"]);
    assert_eq!(bash(&home, &["icecore", "instance", "status", "cust02"]), ["cust02"]);
    fs::write(&file, "[[instance]\n").unwrap();
    assert!(bash(&home, &["icecore", "backup", "-i", "cust"]).is_empty());
}

/// Everything below a directory with its size and time.
fn traces(directory: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            found.push((path.clone(), meta.len(), meta.modified().unwrap()));
            if meta.is_dir() {
                pending.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn nothing_is_asked_and_nothing_is_changed() {
    let mut home = home();
    // What a killed backup leaves, which every other command clears away.
    write(home.repository().join("tmp/left"), "over");
    let before = traces(&home.path(""));
    fs::remove_file(home.path("password")).unwrap();
    home.set("ICECORE_PASSWORD_FILE", "");
    let without = traces(&home.path(""));
    assert_eq!(bash(&home, &["icecore", "ls", "wi"]), ["wiki"]);
    assert_eq!(traces(&home.path("")), without);
    assert_eq!(before.len(), without.len() + 1);
    // A host that has not seen the repository knows the names of the records, and makes no index for that.
    let ids = home.objects("snapshots");
    let id = &ids[0].file_name().unwrap().to_str().unwrap()[..8];
    home.set("ICECORE_STATE_DIR", home.path("elsewhere"));
    assert_eq!(bash(&home, &["icecore", "ls", id]), [id]);
    assert!(bash(&home, &["icecore", "ls", "wi"]).is_empty() && !home.path("elsewhere").exists());
    // No repository, and no more to offer.
    home.set("ICECORE_REPOSITORY", home.path("nowhere"));
    assert!(bash(&home, &["icecore", "ls", ""]).is_empty());
}
