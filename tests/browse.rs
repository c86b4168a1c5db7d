//! Looking at nights: `snapshots`, `ls`, `cat`, `find`, `history`, `diff`, `tag`, through the program.

mod damage;
mod live;
mod transcripts;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::common::{Home, noise, settle, text, write};

/// A user with four nights of a small tree.
///
/// | night | what happens |
/// |---|---|
/// | 1 | the tree is there |
/// | 2 | nothing |
/// | 3 | `a.txt` changes, `docs/new.md` comes, `docs/old.md` goes, `docs/guide.md` gets other permissions |
/// | 4 | `docs/old.md` is back as it was |
struct Nights {
    home: Home,
    live: PathBuf,
}

impl Nights {
    fn new() -> Self {
        let home = Home::with_repository();
        let live = home.make_dir("live");
        put(&live.join("a.txt"), b"one\n", 1);
        put(&live.join("docs/guide.md"), &text(1, 3_000), 2);
        put(&live.join("docs/old.md"), b"old\n", 3);
        put(&live.join("large.bin"), &noise(7, 300_000), 4);
        symlink("a.txt", live.join("link")).unwrap();
        let nights = Self { home, live };
        nights.night();
        nights.night();
        put(&nights.live.join("a.txt"), b"two!\n", 5);
        put(&nights.live.join("docs/new.md"), b"new\n", 6);
        fs::set_permissions(nights.live.join("docs/guide.md"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(nights.live.join("docs/old.md")).unwrap();
        nights.night();
        put(&nights.live.join("docs/old.md"), b"old\n", 3);
        nights.night();
        nights
    }

    fn night(&self) {
        settle();
        self.home.backup(&self.live, &["--name", "wiki"]);
    }
}

/// Writes a file that was last changed some days after the beginning of 2026.
fn put(path: &Path, bytes: &[u8], day: u64) {
    write(path, bytes);
    let time = UNIX_EPOCH + Duration::from_secs(1_767_225_600 + day * 86_400);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// The packs of the repository of one kind, which stands in the clear in each header: 1 content, 2 manifest blocks.
fn packs(home: &Home, kind: u8) -> Vec<PathBuf> {
    home.objects("packs").into_iter().filter(|pack| fs::read(pack).unwrap()[5] == kind).collect()
}
