//! The spool's folder: one file a batch, and one lock a run. All of it blocks; callers see to that.
//!
//! A batch is written under another name first and renamed, so that a file of its name is whole. Nothing is forced to
//! the disk: the system keeps what it has taken when this process dies. A power cut may lose the files of the last
//! half minute or so, or leave them empty or torn; those are told by their checksum and set aside.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tollgate_domain::NodeId;

use crate::error::FleetError;

const BATCH: &str = "batch";
const LOCK: &str = "lock";
const UNFINISHED: &str = "unfinished";
const DAMAGED: &str = "damaged";

/// A batch in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) node: NodeId,
    pub(super) sequence: u64,
}

/// A batch that was found in the folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) name: Name,
    pub(super) bytes: u64,
    pub(super) age: Duration,
}

/// A run's claim to its batches, for as long as it is held. The system lets go of it when the process dies.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    _locked: File,
}

impl Claim {
    /// Gives the claim up for good: the run has no batches any more.
    pub(super) fn give_up(self) {
        // Somebody else may have removed it; that it is gone is all that is wanted.
        let _removed = std::fs::remove_file(&self.path);
    }
}

#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder if it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, FleetError> {
        std::fs::create_dir_all(path).map_err(|error| FleetError::spool(path, error))?;
        Ok(Self { path: path.to_path_buf() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Claims a run's batches; `None` when a living process has them.
    pub(super) fn claim(&self, node: NodeId) -> Result<Option<Claim>, FleetError> {
        let path = self.path.join(format!("{node}.{LOCK}"));
        let failed = |error| FleetError::spool(&self.path, error);
        loop {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
            match file.try_lock() {
                // Whoever held it before may have removed the file meanwhile; then this lock keeps nobody out.
                Ok(()) if is_at(&file, &path) => return Ok(Some(Claim { path, _locked: file })),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }

    /// The batches in the folder, in order of run and number.
    pub(super) fn list(&self) -> Result<Vec<Found>, FleetError> {
        let failed = |error| FleetError::spool(&self.path, error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(name) = read_name(&entry.path(), BATCH) else { continue };
            // Whoever owns it may just have removed it.
            let Ok(facts) = entry.metadata() else { continue };
            let age = facts.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
            found.push(Found { name, bytes: facts.len(), age });
        }
        found.sort_by_key(|found| found.name);
        Ok(found)
    }

    /// Removes what runs that are dead did not finish writing, and locks of runs without batches.
    pub(super) fn tidy(&self) -> Result<(), FleetError> {
        let failed = |error| FleetError::spool(&self.path, error);
        let owners: std::collections::HashSet<NodeId> = self.list()?.into_iter().map(|found| found.name.node).collect();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let lock = path.extension().is_some_and(|end| end == LOCK);
            let node = match read_name(&path, UNFINISHED) {
                Some(name) => Some(name.node),
                None if lock => path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()),
                None => None,
            };
            let Some(node) = node else { continue };
            let Some(claim) = self.claim(node)? else { continue };
            if !lock {
                let _removed = std::fs::remove_file(&path);
            }
            if !owners.contains(&node) {
                claim.give_up();
            }
        }
        Ok(())
    }

    /// Writes a batch, whole or not at all.
    pub(super) fn write(&self, name: Name, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.file(name, UNFINISHED);
        std::fs::write(&unfinished, bytes)
            .and_then(|()| std::fs::rename(&unfinished, self.file(name, BATCH)))
            .inspect_err(|_| {
                let _removed = std::fs::remove_file(&unfinished);
            })
    }

    pub(super) fn read(&self, name: Name) -> io::Result<Vec<u8>> {
        std::fs::read(self.file(name, BATCH))
    }

    /// Removes a batch; that it is gone already is as good.
    pub(super) fn remove(&self, name: Name) -> io::Result<()> {
        match std::fs::remove_file(self.file(name, BATCH)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Sets a batch aside that cannot be read, for a person to look at.
    pub(super) fn set_aside(&self, name: Name) -> io::Result<()> {
        std::fs::rename(self.file(name, BATCH), self.file(name, DAMAGED))
    }

    fn file(&self, name: Name, kind: &str) -> PathBuf {
        self.path.join(format!("{}-{}.{kind}", name.node, name.sequence))
    }
}

/// Whether an open file is the one that has this name now.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

fn read_name(path: &Path, kind: &str) -> Option<Name> {
    if path.extension()? != kind {
        return None;
    }
    let (node, sequence) = path.file_stem()?.to_str()?.rsplit_once('-')?;
    Some(Name { node: node.parse().ok()?, sequence: sequence.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use tollgate_domain::Timestamp;

    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::new(Timestamp::from_secs(i64::from(number)), [number; 10])
    }

    fn names(folder: &Folder) -> Vec<(NodeId, u64)> {
        let found = folder.list().expect("the folder is there");
        found.into_iter().map(|found| (found.name.node, found.name.sequence)).collect()
    }

    #[test]
    fn batches_are_whole_or_not_there() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(&place.path().join("deep/er")).expect("it can be made");
        let name = Name { node: node(1), sequence: 10 };
        folder.write(name, b"ten").expect("there is room");
        folder.write(Name { sequence: 9, ..name }, b"nine").expect("there is room");
        assert_eq!(names(&folder), [(node(1), 9), (node(1), 10)], "by number, not by letter");
        assert_eq!(folder.read(name).expect("it is there"), b"ten");
        folder.remove(name).expect("it is there");
        folder.remove(name).expect("gone is gone");
        folder.set_aside(Name { sequence: 9, ..name }).expect("it is there");
        assert_eq!(names(&folder), []);
    }

    #[test]
    fn a_run_has_one_owner_and_a_dead_one_is_tidied_away() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(place.path()).expect("it can be made");
        let own = folder.claim(node(1)).expect("locks work").expect("it is free");
        assert!(folder.claim(node(1)).expect("locks work").is_none());
        std::fs::write(place.path().join(format!("{}-3.unfinished", node(1))), b"to").expect("there is room");
        std::fs::write(place.path().join(format!("{}-4.unfinished", node(2))), b"to").expect("there is room");
        drop(folder.claim(node(3)).expect("locks work"));
        folder.tidy().expect("the folder is there");
        let mut left: Vec<String> = std::fs::read_dir(place.path())
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        left.sort();
        assert_eq!(left, [format!("{}-3.unfinished", node(1)), format!("{}.lock", node(1))], "the living keep theirs");
        drop(own);
        assert!(folder.claim(node(1)).expect("locks work").is_some());
    }
}
