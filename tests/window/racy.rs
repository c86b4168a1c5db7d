//! Times and sizes that say "unchanged" of what has changed.

use std::fs::{self, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use icecore_testkit::live::{State, Work, state};
use icecore_testkit::may_act_as_root;
use rustix::fs::inotify;
use rustix::io::Errno;

use super::{Site, receipt, snapshot};
use crate::common::{Home, noise, number, settle, write};

/// So few that they are listed and read within a tick of the clock.
const FILES: usize = 12;

const NIGHTS: usize = 8;

/// Rewrites small files with the same size, all the time, until somebody has read one: that is rewritten once more at once,
/// and rests until the thaw. Its times are then those of what was read, and only the tick of the clock tells that they say
/// nothing.
struct Adversary {
    directory: PathBuf,
    watch: OwnedFd,
    resting: [bool; FILES],
    writes: u64,
}

impl Adversary {
    fn new(directory: &Path) -> Self {
        for root in ["base", "store"] {
            for file in 0..FILES {
                write(directory.join(root).join(format!("{file:03}")), noise(1, 16));
            }
        }
        settle();
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
        // `store` rests: there must be something that is known.
        inotify::add_watch(&watch, directory.join("base"), inotify::WatchFlags::CLOSE_NOWRITE).unwrap();
        Self { directory: directory.to_owned(), watch, resting: [false; FILES], writes: 0 }
    }

    /// The files that somebody has read meanwhile.
    fn read(&self) -> Vec<usize> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.watch, &mut buffer);
        let mut read = Vec::new();
        loop {
            match reader.next() {
                Err(Errno::AGAIN) => return read,
                Err(error) => panic!("{error}"),
                // A directory that was listed has no number.
                Ok(event) => read.extend(event.file_name().and_then(|name| name.to_str().ok()?.parse::<usize>().ok())),
            }
        }
    }

    fn rewrite(&mut self, file: usize) {
        self.writes += 1;
        let path = self.directory.join(format!("base/{file:03}"));
        OpenOptions::new().write(true).open(path).unwrap().write_all_at(&self.writes.to_le_bytes(), 0).unwrap();
    }
}

impl Work for Adversary {
    type Record = State;

    fn step(&mut self) {
        for file in 0..FILES {
            for read in self.read() {
                self.rewrite(read);
                self.resting[read] = true;
            }
            if !self.resting[file] {
                self.rewrite(file);
            }
        }
        // Not all of a processor.
        thread::sleep(Duration::from_micros(50));
    }

    fn record(&mut self) -> State {
        let state = state(&self.directory);
        // What recording has read is no reason to rest.
        self.read();
        self.resting = [false; FILES];
        state
    }
}

/// A file system whose times are whole seconds: ext3 with small inodes. (Since Linux 6.13 the times of ext4, XFS and btrfs are
/// so fine that nothing is racy there.)
struct Coarse {
    mount: PathBuf,
}

impl Coarse {
    fn mount(home: &Home, mount: &Path) -> Self {
        fs::create_dir_all(mount).unwrap();
        let image = home.path("image");
        fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        run(Command::new("mkfs.ext3").args(["-q", "-I", "128"]).arg(&image)).unwrap();
        run(Command::new("mount").args(["-t", "ext3", "-o", "loop"]).arg(&image).arg(mount)).unwrap();
        fs::remove_dir(mount.join("lost+found")).unwrap();
        Self { mount: mount.to_owned() }
    }
}

impl Drop for Coarse {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.mount));
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?}: {said}"))) }
}

fn nights_against_an_adversary(home: Home, mounted: Option<Coarse>) {
    let work = Adversary::new(&home.path("live"));
    let site = Site::new(home, work, "");
    for night in 1..=NIGHTS {
        let outcome = site.night();
        let snapshot = snapshot(&outcome);
        assert_eq!(snapshot["verdict"], "application", "{outcome}");
        site.expect_restored(&outcome, &site.live.record());
        site.expect_awake(night, night);
    }
    // In this order: one stands on the other.
    let Site { live, home } = site;
    drop(live);
    drop(mounted);
    drop(home);
}

#[test]
fn what_is_rewritten_after_the_warm_pass_is_captured_as_it_was_frozen() {
    nights_against_an_adversary(Home::with_repository(), None);
}

#[test]
fn what_is_rewritten_in_the_same_tick_is_captured_as_it_was_frozen() {
    if !may_act_as_root("a file system with coarse times is mounted") {
        return;
    }
    let home = Home::with_repository();
    let mounted = Coarse::mount(&home, &home.path("live/base"));
    nights_against_an_adversary(home, Some(mounted));
}

/// Nobody writes.
pub struct Rest;

impl Work for Rest {
    type Record = ();

    fn step(&mut self) {
        thread::sleep(Duration::from_millis(1));
    }

    fn record(&mut self) {}
}

#[test]
fn what_is_always_to_be_read_is_read_in_every_window() {
    let home = Home::with_repository();
    for file in ["base/one.map", "base/two", "store/deep/three.map", "store/four"] {
        write(home.path("live").join(file), noise(1, 5000));
    }
    settle();
    let site = Site::new(home, Rest, "");
    let hot = |more: &str| {
        site.configure(&format!("{more}\n[instance.freezer]\n{}", site.live.controls().freezer()));
        let outcome = site.night().expect(0);
        let snapshot = snapshot(&outcome);
        assert_eq!(snapshot["verdict"], "application", "{outcome}");
        let receipt = receipt(&snapshot);
        (number(&receipt["hot_files"]), number(&receipt["hot_bytes"]))
    };
    assert_eq!(hot(""), (0, 0), "the warm pass has read everything");
    for _ in 0..2 {
        assert_eq!(hot("always-read = [\"*.map\"]"), (2, 10_000));
    }
    assert_eq!(hot("always-read = [\"/base/*.map\"]"), (1, 5000));
    assert_eq!(hot(""), (0, 0));
}

/// A further link whose path is new belongs to a first one that the window passed over, because nothing of it has changed.
#[test]
fn a_directory_of_links_may_be_renamed_until_the_freeze() {
    let home = Home::with_repository();
    for name in ["base/a/empty", "base/a/linked", "store/file"] {
        write(home.path("live").join(name), if name.ends_with("empty") { "" } else { "content" });
    }
    fs::create_dir(home.path("live/base/m")).unwrap();
    for name in ["empty", "linked"] {
        fs::hard_link(home.path("live/base/a").join(name), home.path("live/base/m").join(name)).unwrap();
    }
    write(home.path("live/base/z"), noise(1, 100));
    settle();
    let site = Site::new(home, Rest, "");
    let (control, base) = (site.home.path("control"), site.home.path("live/base"));
    let base_ = base.display();
    let freeze = format!("mv '{base_}/m' '{base_}/n'; echo more >>'{base_}/z'; exec '{}/freeze.sh'", control.display());
    site.configure(&format!(
        "[instance.freezer]\nkind = \"command\"\nfreeze = [\"/bin/sh\", \"-ec\", {freeze:?}]\nthaw = [{:?}]\n",
        control.join("thaw.sh"),
    ));
    let outcome = site.night().expect(0);
    assert_eq!(snapshot(&outcome)["verdict"], "application", "{outcome}");
    site.expect_restored(&outcome, &state(&site.home.path("live")));
}
