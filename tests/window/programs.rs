//! Snapshots that the user's programs make.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use icecore_testkit::LoopDisk;
use icecore_testkit::live::{Controls, differences, state};
use icecore_testkit::loop_disk::names;
use rustix::process::{Signal, kill_process};

use super::captures::{expect_capture, home_on};
use super::racy::Rest;
use super::{Site, snapshot};
use crate::common::{Home, args, noise, settle, write};

/// A volume of which a script makes snapshots: copies of its image, mounted to be read. Times and inodes are those of
/// the volume. The file system is ext3 with small inodes, whose times are whole seconds.
struct Volume {
    site: Site<()>,
    disk: LoopDisk,
}

impl Volume {
    fn new() -> Option<Self> {
        let disk = LoopDisk::mount(&["mkfs.ext3", "-q", "-I", "128"], 16 << 20)?;
        fs::remove_dir(disk.path().join("lost+found")).unwrap();
        let home = home_on(&disk);
        write(home.path("live/base/one"), noise(1, 300_000));
        write(home.path("live/store/two"), noise(2, 3000));
        settle();
        let volume = Self { site: Site::new(home, Rest, ""), disk };
        let script = format!(
            "#!/bin/sh\ncd '{}'\nlog='{}'\n{}",
            volume.disk.beside("").display(),
            volume.log().display(),
            r#"
exec 2>&1
echo "$1 $ICECORE_INSTANCE $ICECORE_SNAPSHOT $ICECORE_ROOT_NAME $ICECORE_ROOT_PATH" >>"$log"
case $1 in
create)
    [ -e refuse-create ] && { echo "no room for a snapshot"; exit 1; }
    [ -e slow-create ] && sleep 600
    fsfreeze -f mount && cp --sparse=always image copy && fsfreeze -u mount
    mkdir copied && mount -o loop,ro,noload copy copied
    ;;
destroy)
    [ -e refuse-destroy ] && { echo "the snapshot is in use"; exit 1; }
    [ -e copied ] || exit 0
    umount copied; rmdir copied && rm copy
    ;;
path)
    [ -e slow-path ] && sleep 3
    echo "looking for it"
    echo "$PWD/copied/$ICECORE_ROOT_NAME"
    ;;
esac
"#
        );
        write(volume.script(), script);
        fs::set_permissions(volume.script(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        volume.configure("", &volume.by_program(), &volume.controls().freezer());
        Some(volume)
    }

    fn script(&self) -> PathBuf {
        self.site.home.path("volume.sh")
    }

    fn log(&self) -> PathBuf {
        self.site.home.path("volume.log")
    }

    fn controls(&self) -> &Controls {
        self.site.live.controls()
    }

    /// How often the script was called for something.
    fn calls(&self, what: &str) -> usize {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| line.starts_with(&format!("{what} live "))).count()
    }

    fn by_program(&self) -> String {
        format!("[{:?}, \"path\"]", self.script())
    }

    fn configure(&self, more: &str, path: &str, freezer: &str) {
        let script = self.script();
        self.site.configure(&format!(
            "{more}\n[instance.freezer]\n{freezer}\n[instance.snapshot]\ncreate = [{script:?}, \"create\"]\n\
             destroy = [{script:?}, \"destroy\"]\npath = {path}\n"
        ));
    }

    fn switch(&self, name: &str, on: bool) {
        let path = self.disk.beside(name);
        if on { fs::write(path, "").unwrap() } else { fs::remove_file(path).unwrap() }
    }

    #[track_caller]
    fn expect_nothing_left(&self) {
        let names = names(&self.disk.beside(""));
        let left: Vec<_> = names.iter().filter(|name| name.starts_with("cop")).collect();
        assert!(left.is_empty(), "{left:?}");
        let records = self.records();
        assert!(records.is_empty(), "{records:?}");
    }

    fn records(&self) -> Vec<String> {
        let records = self.site.home.path("home/.local/state/icecore/captures");
        if records.exists() { names(&records) } else { Vec::new() }
    }

    /// The restored content of the newest snapshot.
    fn restored(&self, name: &str) -> PathBuf {
        self.site.home.restore("live", name)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = icecore_testkit::loop_disk::run(std::process::Command::new(self.script()).arg("destroy"));
    }
}

#[test]
fn a_snapshot_by_programs_is_read_after_the_thaw_and_destroyed() {
    let Some(volume) = Volume::new() else { return };
    let live = volume.site.home.path("live");
    let copied = volume.disk.beside("copied");
    // Nothing is racy on a file system of whole seconds after two of them.
    thread::sleep(Duration::from_secs(2));
    let templates = [volume.by_program(), format!("\"{}/{{name}}\"", copied.display())];
    for (night, path) in templates.iter().enumerate() {
        volume.configure("", path, &volume.controls().freezer());
        let outcome = volume.site.night().expect(0);
        let receipt = expect_capture(&outcome, "snapshot");
        assert_eq!(receipt["hot_files"], if night == 0 { 2 } else { 0 }, "known by inode and times: {outcome}");
        let differing = differences(&state(&live), &state(&volume.restored(&format!("night-{night}"))));
        assert!(differing.is_empty(), "{}", differing.join("\n"));
        assert_eq!((volume.calls("create"), volume.calls("destroy")), (night + 1, night + 1));
        volume.expect_nothing_left();
    }
    let log = fs::read_to_string(volume.log()).unwrap();
    let lines: Vec<Vec<_>> = log.lines().map(|line| line.split(' ').collect()).collect();
    assert!(lines[..4].iter().all(|line| line[2] == lines[0][2] && !line[2].is_empty()), "{log}");
    assert_ne!(lines[0][2], lines[4][2], "each snapshot has a name of its own");
    let base = volume.disk.path().join("base");
    let wanted = [vec!["base", base.to_str().unwrap()], vec!["store"]];
    for (line, wanted) in lines[1..3].iter().zip(wanted) {
        assert!(line[3..].starts_with(&wanted), "{log}");
    }
    // By a template with the whole path: here, where a link leads.
    let view = volume.site.home.make_dir("view");
    let linked = view.join(volume.disk.path().strip_prefix("/").unwrap());
    fs::create_dir_all(linked.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&copied, &linked).unwrap();
    volume.configure("", &format!("\"{}{{root}}\"", view.display()), &volume.controls().freezer());
    expect_capture(&volume.site.night().expect(0), "snapshot");
    volume.expect_nothing_left();
    volume.site.expect_awake(3, 3);
}

#[test]
fn a_snapshot_that_cannot_be_made_fails_the_night_and_wakes_the_instance() {
    let Some(volume) = Volume::new() else { return };
    volume.switch("refuse-create", true);
    volume.site.night().expect(1).said(&["instance live", "instance.snapshot.create", "no room for a snapshot"]);
    volume.site.expect_awake(1, 1);
    assert_eq!((volume.calls("create"), volume.calls("destroy")), (1, 1));
    volume.expect_nothing_left();
    volume.switch("refuse-create", false);
    // One that takes too long is ended, and tried once more.
    volume.switch("slow-create", true);
    volume.configure("max-freeze = \"2s\"", &volume.by_program(), &volume.controls().freezer());
    volume.site.night().expect(1).said(&["instance live", "max-freeze"]);
    volume.site.expect_awake(3, 3);
    volume.expect_nothing_left();
    assert!(volume.site.home.objects("snapshots").is_empty());
    volume.switch("slow-create", false);
    // Without a freeze nothing is made, and nothing has to be destroyed.
    let destroyed = volume.calls("destroy");
    volume.site.set("refuse-freeze", "1");
    volume.site.night().expect(1).said(&["could not freeze"]);
    assert_eq!((volume.calls("create"), volume.calls("destroy")), (3, destroyed));
    volume.expect_nothing_left();
    // Where it should be, it is not.
    volume.configure("", "\"/nowhere{root}\"", &volume.controls().freezer());
    volume.site.night().expect(1).said(&["instance.snapshot.path", "/nowhere/", "base"]);
    volume.site.expect_awake(5, 5);
    volume.expect_nothing_left();
    volume.configure("", &volume.by_program(), &volume.controls().freezer());
    expect_capture(&volume.site.night().expect(0), "snapshot");
}

#[test]
fn programs_that_are_missing_are_told_before_the_freeze() {
    let Some(volume) = Volume::new() else { return };
    volume.configure("", "[\"/nowhere/snap\"]", &volume.controls().freezer());
    volume.site.night().expect(1).said(&["instance.snapshot.path", "/nowhere/snap cannot be found"]);
    assert_eq!(volume.controls().log(), Vec::<String>::new());
}

#[test]
fn a_snapshot_that_cannot_be_destroyed_is_a_warning_until_it_is() {
    let Some(volume) = Volume::new() else { return };
    volume.switch("refuse-destroy", true);
    let outcome = volume.site.night().expect(0);
    expect_capture(&outcome, "snapshot");
    let by_hand = format!("ICECORE_SNAPSHOT={}", volume.records()[0].split('.').nth(1).unwrap());
    let told =
        ["warning: ", "could not be destroyed", "the snapshot is in use", "by hand", &by_hand, "volume.sh destroy"];
    let warned = outcome.json()["instances"][0]["warnings"][0].as_str().unwrap().to_owned();
    outcome.said(&told);
    assert!(warned.contains(&by_hand), "{warned}");
    volume.site.home.ok(["snapshots"]).said(&told);
    volume.switch("refuse-destroy", false);
    volume.site.home.ok(["snapshots"]).said(&["which an interrupted run had left, is destroyed"]);
    volume.expect_nothing_left();
    assert!(volume.site.home.ok(["snapshots"]).err().is_empty());
}

#[test]
fn the_snapshot_of_a_killed_run_is_destroyed_by_the_next_command() {
    let Some(volume) = Volume::new() else { return };
    volume.site.set("thaw-takes", "2");
    let engine = volume.site.start();
    volume.site.wait_for("thaw", 1);
    kill_process(volume.site.guardian(), Signal::KILL).unwrap();
    engine.signal(Signal::KILL);
    engine.finish();
    assert!(volume.disk.beside("copied").exists());
    volume.site.home.ok(["snapshots"]).said(&["is destroyed"]);
    volume.controls().unset("thaw-takes");
    volume.expect_nothing_left();
    // A program that the run has left running makes its snapshot after nobody wants it any more.
    volume.switch("slow-create", true);
    let engine = volume.site.start();
    icecore_testkit::live::eventually("it is being made", || volume.calls("create") == 2);
    engine.signal(Signal::KILL);
    engine.finish();
    volume.site.home.ok(["snapshots"]).said(&["is destroyed"]);
    volume.switch("slow-create", false);
    volume.expect_nothing_left();
    expect_capture(&volume.site.night().expect(0), "snapshot");
    volume.site.expect_awake(3, 3);
}

/// Times of whole seconds: what is written right after the thaw looks like what stands in the snapshot, and whoever
/// judges that by the moment of reading, three seconds later, takes it for known for ever.
#[test]
fn what_is_rewritten_in_the_second_of_the_snapshot_is_read_again_the_next_night() {
    let Some(volume) = Volume::new() else { return };
    let file = volume.site.home.path("live/base/file");
    volume.switch("slow-path", true);
    let shell = |script: String| format!("[\"/bin/sh\", \"-ec\", {script:?}]");
    let control = volume.site.home.path("control");
    let begin = "until [ $(date +%N | cut -c1) = 0 ]; do sleep 0.01; done";
    let freeze = shell(format!("{}/freeze.sh; {begin}; printf AAAA >{}", control.display(), file.display()));
    let thaw = shell(format!("{}/thaw.sh; printf BBBB >{}", control.display(), file.display()));
    let mut same_second = false;
    for night in 0..3 {
        volume.configure("", &volume.by_program(), &format!("kind = \"command\"\nfreeze = {freeze}\nthaw = {thaw}\n"));
        expect_capture(&volume.site.night().expect(0), "snapshot");
        assert_eq!(fs::read(volume.restored(&format!("a-{night}")).join("base/file")).unwrap(), b"AAAA");
        assert_eq!(fs::read(&file).unwrap(), b"BBBB");
        let recorded = volume.site.home.json(args!["ls", "live:base/file"])["entries"][0]["mtime"].clone();
        let live = fs::metadata(&file).unwrap().modified().unwrap();
        let seconds = live.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        let recorded: jiff::Timestamp = recorded.as_str().expect("a time").parse().unwrap();
        same_second |= recorded.as_second() == seconds;
        volume.configure("", &volume.by_program(), &volume.controls().freezer());
        expect_capture(&volume.site.night().expect(0), "snapshot");
        assert_eq!(fs::read(volume.restored(&format!("b-{night}")).join("base/file")).unwrap(), b"BBBB");
    }
    assert!(same_second, "the machine was too slow for this test to show anything");
}

/// A snapshot that is a copy has other inodes, and everything is read again.
#[test]
fn a_copy_serves_as_a_snapshot() {
    let home = Home::with_repository();
    write(home.path("live/base/one"), noise(1, 300_000));
    write(home.path("live/store/two"), noise(2, 3000));
    let site = Site::new(home, Rest, "");
    let (live, copy) = (site.home.path("live"), site.home.path("copy"));
    let shell = |script: String| format!("[\"/bin/sh\", \"-ec\", {script:?}]");
    site.configure(&format!(
        "capture = \"snapshot\"\n[instance.freezer]\n{}\n[instance.snapshot]\ncreate = {}\ndestroy = {}\n\
         path = \"{}/{{name}}\"\n",
        site.live.controls().freezer(),
        shell(format!("cp -a --reflink=auto {} {}", live.display(), copy.display())),
        shell(format!("rm -rf {}", copy.display())),
        copy.display(),
    ));
    for night in 0..2 {
        let outcome = site.night().expect(0);
        expect_capture(&outcome, "snapshot");
        let restored = site.home.restore(snapshot(&outcome)["id"].as_str().unwrap(), &night.to_string());
        assert!(differences(&state(&live), &state(&restored)).is_empty());
        assert!(!Path::new(&copy).exists());
    }
}
