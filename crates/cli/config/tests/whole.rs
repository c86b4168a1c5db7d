//! The file as a whole: all its problems, what it shares, the example, what is shown.

use std::collections::BTreeSet;

use icecore_engine::prune::MaxUnused;
use toml::de::{DeTable, DeValue};

use super::*;

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = "[repositry]\n\n[limits]\nthreads = 0\nread-rate = 'fast'\n[defaults]\nschedule = 'x'\n\
                [[instance]]\nname = ''\nroots = { a = 'b', c = '/c' }\n\"\u{e4}\" = 1\n\
                [[instance]]\nexclude = [1]\nkeep = { daily = 0, last = 1 }\n\
                freezer = { kind = 'command', freeze = ['f'], x = 1 }\n";
    let errors = parse(text).unwrap_err();
    let places: Vec<_> = errors.0.iter().map(|error| (error.at.line, error.at.column, error.at.key.as_str())).collect();
    let expected = [
        (1, 2, "repositry"),
        (4, 1, "limits.threads"),
        (5, 1, "limits.read-rate"),
        (7, 1, "defaults.schedule"),
        (9, 1, "instance.name"),
        (10, 11, "instance.roots.a"),
        (11, 1, "instance.\u{e4}"),
        (12, 1, "instance.name"),
        (12, 1, "instance.roots"),
        (13, 12, "instance.exclude"),
        (14, 10, "instance.keep.daily"),
        (15, 1, "instance.freezer.thaw"),
        (15, 31, "instance.freezer.freeze"),
        (15, 47, "instance.freezer.x"),
    ];
    assert_eq!(places, expected, "{errors}");
    assert_eq!(errors.to_string().lines().count(), expected.len());
}

#[test]
fn text_that_is_no_toml_is_told_line_by_line() {
    let errors = parse("a = = 3\n[limits]\nthreads = 0\n[x\n").unwrap_err();
    assert!(errors.0.iter().any(|error| error.at.line == 1) && errors.0.iter().any(|error| error.at.line == 4));
}

#[test]
fn instances_share_what_the_defaults_say() {
    let text = "[defaults]\nexclude = ['*.tmp']\nmax-freeze = '5s'\nschedule = 'hourly'\nkeep = { daily = 7, last = 2 }\n\
                hooks = { before = ['/b'], finally = ['/f'], timeout = '10s' }\n\
                [[instance]]\nname = 'a'\nroots = { a = '/a' }\n\
                [[instance]]\nname = 'b'\nroots = { a = '/b' }\nexclude = ['!x.tmp']\nkeep = { weekly = 1 }\n\
                max-freeze = '6s'\nschedule = 'never'\nhooks = { before = ['/c'] }\n";
    let read = parse(text).unwrap();
    let [a, b] = &read.instances[..] else { panic!("{read:?}") };
    assert_eq!((&a.exclude[..], &a.keep.rules[..]), (&["*.tmp".to_owned()][..], &[("last", 2), ("daily", 7)][..]));
    assert_eq!((a.freezing.max_freeze, a.schedule.to_string()), (Duration::from_secs(5), "hourly".to_owned()));
    assert_eq!(
        (&b.exclude[..], &b.keep.rules[..]),
        (&["*.tmp", "!x.tmp"].map(str::to_owned)[..], &[("weekly", 1)][..])
    );
    assert_eq!((b.freezing.max_freeze, b.schedule.is_never()), (Duration::from_secs(6), true));
    let hooks = |before: &str| Hooks {
        before: Some(vec![before.to_owned()]),
        finally: Some(vec!["/f".to_owned()]),
        timeout: Duration::from_secs(10),
        ..Hooks::default()
    };
    assert_eq!((&a.hooks, &b.hooks, &read.hooks), (&hooks("/b"), &hooks("/c"), &Hooks::default()));
}

#[test]
fn an_instance_overrides_drills_key_by_key() {
    let text = "[drill]\nschedule = 'sat 06:00'\nscratch = '/scratch'\n[[instance]]\nname = 'a'\nroots = { a = '/a' }\n\
                [[instance]]\nname = 'b'\nroots = { a = '/b' }\ndrill = { snapshot = 'random', timeout = '1h' }\n";
    let read = parse(text).unwrap();
    let [a, b] = &read.instances[..] else { panic!("{read:?}") };
    assert_eq!(a.drill, read.drill);
    assert_eq!((a.drill.snapshot, a.drill.timeout), (DrillChoice::Newest, Duration::from_secs(2 * 3600)));
    let expected = DrillJob { snapshot: DrillChoice::Random, timeout: Duration::from_secs(3600), ..read.drill.clone() };
    assert_eq!(b.drill, expected);
    assert!(parse("").unwrap().drill.schedule.is_never());
}

#[test]
fn a_test_program_is_told_where_the_copies_are() {
    let text = instance("verify = ['/t', '{base}/x', '{b}', '-{base}-']");
    let read = parse(&text).unwrap();
    let one = &read.instances[0];
    let test = one.test_program(|root| Path::new("/copy").join(&root.name)).unwrap();
    let names: Vec<_> = one.tested_roots().map(|root| root.name.as_str()).collect();
    assert_eq!(
        (names.as_slice(), test),
        (&["base"][..], ["/t", "/copy/base/x", "{b}", "-/copy/base-"].map(str::to_owned).to_vec())
    );
    assert!(parse(&instance("")).unwrap().instances[0].test_program(|root| root.path.clone()).is_none());
}

/// The example with its keys alive: what stands behind a single `#` is a line of the file.
fn living_example() -> String {
    let line = |line: &str| line.strip_prefix("# ").unwrap_or(line).to_owned() + "\n";
    EXAMPLE.lines().map(line).collect()
}

#[test]
fn the_example_is_a_configuration_with_and_without_its_comments() {
    let plain = parse(EXAMPLE).unwrap();
    assert_eq!((plain.instances.len(), plain.instances[0].name.as_str()), (1, "wiki"));
    let text = living_example();
    let all = parse(&text).unwrap();
    assert_eq!(all.instances.len(), 3);

    // Every key that the parser knows.
    let document = DeTable::parse(&text).unwrap();
    let mut found = BTreeSet::new();
    gather("", document.get_ref(), &mut found);
    for (table, keys) in file::TABLES {
        for key in *keys {
            let path = if table.is_empty() { (*key).to_owned() } else { format!("{table}.{key}") };
            assert!(found.contains(&path), "the example lacks {path}");
        }
    }
}

#[test]
fn the_defaults_that_the_example_names_are_those_that_hold() {
    let bare = parse(
        "[repository]\nurl = '/srv/icecore'\npassword-file = '/etc/icecore/password'\n\
                      [[instance]]\nname = 'wiki'\nroots = { data = '/srv/wiki' }",
    )
    .unwrap();
    // What is only an example, or chooses among others, says nothing of defaults.
    let kept = |line: &&str| {
        let key = line.strip_prefix("# ").is_some_and(|line| !line.starts_with('['));
        !line.contains("(an example)") || !key
    };
    let text: Vec<_> = EXAMPLE.lines().filter(kept).collect();
    let end = text.iter().position(|line| line.starts_with("# [instance.keep]")).unwrap();
    let care = text.iter().position(|line| line.starts_with("# [hooks]")).unwrap();
    let alive = |line: &&str| line.strip_prefix("# ").unwrap_or(line).to_owned() + "\n";
    let text: String = text[..end].iter().chain(&text[care..]).map(alive).collect();
    let (mut named, mut held) = (parse(&text).unwrap().show(), bare.show());
    // The built-in share of a prune is the engine's.
    assert_eq!(named["prune"].as_object_mut().unwrap().remove("max-unused").unwrap(), "5%");
    assert_eq!(icecore_engine::prune::PruneOptions::new(String::new()).max_unused, MaxUnused::Percent(5));
    held["prune"].as_object_mut().unwrap().remove("max-unused");
    assert_eq!(named, held);
}

fn gather(inside: &str, table: &DeTable<'_>, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if inside.is_empty() { key.get_ref().to_string() } else { format!("{inside}.{}", key.get_ref()) };
        match value.get_ref() {
            DeValue::Table(table) => gather(&path, table, found),
            DeValue::Array(array) => {
                for element in array {
                    if let DeValue::Table(table) = element.get_ref() {
                        gather(&path, table, found);
                    }
                }
            }
            _ => {}
        }
        found.insert(path);
    }
}

#[test]
fn what_is_shown_means_the_same_when_it_is_read() {
    for text in [living_example(), EXAMPLE.to_owned(), instance(""), String::new(), snapshot("", "")] {
        let shown = parse(&text).unwrap().show();
        let again = toml::to_string(&shown).unwrap();
        assert_eq!(parse(&again).unwrap_or_else(|errors| panic!("{errors}\n{again}")).show(), shown);
    }
}

#[test]
fn what_the_file_names_on_the_disk_is_known_with_its_place() {
    let read = parse(&with_freezer("", "{ kind = 'command', freeze = ['/f', 'x'], thaw = ['/t'] }")).unwrap();
    let name = |found: &'_ Reference| (found.at.line, found.path.display().to_string(), found.is_program);
    let names: Vec<_> = read.references.iter().map(name).collect();
    for expected in [(3, "/srv/a", false), (5, "/f", true), (5, "/t", true)] {
        let (line, path, is_program) = expected;
        assert!(names.contains(&(line, path.to_owned(), is_program)), "{names:?}");
    }
}
