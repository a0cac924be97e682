//! Atomic replacement of the rules file, with a backup of the previous one.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::clock;

/// Reason why the file was not written.
#[derive(Debug)]
pub(super) enum NotWritten {
    /// The file was changed in the meantime.
    Changed,
    /// The system reported an error.
    Failed(io::Error),
}

impl From<io::Error> for NotWritten {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Replaces `before` by `after` in the file, and writes `kept` to `<file>.previous`; returns the
/// previous content of that. The target of a symbolic link is replaced, not the link.
pub(super) fn rewrite(
    path: &Path,
    before: &[u8],
    after: &[u8],
    kept: &[u8],
) -> Result<Option<Vec<u8>>, NotWritten> {
    let target = fs::canonicalize(path)?;
    let meta = fs::metadata(&target)?;
    let previous = beside(&target, ".previous");
    // Both files are written completely before either gets its name.
    let (fresh, kept) = (
        TempFile::write(&target, &meta, after)?,
        TempFile::write(&previous, &meta, kept)?,
    );
    let earlier = fs::read(&previous).ok();
    if fs::read(&target)? != before {
        return Err(NotWritten::Changed);
    }
    kept.become_it()?;
    fresh.become_it()?;
    // The sync makes the rename survive a power cut. Some file systems cannot sync a folder.
    if let Some(folder) = target.parent() {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(earlier)
}

/// Returns the path with a suffix added to the file name.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

/// A written file without its final name; deleted when dropped.
struct TempFile {
    at: PathBuf,
    target: PathBuf,
}

impl TempFile {
    fn write(target: &Path, like: &Metadata, bytes: &[u8]) -> io::Result<Self> {
        let word: [u8; 6] = clock::unguessable()?;
        let word: String = word.iter().map(|byte| format!("{byte:02x}")).collect();
        let at = beside(target, &format!(".{word}.new"));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&at)?;
        let draft = Self {
            at,
            target: target.to_owned(),
        };
        file.write_all(bytes)?;
        let mine = file.metadata()?;
        let same_group = mine.gid() == like.gid()
            || std::os::unix::fs::fchown(&file, None, Some(like.gid())).is_ok();
        if mine.uid() != like.uid() {
            // Only root may change the owner; otherwise the file belongs to this process's user.
            let _ = std::os::unix::fs::fchown(&file, Some(like.uid()), None);
        }
        // The rights of the old group must not go to another group.
        let mode = if same_group {
            like.mode() & 0o777
        } else {
            like.mode() & 0o707
        };
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        Ok(draft)
    }

    fn become_it(self) -> io::Result<()> {
        fs::rename(&self.at, &self.target)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // After the rename no file has this name, and the removal fails harmlessly.
        let _ = fs::remove_file(&self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_the_one_before_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.yaml"), dir.path().join("rules.yaml"));
        fs::write(&real, "one").unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.yaml", &link).unwrap();
        assert_eq!(rewrite(&link, b"one", b"two", b"one").unwrap(), None);
        assert_eq!(
            rewrite(&link, b"two", b"three", b"two").unwrap().as_deref(),
            Some(&b"one"[..])
        );
        assert_eq!(fs::read_to_string(&real).unwrap(), "three");
        assert_eq!(
            fs::read_to_string(dir.path().join("real.yaml.previous")).unwrap(),
            "two"
        );
        assert_eq!(
            names(dir.path()),
            ["real.yaml", "real.yaml.previous", "rules.yaml"]
        );
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        for name in ["real.yaml", "real.yaml.previous"] {
            assert_eq!(
                fs::metadata(dir.path().join(name)).unwrap().mode() & 0o777,
                0o640,
                "{name}"
            );
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_everything_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rules.yaml");
        fs::write(&file, "one").unwrap();
        assert!(matches!(
            rewrite(&file, b"another", b"two", b"another"),
            Err(NotWritten::Changed)
        ));
        fs::create_dir(dir.path().join("rules.yaml.previous")).unwrap();
        assert!(matches!(
            rewrite(&file, b"one", b"two", b"one"),
            Err(NotWritten::Failed(_))
        ));
        assert_eq!(fs::read_to_string(&file).unwrap(), "one");
        assert_eq!(names(dir.path()), ["rules.yaml", "rules.yaml.previous"]);
        assert!(matches!(
            rewrite(&dir.path().join("none"), b"", b"", b""),
            Err(NotWritten::Failed(_))
        ));
    }
}
