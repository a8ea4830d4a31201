//! The lock beside a database file that keeps a second process from using it. It knows nothing of databases.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// More than a process id and a line's end take.
const NOTE_BYTES_MAX: u64 = 32;

/// A lock that its process holds until it ends or drops this. The file stays: taking it away would let two
/// processes lock two files of one name.
#[derive(Debug)]
pub(super) struct FileLock {
    _file: File,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub(super) enum NotLocked {
    /// Somebody else holds it; the process id, if it could be read.
    Held(Option<u32>),
    /// The lock file cannot be made or locked.
    Failed(io::Error),
}

impl FileLock {
    /// Takes the lock beside this file, or tells at once who holds it.
    pub(super) fn take(path: &Path) -> Result<Self, NotLocked> {
        let mut file = open(path).map_err(NotLocked::Failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(NotLocked::Held(holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(NotLocked::Failed(error)),
        }
        note_holder(&mut file).map_err(NotLocked::Failed)?;
        Ok(Self { _file: file })
    }

    /// Where the lock of a database file lies.
    pub(super) fn path_beside(database: &Path) -> PathBuf {
        let mut name = database.as_os_str().to_owned();
        name.push(".lock");
        name.into()
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The process id is a help for people: the lock itself is what counts.
fn note_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(NOTE_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
