//! A small application's directory as it may stand anywhere: a database, a mail archive, a wiki.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{XattrFlags, setxattr};

use super::random::Random;

/// Bytes of a database page.
pub const PAGE: usize = 16 * 1024;
/// Pages of the database: 8 MiB.
pub const PAGES: usize = 512;
/// Mails that are there from the beginning.
pub const MAILS: usize = 600;
/// Containers of the archive; the last one grows.
pub const CONTAINERS: usize = 5;
/// Bytes of a container.
const CONTAINER: usize = 5 << 20;
/// Small files of the full-text index.
pub const INDEXES: usize = 60;
/// Pages of the wiki.
pub const WIKI_PAGES: usize = 120;
/// Bytes of the sparse file, of which two pages are written.
const SPARSE: u64 = 32 << 20;

/// Makes the instance in a directory that does not exist yet.
pub fn make(at: &Path) -> io::Result<()> {
    let random = &mut Random::new(1912);
    for directory in ["database", "archive", "index", "mail/inbox", "mail/sent", "wiki/pages", "spool/empty"] {
        fs::create_dir_all(at.join(directory))?;
    }
    make_database(&at.join("database/master.fdb"), random)?;
    make_mails(&at.join("mail/inbox"), 0..MAILS, random)?;
    for number in 1..=CONTAINERS {
        fs::write(at.join(format!("archive/container-{number}.dat")), random.bytes(CONTAINER))?;
    }
    for number in 0..WIKI_PAGES {
        let len = 800 + random.below(20_000);
        fs::write(at.join(format!("wiki/pages/page-{number:03}.txt")), random.text(len))?;
    }
    for number in 0..INDEXES {
        fs::write(at.join(format!("index/{number:02}.idx")), random.text(2_000))?;
    }
    make_oddities(at, random)
}

/// Pages as of a Firebird database (on-disk structure 13): the first one says which size they have.
fn make_database(path: &Path, random: &mut Random) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(PAGES * PAGE);
    for number in 0..PAGES {
        let mut page = vec![0; PAGE];
        // 1: header page, 5: data page.
        page[0] = if number == 0 { 1 } else { 5 };
        if number == 0 {
            page[16..18].copy_from_slice(&(PAGE as u16).to_le_bytes());
            page[18..20].copy_from_slice(&0x800d_u16.to_le_bytes());
        } else {
            let row = random.bytes(PAGE / 8);
            page[64..64 + row.len()].copy_from_slice(&row);
            let text = random.text(PAGE / 2);
            page[PAGE / 4..PAGE / 4 + text.len()].copy_from_slice(text.as_bytes());
        }
        bytes.extend(page);
    }
    fs::write(path, bytes)
}

fn make_mails(at: &Path, numbers: std::ops::Range<usize>, random: &mut Random) -> io::Result<()> {
    // Everybody gets the same newsletter.
    let newsletter = Random::new(7).bytes(90_000);
    for number in numbers {
        let attachment = if number % 15 == 0 { newsletter.as_slice() } else { &[] };
        fs::write(at.join(format!("{number:05}.eml")), random.mail(number, attachment))?;
    }
    Ok(())
}

/// What a plain copy tends to lose: links, holes, attributes, permissions, odd names.
fn make_oddities(at: &Path, random: &mut Random) -> io::Result<()> {
    let sparse = File::create(at.join("database/temporary.sparse"))?;
    sparse.set_len(SPARSE)?;
    sparse.write_all_at(&random.bytes(PAGE), 20 << 20)?;
    sparse.write_all_at(&random.bytes(PAGE), SPARSE - PAGE as u64)?;
    symlink("../database/master.fdb", at.join("archive/database"))?;
    symlink("nowhere", at.join("archive/dangling"))?;
    fs::hard_link(at.join("mail/inbox/00000.eml"), at.join("mail/sent/copy.eml"))?;
    fs::write(at.join("wiki/new\nline and \u{fc}ml\u{e4}uts.txt"), "odd names are names\n")?;
    fs::write(at.join("spool/zero-bytes"), "")?;
    let private = at.join("spool/private");
    fs::write(&private, "for one pair of eyes\n")?;
    fs::set_permissions(&private, Permissions::from_mode(0o400))?;
    // Not every file system has attributes; then there are none to lose.
    let _ = setxattr(at.join("wiki/pages/page-001.txt"), "user.author", b"ann", XattrFlags::empty());
    Ok(())
}
