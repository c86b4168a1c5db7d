//! What people see, word for word; ids and times of the run are replaced.

use super::Nights;
use crate::common::args;

/// Runs a command and gives what it prints and says, with its exit code, as at a terminal.
fn transcript(nights: &Nights, line: &str) -> String {
    let arguments = line.split(' ').map(|word| word.trim_matches('\''));
    let outcome = nights.home.run(arguments);
    let code = outcome.code().unwrap();
    let end = if code == 0 { String::new() } else { format!("[{code}]\n") };
    format!("$ icecore {line}\n{}{}{end}", replaced(&outcome.out()), replaced(&outcome.err()))
}

/// Ids become `ID`, times of this day `NOW`; what columns are filled up with shrinks.
fn replaced(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let words = line.split(' ').filter(|word| !word.is_empty()).map(|word| {
            let bare = word.trim_end_matches([',', ':', ';']);
            let is_id = bare.len() == 8 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_id { word.replace(bare, "ID") } else { word.to_owned() }
        });
        let mut line = words.collect::<Vec<_>>().join(" ");
        for (at, _) in line.clone().rmatch_indices("20") {
            let is_date = |text: &str| text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
            // Those of the tree are of the first days of 2026.
            if line.get(at..at + 10).is_some_and(is_date) && !line[at..].starts_with("2026-01-0") {
                let clock = line[at + 11..]
                    .find(|c: char| !c.is_ascii_digit() && c != ':')
                    .map_or(line.len(), |len| at + 11 + len);
                line.replace_range(at..clock, "NOW");
            }
        }
        // The sizes of records depend on the names of host and user.
        if let (Some(from), Some(to)) = (line.find("NOW "), line.find(" stable")) {
            line.replace_range(from + 4..to, "…");
        }
        lines.push(line + "\n");
    }
    lines.concat()
}

fn check(nights: &Nights, expected: &str) {
    let said: String = expected
        .lines()
        .filter_map(|line| line.strip_prefix("$ icecore "))
        .map(|line| transcript(nights, line))
        .collect();
    assert_eq!(said, expected, "\n--- what was said:\n{said}");
}

#[test]
fn find_and_history_collapse_nights_with_the_same_version() {
    let nights = Nights::new();
    check(&nights, FIND);
}

#[test]
fn diff_tells_what_changed_and_in_what() {
    let nights = Nights::new();
    check(&nights, DIFF);
}

#[test]
fn listing_printing_and_tagging() {
    let nights = Nights::new();
    check(&nights, REST);
}

const FIND: &str = "\
$ icecore find '*.txt'
wiki:a.txt
NOW to NOW 2 nights in ID 4 B changed 2026-01-02 00:00 ID
NOW to NOW 2 nights in ID 5 B changed 2026-01-06 00:00 ID
$ icecore find old.md
wiki:docs/old.md
NOW to NOW 2 nights in ID 4 B changed 2026-01-04 00:00 ID
NOW 1 night in ID 4 B changed 2026-01-04 00:00 ID
$ icecore find 'docs/*' --size -1K
wiki:docs/new.md
NOW to NOW 2 nights in ID 4 B changed 2026-01-07 00:00 ID
wiki:docs/old.md
NOW to NOW 2 nights in ID 4 B changed 2026-01-04 00:00 ID
NOW 1 night in ID 4 B changed 2026-01-04 00:00 ID
$ icecore find --regex ^docs/(new|old)
wiki:docs/new.md
NOW to NOW 2 nights in ID 4 B changed 2026-01-07 00:00 ID
wiki:docs/old.md
NOW to NOW 2 nights in ID 4 B changed 2026-01-04 00:00 ID
NOW 1 night in ID 4 B changed 2026-01-04 00:00 ID
$ icecore find OLD.MD --ignore-case --last 1
wiki:docs/old.md
NOW 1 night in ID 4 B changed 2026-01-04 00:00 ID
$ icecore find --type l
wiki:link
NOW to NOW 4 nights in ID link changed NOW
$ icecore find --type d --snapshot wiki~1
wiki:docs
NOW 1 night in ID directory changed NOW
$ icecore find --size +100K --newer 2026-01-02 --older 2026-01-06
wiki:large.bin
NOW to NOW 4 nights in ID 293 KiB changed 2026-01-05 00:00 ID
$ icecore find '!*.md' '!large.bin' '!docs' '!link'
wiki:a.txt
NOW to NOW 2 nights in ID 4 B changed 2026-01-02 00:00 ID
NOW to NOW 2 nights in ID 5 B changed 2026-01-06 00:00 ID
$ icecore find ''
icecore: \"\" matches nothing: without a pattern, everything is found
[2]
$ icecore find nowhere
nothing was found in 4 snapshots
$ icecore find --path docs --older 2026-01-04
wiki:docs/guide.md
NOW to NOW 4 nights in ID 2.93 KiB changed 2026-01-03 00:00 ID
$ icecore find --regex (
icecore: regex parse error:
(
^
error: unclosed group
[2]
$ icecore history wiki:a.txt
wiki:a.txt
NOW to NOW 2 nights in ID 4 B changed 2026-01-02 00:00 ID
NOW to NOW 2 nights in ID 5 B changed 2026-01-06 00:00 ID
$ icecore history wiki:docs/old.md
wiki:docs/old.md
NOW to NOW 2 nights in ID 4 B changed 2026-01-04 00:00 ID
NOW 1 night in ID 4 B changed 2026-01-04 00:00 ID
$ icecore history wiki:docs/old.md --last 2
wiki:docs/old.md
NOW 1 night in ID 4 B changed 2026-01-04 00:00 ID
$ icecore history wiki:nowhere
icecore: none of 4 nights of wiki holds \"nowhere\"; `icecore find nowhere -i wiki` looks for it anywhere
[1]
$ icecore history wiki
icecore: \"wiki\" names no file: expected NAME:PATH, as in wiki:config.php
[2]
$ icecore history wiki~1:a.txt
icecore: \"wiki~1\" names a single snapshot, and history looks at a whole series: `icecore history wiki:a.txt`
[1]
$ icecore history site:a.txt
icecore: no series is called \"site\"; there are wiki
[1]
";

const DIFF: &str = "\
$ icecore diff wiki~3 wiki~2
0 added (0 B), 0 removed (0 B), 0 with changed content, 0 with changed metadata, 0 of another type
$ icecore diff wiki~2 wiki~1
M a.txt (content, mtime; 4 B -> 5 B)
m docs/guide.md (mode)
+ docs/new.md
- docs/old.md
1 added (4 B), 1 removed (4 B), 1 with changed content, 1 with changed metadata, 0 of another type
$ icecore diff wiki~2 wiki~1 docs --name-only
docs/guide.md
docs/new.md
docs/old.md
$ icecore diff wiki~1 wiki~2 --stat
1 added (4 B), 1 removed (4 B), 1 with changed content, 1 with changed metadata, 0 of another type
$ icecore diff wiki wiki --name-only
$ icecore diff wiki --live
0 added (0 B), 0 removed (0 B), 0 with changed content, 0 with changed metadata, 0 of another type
$ icecore diff wiki~3 --live docs
m docs/guide.md (mode)
+ docs/new.md
1 added (4 B), 0 removed (0 B), 0 with changed content, 1 with changed metadata, 0 of another type
$ icecore diff wiki --live --rehash --stat
0 added (0 B), 0 removed (0 B), 0 with changed content, 0 with changed metadata, 0 of another type
$ icecore diff wiki --live --root other=/tmp
icecore: the snapshot has no root \"other\"; it has live
[2]
";

const REST: &str = "\
$ icecore cat wiki~3:a.txt
one
$ icecore cat wiki:a.txt
two!
$ icecore cat wiki:docs
icecore: \"docs\" is a directory: `icecore ls` lists it
[1]
$ icecore cat wiki:link
icecore: \"link\" is a symbolic link to \"a.txt\"
[1]
$ icecore cat wiki
icecore: \"wiki\" names no file: expected SNAP:PATH, as in wiki:config.php
[2]
$ icecore cat wiki:nowhere
icecore: snapshot ID holds no \"nowhere\"
[1]
$ icecore ls wiki
a.txt
docs/
large.bin
link
$ icecore tag wiki --add release --add good
ID wiki: release, good
$ icecore tag wiki wiki~1 --remove good
ID wiki: release
ID wiki: no tags
$ icecore tag wiki~3 --set first
ID wiki: first
$ icecore tag wiki
icecore: say what to change: --add TAG, --remove TAG, --set TAG or --clear
[2]
$ icecore snapshots --tag release
id instance taken entries size added verdict window tags
ID wiki NOW … stable - release
$ icecore snapshots --verdict stable --last 1
id instance taken entries size added verdict window tags
ID wiki NOW … stable - release
$ icecore snapshots --since 2040-01-01
no snapshot of that time; the first is ID, taken NOW, the last ID, taken NOW
$ icecore snapshots --tag relaese
no snapshot has such a tag; there are first, release
$ icecore snapshots --verdict fuzzy
none of 4 snapshots has such a verdict
$ icecore show wiki~9
icecore: wiki has 4 snapshot(s), so there is no wiki~9; the first is wiki~3, ID, taken NOW UTC
[1]
$ icecore snapshots -i site
icecore: no series is called \"site\"; there are wiki
[1]
$ icecore find old.md --tag first
wiki:docs/old.md
NOW 1 night in ID 4 B changed 2026-01-04 00:00 ID
";

#[test]
fn retention_and_the_tree_know_tags() {
    let nights = Nights::new();
    nights.home.ok(["tag", "wiki~3", "--add", "first"]);
    let tree = nights.home.ok(["snapshots", "--tree"]).out();
    assert_eq!(tree.lines().filter(|line| line.ends_with("stable  first")).count(), 1, "{tree}");
    assert_eq!(tree.matches(": 4 snapshots").count(), 2, "the series and its month: {tree}");
    let kept = nights.home.json(["forget", "--keep-tag", "first", "--keep-last", "1"]);
    assert_eq!((kept["kept"].as_u64(), kept["forgotten"].as_u64()), (Some(2), Some(2)));
    let oldest = &nights.home.json(["snapshots"])["snapshots"][0];
    assert_eq!(oldest["tags"][0], "first");
    // The copy of a snapshot has the tags that it has now.
    let other = nights.home.path("other");
    let key = nights.home.path("other key");
    nights.home.ok(args!["init", "--repo", &other, "--generate-password", &key]);
    nights.home.ok(args!["copy", "--to", &other, "--to-password-file", &key, "--tag", "first"]);
    let copied = nights.home.json(args!["snapshots", "--repo", &other, "--password-file", &key]);
    assert_eq!(
        (copied["snapshots"].as_array().unwrap().len(), &copied["snapshots"][0]["tags"][0]),
        (1, &"first".into())
    );
    nights.home.check(&[]);
    nights.home.check(&["--no-key"]);
}
