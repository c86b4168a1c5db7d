//! The demonstration's application: a process of its own that never rests, unless it is frozen.
//!
//! ```text
//! __demo freeze              control directory        __demo application
//!   creates `request` ─────▶ request ───────────────▶ ends its step, writes its account to `state`
//!   waits for `frozen` ◀──── frozen  ◀─────────────── creates `frozen`, waits
//! __demo thaw
//!   removes `request` ─────▶ (gone)  ───────────────▶ removes `frozen`, goes on
//! ```
//! It ends with its input, whatever ended the process at the other end of that. The lock that it holds tells the others
//! whether it lives.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write, stdin};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::instance::{self, CONTAINERS, INDEXES, MAILS, PAGE, PAGES, WIKI_PAGES};
use super::ledger::Ledger;
use super::random::Random;

/// Between two steps.
const REST: Duration = Duration::from_millis(1);

/// How often a file of the protocol is looked for.
const LOOK: Duration = Duration::from_millis(1);

/// Bytes after which a container is full.
const FULL: u64 = 1 << 20;

/// The places of the application.
#[derive(Debug, Clone)]
pub struct Places {
    /// Its files.
    pub instance: PathBuf,
    control: PathBuf,
}

impl Places {
    /// The places in the demonstration's directory.
    pub fn at(base: &Path) -> Self {
        Self { instance: base.join("application"), control: base.join("control") }
    }

    /// Makes the control directory.
    pub fn make(&self) -> io::Result<()> {
        fs::create_dir(&self.control)
    }

    /// Whether the application has begun to work.
    pub fn is_ready(&self) -> bool {
        self.control("ready").exists()
    }

    /// What the application wrote down when it was frozen last: how many changes it had made, and its ledger's lines.
    pub fn state(&self) -> io::Result<(u64, Vec<String>)> {
        let state = fs::read_to_string(self.control("state"))?;
        let mut lines = state.lines().map(str::to_owned);
        let changes = lines.next().and_then(|first| first.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        Ok((changes, lines.collect()))
    }

    /// The freeze program.
    pub fn freeze(&self) -> io::Result<()> {
        if !self.is_alive()? {
            return Err(io::Error::other("the application has ended: nobody is left to freeze"));
        }
        File::create(self.control("request"))?;
        while !self.is_frozen() && self.is_alive()? {
            thread::sleep(LOOK);
        }
        if self.is_frozen() { Ok(()) } else { Err(io::Error::other("the application ended before it was frozen")) }
    }

    /// The thaw program. Who has ended is not frozen.
    pub fn thaw(&self) -> io::Result<()> {
        remove(&self.control("request"))?;
        while self.is_frozen() && self.is_alive()? {
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// The status program: whether it is frozen.
    pub fn status(&self) -> io::Result<bool> {
        Ok(self.is_frozen() && self.is_alive()?)
    }

    fn control(&self, name: &str) -> PathBuf {
        self.control.join(name)
    }

    fn is_frozen(&self) -> bool {
        self.control("frozen").exists()
    }

    fn is_alive(&self) -> io::Result<bool> {
        let lock = match File::open(self.control("alive")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The application's whole life.
pub fn run(places: &Places) -> io::Result<()> {
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    thread::Builder::new().name("input".to_owned()).spawn(move || {
        // Whatever comes, it is over then.
        let _ = stdin().read_to_end(&mut Vec::new());
        end.store(true, Ordering::Relaxed);
    })?;
    let lives = || !ended.load(Ordering::Relaxed);
    let alive = File::create(places.control("alive"))?;
    alive.lock()?;
    instance::make(&places.instance)?;
    let mut work = Work::begin(&places.instance)?;
    let (request, frozen) = (places.control("request"), places.control("frozen"));
    File::create(places.control("ready"))?;
    while lives() {
        if request.exists() {
            fs::write(places.control("state"), format!("{}\n{}\n", work.changes, work.ledger.lines().join("\n")))?;
            File::create(&frozen)?;
            while request.exists() && lives() {
                thread::sleep(LOOK);
            }
            remove(&frozen)?;
        }
        work.step()?;
        thread::sleep(REST);
    }
    Ok(())
}

/// What the application does all day.
struct Work {
    at: PathBuf,
    random: Random,
    ledger: Ledger,
    changes: u64,
    /// Numbers of mails that came and were not deleted yet.
    mails: Range<usize>,
    container: usize,
}

impl Work {
    fn begin(at: &Path) -> io::Result<Self> {
        Ok(Self {
            at: at.to_owned(),
            random: Random::new(1959),
            ledger: Ledger::read(at)?,
            changes: 0,
            mails: MAILS..MAILS,
            container: CONTAINERS + 1,
        })
    }

    fn step(&mut self) -> io::Result<()> {
        self.changes += 1;
        match self.random.below(6) {
            0 | 1 => self.rewrite_pages(),
            2 => self.append(),
            3 => self.receive(),
            4 => self.index(),
            _ => self.edit(),
        }
    }

    /// Some pages of the database and its header: a torn copy has one without the others.
    fn rewrite_pages(&mut self) -> io::Result<()> {
        let path = Path::new("database/master.fdb");
        let mut database = OpenOptions::new().write(true).open(self.at.join(path))?;
        let pages = (0..=self.random.below(3)).map(|_| (1 + self.random.below(PAGES - 1)) * PAGE + 1024);
        let mut writes: Vec<(u64, Vec<u8>)> = Vec::new();
        for at in pages.collect::<Vec<_>>() {
            writes.push((at as u64, self.random.bytes(512)));
        }
        writes.push((64, self.changes.to_le_bytes().to_vec()));
        for (at, bytes) in writes {
            database.seek(SeekFrom::Start(at))?;
            database.write_all(&bytes)?;
            self.ledger.note(path, at..at + bytes.len() as u64)?;
        }
        Ok(())
    }

    /// A container grows.
    fn append(&mut self) -> io::Result<()> {
        let path = PathBuf::from(format!("archive/container-{}.dat", self.container));
        let mut container = OpenOptions::new().create(true).append(true).open(self.at.join(&path))?;
        let len = 1_000 + self.random.below(15_000);
        container.write_all(&self.random.bytes(len))?;
        let end = container.metadata()?.len();
        self.container += usize::from(end > FULL);
        self.ledger.note(&path, end - len as u64..end)
    }

    /// A mail comes, or the oldest that came goes.
    fn receive(&mut self) -> io::Result<()> {
        let name = |number: usize| PathBuf::from(format!("mail/inbox/{number:05}.eml"));
        if self.mails.len() > 20 && self.random.below(2) == 0 {
            let oldest = name(self.mails.start);
            self.mails.start += 1;
            self.ledger.removed(&oldest);
            return fs::remove_file(self.at.join(oldest));
        }
        let number = self.mails.end;
        self.mails.end += 1;
        let mail = self.random.mail(number, &[]);
        self.write(&name(number), &mail)
    }

    /// A small file is rewritten with the same size, in place or by renaming.
    fn index(&mut self) -> io::Result<()> {
        let path = PathBuf::from(format!("index/{:02}.idx", self.random.below(INDEXES)));
        let mut text = self.random.text(2_000);
        text.truncate(2_000);
        if self.random.below(2) == 0 {
            return self.write(&path, text.as_bytes());
        }
        let new = Path::new("index/new");
        self.write(new, text.as_bytes())?;
        self.rename(new, &path)
    }

    /// A page of the wiki is written anew, or moves.
    fn edit(&mut self) -> io::Result<()> {
        let number = self.random.below(WIKI_PAGES);
        let names = ["page", "moved"].map(|name| PathBuf::from(format!("wiki/pages/{name}-{number:03}.txt")));
        let (here, there) = if self.at.join(&names[0]).exists() { (0, 1) } else { (1, 0) };
        if self.random.below(4) == 0 {
            return self.rename(&names[here], &names[there]);
        }
        let len = 800 + self.random.below(8_000);
        let text = self.random.text(len);
        self.write(&names[here], text.as_bytes())
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::write(self.at.join(path), bytes)?;
        self.ledger.note(path, 0..bytes.len() as u64)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.at.join(from), self.at.join(to))?;
        self.ledger.renamed(from, to);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_account_is_what_stands_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("application");
        instance::make(&at).unwrap();
        let mut work = Work::begin(&at).unwrap();
        let before = work.ledger.lines();
        (0..400).for_each(|_| work.step().unwrap());
        assert_eq!(work.ledger.lines(), Ledger::read(&at).unwrap().lines());
        assert_ne!(work.ledger.lines(), before);
    }

    #[test]
    fn who_has_ended_cannot_be_frozen_and_is_thawed() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places::at(directory.path());
        places.make().unwrap();
        // Frozen when it ended.
        ["alive", "request", "frozen"].iter().for_each(|name| drop(File::create(places.control(name)).unwrap()));
        places.freeze().unwrap_err();
        places.thaw().unwrap();
        assert!(!places.status().unwrap());
    }
}
