//! Commands that are interrupted or killed.

use super::*;

/// Bytes in containers that no compression makes smaller: several packs.
const LARGE_TREE: u64 = 120 << 20;

/// A tree that takes a while.
fn make_large_tree(home: &Home) -> PathBuf {
    let tree = home.make_dir("tree");
    for number in 0..24 {
        write(tree.join(format!("container {number}")), noise(number, LARGE_TREE as usize / 24));
    }
    for number in 0..1500 {
        write(tree.join(format!("mail/{}/{number}", number % 20)), text(number, 4000));
    }
    settle();
    tree
}

/// A backup that has put a pack and still runs.
fn start_backup(home: &Home, tree: &Path, more: &[&str]) -> Running {
    let before = home.objects("packs").len();
    let line = args!["backup", tree].into_iter().chain(more.iter().map(Into::into));
    let running = Running::start(home.command(line));
    let deadline = Instant::now() + Duration::from_secs(60);
    while home.objects("packs").len() == before {
        assert!(Instant::now() < deadline, "no pack was put");
        thread::sleep(Duration::from_millis(3));
    }
    running
}

fn added(report: &Value) -> u64 {
    number(&report["snapshot"]["totals"]["bytes_added"])
}

#[test]
fn an_interrupted_backup_commits_nothing_and_goes_on_later() {
    for signal in [Signal::INT, Signal::TERM] {
        let home = Home::with_repository();
        let tree = make_large_tree(&home);
        let running = start_backup(&home, &tree, &[]);
        let asked = Instant::now();
        running.signal(signal);
        running.finish().expect(130).said(&["interrupted"]);
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
        assert_eq!(home.objects("snapshots"), [""; 0].map(PathBuf::from));
        assert_eq!(home.objects("tmp"), [""; 0].map(PathBuf::from));
        assert!(!home.objects("index").is_empty(), "what was stored is named");
        home.check(&["--read-data"]);

        // Also on a host that does not have the index of the first attempt.
        fs::remove_dir_all(home.path("home/.local")).unwrap();
        let stored: u64 = home.stored();
        let report = home.backup(&tree, &[]);
        assert!(added(&report) < LARGE_TREE - stored / 2, "{report:#}");
        assert_same(&tree, &home.restore("latest", "restored"));
    }
}

#[test]
fn an_interrupted_restore_says_so() {
    let home = Home::with_repository();
    let tree = make_large_tree(&home);
    home.backup(&tree, &[]);
    let to = home.path("to");
    let running = Running::start(home.command(args!["restore", "latest", "--to", &to]));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !to.exists() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    running.signal(Signal::INT);
    running.finish().expect(130).said(&["interrupted"]);
}

#[test]
fn a_backup_that_is_killed_again_and_again_goes_on() {
    let home = Home::with_repository();
    let tree = make_large_tree(&home);
    // How long it takes here, and what it stores, where nothing disturbs it.
    let fresh = Home::with_repository();
    let begun = Instant::now();
    let fresh_added = added(&fresh.backup(&tree, &[]));
    let whole = begun.elapsed();
    drop(fresh);

    let mut killed = 0;
    // Random moments, the early ones first: a run that ends before it is killed leaves less to do to the next one.
    let random = noise(std::process::id().into(), 10);
    let moments: Vec<_> = (0u8..).zip(random).map(|(n, byte)| f64::from(n) + f64::from(byte) / 255.0).collect();
    for moment in &moments {
        let running = Running::start(home.command(args!["backup", &tree, "--name", "killed"]));
        thread::sleep(whole.mul_f64(moment / 10.0));
        running.signal(Signal::KILL);
        let outcome = running.finish();
        match outcome.signal() {
            Some(signal) => {
                assert_eq!(signal, Signal::KILL.as_raw());
                killed += 1;
            }
            None => drop(outcome.expect(0)),
        }
        home.check(&[]);
    }
    assert!(killed >= 2, "{killed} of {moments:?} in {whole:?}");

    // One more, certain to have stored something that no snapshot names.
    write(tree.join("container 0"), noise(100, 90 << 20));
    let running = start_backup(&home, &tree, &["--name", "killed"]);
    running.signal(Signal::KILL);
    running.finish();
    let last = added(&home.backup(&tree, &["--name", "killed"]));
    let all = fresh_added + (90 << 20) - LARGE_TREE / 24;
    assert!(last < all - (8 << 20), "{last} bytes added, {all} if nothing had been there");
    // Nothing is stored over and over: at most what was in flight at each kill.
    let bound = fresh_added + (90 << 20) + killed * (32 << 20);
    assert!(home.stored() < bound, "{} stored, {bound} expected at most", home.stored());
    assert_same(&tree, &home.restore("killed", "restored"));
    home.check(&["--read-data"]);
}
