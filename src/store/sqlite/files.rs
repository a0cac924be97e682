//! The data folder: access to it, and the check that its database is the one created there.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::log::{self, End};
use crate::model::plural;
use crate::store::{Error, Result};

const DATABASE: &str = "foghorn.db";
const LOG: &str = "foghorn.db-wal";
/// Name of the search file, beside the database.
pub(super) const SEARCH: &str = "search.db";
const LOCK: &str = "foghorn.lock";
const MARKER: &str = "foghorn.marker";

/// A data folder that only this process may write, as long as this value lives.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    /// Locked. The lock ends when the file is closed, and thus with the process, however it ends.
    _lock: File,
}

impl Folder {
    /// Creates a missing folder, locks it, and refuses it if its database has vanished.
    pub(super) fn claim(dir: &Path) -> Result<Self> {
        make(dir).map_err(|e| {
            Error::Fatal(format!(
                "data folder {}: cannot make it: {e}",
                dir.display()
            ))
        })?;
        let folder = Self {
            dir: dir.to_owned(),
            _lock: lock(dir)?,
        };
        // SQLite treats a missing or empty file as a new database. If there was one before, that is
        // damage.
        let empty = fs::metadata(folder.database()).map_or(0, |meta| meta.len()) == 0;
        let marker = dir.join(MARKER);
        if empty && fs::metadata(dir.join(LOG)).is_ok_and(|meta| meta.len() > 0) {
            return Err(Error::Fatal(format!(
                "data folder {} is damaged: {DATABASE} is missing or empty, but its log {LOG} exists and may hold all data",
                dir.display()
            )));
        }
        if empty && marker.exists() {
            return Err(Error::Fatal(format!(
                "data folder {}: {DATABASE} is missing or empty, but there was one: restore it, or delete {} to begin anew",
                dir.display(),
                marker.display()
            )));
        }
        Ok(folder)
    }

    /// Returns true if a database was created here before.
    pub(super) fn is_marked(&self) -> bool {
        self.dir.join(MARKER).exists()
    }

    /// Refuses a log of which SQLite would read only a part.
    pub(super) fn check_log(&self) -> Result<()> {
        log_damage(&self.dir).map_or(Ok(()), |what| Err(Error::Fatal(what)))
    }

    /// Returns the path of the database.
    pub(super) fn database(&self) -> PathBuf {
        database(&self.dir)
    }

    /// Records durably that the database exists from now on.
    pub(super) fn mark(&self) -> Result<()> {
        let marker = self.dir.join(MARKER);
        if marker.exists() {
            return Ok(());
        }
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&marker)?;
            file.write_all(
                b"Foghorn made its database here: should foghorn.db be missing, it was lost.\n",
            )?;
            file.sync_all()?;
            sync_folder(&self.dir)
        };
        write().map_err(|e| {
            Error::Fatal(format!(
                "data folder {}: cannot write {MARKER}: {e}",
                self.dir.display()
            ))
        })
    }
}

/// Returns the path of a folder's database.
pub(super) fn database(dir: &Path) -> PathBuf {
    dir.join(DATABASE)
}

fn make(dir: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    // Events name devices, people and places: other users of the machine may not read them.
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    if dir.is_dir() {
        return Ok(());
    }
    builder.create(dir)?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_folder(parent.unwrap_or(Path::new(".")))
}

/// Gives files that root created to the owner of the folder, whose service could not write them
/// otherwise.
pub(super) fn give(files: &[PathBuf], like: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let owner = fs::metadata(like)?;
    if !rustix::process::geteuid().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    for file in files.iter().filter(|file| file.exists()) {
        chown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// Returns the files that a process creates in a folder beside its database.
pub(super) fn made(dir: &Path) -> [PathBuf; 2] {
    [dir.join(LOCK), dir.join(MARKER)]
}

/// Syncs a folder. File names are durable only after that.
pub(super) fn sync_folder(dir: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        File::open(dir)?.sync_all()
    } else {
        Ok(())
    }
}

/// Returns the path with a suffix added to the file name: a database's log is `-wal`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Returns damage in the log that SQLite would drop silently. Call it only for a folder that no
/// process holds.
#[must_use]
pub fn log_damage(dir: &Path) -> Option<String> {
    let database = database(dir);
    // A torn end is normal after a power cut; damage before intact frames is not.
    match log::end(&database) {
        Ok(End::Whole) => None,
        Ok(End::Torn) => {
            tracing::warn!(
                "the last transaction in {LOG} is incomplete. That is normal after a power cut, and nothing that was \
                 answered 200 is lost; otherwise check the disk"
            );
            None
        }
        Ok(End::Broken(pages)) => Some(format!(
            "{} is damaged: in its log {LOG}, {} follow one with a wrong checksum, and the posts accepted in them would be lost",
            database.display(),
            plural(pages, "page")
        )),
        Err(e) => Some(format!(
            "{}: cannot read its log {LOG}: {e}",
            database.display()
        )),
    }
}

/// Returns the advice to start again without the contents of a folder. Its token stays.
#[must_use]
pub fn begin_anew(dir: &Path) -> String {
    let at = dir.display();
    format!("move {at}/{DATABASE}* and {at}/{MARKER} elsewhere to begin anew")
}

/// Returns true if a process holds this data folder; `None` if this user cannot find out.
#[must_use]
pub fn held(dir: &Path) -> Option<bool> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    match File::open(dir.join(LOCK)) {
        Ok(file) => Some(!matches!(file.try_lock_shared(), Ok(()))),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Some(false),
        Err(_) => None,
    }
}

/// Returns true if a process holds this data folder, or if this user cannot find out.
#[must_use]
pub fn is_held(dir: &Path) -> bool {
    held(dir).unwrap_or(true)
}

pub(super) fn lock(dir: &Path) -> Result<File> {
    let cannot = |e: std::io::Error| {
        Error::Fatal(format!(
            "data folder {}: cannot write {LOCK}: {e}",
            dir.display()
        ))
    };
    let path = dir.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The holder may not have written its process number yet; it then stays unnamed.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let holder = if holder.is_empty() {
                "another process".to_owned()
            } else {
                format!("process {holder}")
            };
            return Err(Error::Fatal(format!(
                "data folder {} is in use by {holder}",
                dir.display()
            )));
        }
        Err(TryLockError::Error(e)) => return Err(cannot(e)),
    }
    // The file is truncated only after the lock is taken: until then it names the other holder.
    file.set_len(0)
        .and_then(|()| file.rewind())
        .map_err(cannot)?;
    writeln!(file, "{}", std::process::id()).map_err(cannot)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_beside() {
        assert_eq!(
            beside(Path::new("a/foghorn.db"), "-wal"),
            Path::new("a/foghorn.db-wal")
        );
    }
}
