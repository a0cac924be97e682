//! Check of SQLite's write-ahead log before SQLite opens it. SQLite reads up to the first frame
//! with a wrong checksum and silently drops the rest. A torn end loses nothing: those frames were
//! not synced yet, and their posts not answered.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use super::files::beside;

/// Page size this release writes, used if neither file contains its own.
const USUAL_PAGE: usize = 8_192;
const FRAME_HEAD: usize = 24;

/// State of the end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Complete, as it was written.
    Whole,
    /// An incomplete transaction, as a power cut leaves it.
    Torn,
    /// This many intact frames follow a damaged one: their data was committed.
    Broken(u64),
}

/// Reads a database's log to its end.
///
/// A transaction was committed if the first frame of the next one continues from its last frame.
/// SQLite overwrites frames of a failed commit from their beginning, so no frame continues from
/// them.
pub(super) fn end(database: &Path) -> std::io::Result<End> {
    // No log, or one without a complete head, holds nothing: SQLite syncs the head first.
    let mut log = match File::open(beside(database, "-wal")) {
        Ok(file) => BufReader::with_capacity(256 << 10, file),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(End::Whole),
        Err(e) => return Err(e),
    };
    let mut head = [0; 32];
    if !filled(&mut log, &mut head)? {
        return Ok(End::Whole);
    }
    let mut before = sums(&head, 24);
    // Salt and page size in a damaged head are useless; then the frames themselves are compared.
    let says_big = word(&head, 0, true) & 1 == 1;
    let is_sound = word(&head, 0, true) >> 1 == 0x377f_0682 >> 1
        && checksum(head.get(..24).unwrap_or_default(), (0, 0), says_big) == before;
    let is_big = if is_sound {
        says_big
    } else {
        cfg!(target_endian = "big")
    };
    let declared = if is_sound {
        usize::try_from(word(&head, 8, true)).ok()
    } else {
        page_size(database)
    };
    let is_size = |size: &usize| size.is_power_of_two() && (512..=65_536).contains(size);
    let mut frame = vec![0; FRAME_HEAD + declared.filter(is_size).unwrap_or(USUAL_PAGE)];

    let mut salt = sums(&head, 16);
    // `whole`: no damage so far. `ended`: the frame before ended a transaction. `behind`: number of
    // intact frames after the damage.
    let (mut whole, mut ended, mut behind, mut commits, mut is_broken) =
        (is_sound, false, 0, false, false);
    while filled(&mut log, &mut frame)? {
        let stored = sums(&frame, 16);
        let is_ours = sums(&frame, 8) == salt;
        let (first, page) = frame.split_at(FRAME_HEAD);
        let is_whole = is_ours && {
            let sum = checksum(first.get(..8).unwrap_or_default(), before, is_big);
            checksum(page, sum, is_big) == stored
        };
        if !is_whole {
            whole = false;
        } else if !whole {
            behind += 1;
            is_broken |= ended;
            commits |= word(&frame, 4, true) > 0;
        }
        ended = !whole && is_ours && word(&frame, 4, true) > 0;
        before = stored;
        if !is_sound {
            // With a damaged head, a frame belongs to this log if its salt is that of the frame before.
            salt = sums(&frame, 8);
        }
    }
    // SQLite syncs the head before it writes frames, so committed frames behind a damaged head mean
    // damage and not a power cut.
    Ok(match (is_broken || (commits && !is_sound), commits) {
        (true, _) => End::Broken(behind),
        (false, true) => End::Torn,
        (false, false) => End::Whole,
    })
}

/// Fills the buffer; returns false if the log ends before that.
fn filled(log: &mut impl Read, bytes: &mut [u8]) -> std::io::Result<bool> {
    match log.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

fn page_size(database: &Path) -> Option<usize> {
    let mut head = [0; 18];
    File::open(database).ok()?.read_exact(&mut head).ok()?;
    // The field has two bytes, so SQLite writes 65,536 as 1.
    match u16::from_be_bytes([*head.get(16)?, *head.get(17)?]) {
        1 => Some(65_536),
        size => Some(usize::from(size)),
    }
}

fn word(bytes: &[u8], at: usize, is_big: bool) -> u32 {
    let four = bytes
        .get(at..at + 4)
        .and_then(|four| four.try_into().ok())
        .unwrap_or_default();
    if is_big {
        u32::from_be_bytes(four)
    } else {
        u32::from_le_bytes(four)
    }
}

/// Reads two numbers: a checksum or a salt.
fn sums(bytes: &[u8], at: usize) -> (u32, u32) {
    (word(bytes, at, true), word(bytes, at + 4, true))
}

/// Returns SQLite's checksum of a log, continuing from `before`.
fn checksum(bytes: &[u8], before: (u32, u32), is_big: bool) -> (u32, u32) {
    let (mut one, mut two) = before;
    for eight in bytes.chunks_exact(8) {
        one = one.wrapping_add(word(eight, 0, is_big)).wrapping_add(two);
        two = two.wrapping_add(word(eight, 4, is_big)).wrapping_add(one);
    }
    (one, two)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// A log of so many transactions, of some frames each, as a kill leaves it.
    fn log(transactions: u32) -> (tempfile::TempDir, std::path::PathBuf, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let (made, kept) = (dir.path().join("made.db"), dir.path().join("kept.db"));
        let database = Connection::open(&made).unwrap();
        database
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)")
            .unwrap();
        database
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
            .unwrap();
        for n in 0..transactions {
            database
                .execute("INSERT INTO t VALUES (?1)", [format!("{n}").repeat(9_000)])
                .unwrap();
        }
        std::fs::copy(&made, &kept).unwrap();
        let bytes = std::fs::read(dir.path().join("made.db-wal")).unwrap();
        (dir, kept, bytes)
    }

    fn ends(database: &Path, log: &[u8]) -> End {
        std::fs::write(beside(database, "-wal"), log).unwrap();
        end(database).unwrap()
    }

    #[test]
    fn a_flipped_bit_is_told_from_a_torn_end() {
        let (_dir, database, bytes) = log(6);
        assert_eq!(end(&database).unwrap(), End::Whole, "there is none");
        assert_eq!(ends(&database, &bytes), End::Whole);
        let frame = 24 + 4_096;
        let frames = (bytes.len() - 32) / frame;
        let committed = |n: usize| word(&bytes, 32 + n * frame + 4, true) > 0;
        let last = (0..frames - 1).rev().find(|n| committed(*n)).unwrap();
        for n in 0..frames {
            for at in [0, 5, 10, 17, 100, 4_000] {
                let mut spoiled = bytes.clone();
                spoiled[32 + n * frame + at] ^= 4;
                let end = ends(&database, &spoiled);
                // In the last transaction it may be a torn end, as may be what makes the one before
                // it go on.
                let wanted = match n.cmp(&last) {
                    std::cmp::Ordering::Less => matches!(end, End::Broken(1..)),
                    std::cmp::Ordering::Equal => end != End::Whole,
                    std::cmp::Ordering::Greater => at == 5 || !matches!(end, End::Broken(_)),
                };
                assert!(
                    wanted,
                    "frame {n} of {frames}, last {last}, byte {at}: {end:?}"
                );
            }
            let cut = &bytes[..32 + n * frame + 1_000];
            assert_eq!(ends(&database, cut), End::Whole, "cut in frame {n}");
        }
        for at in 0..32 {
            let mut spoiled = bytes.clone();
            spoiled[at] ^= 1;
            assert!(
                matches!(ends(&database, &spoiled), End::Broken(_)),
                "byte {at} of the head"
            );
        }
        let mut spoiled = bytes.clone();
        spoiled[..32 + 3 * frame].fill(0);
        assert!(
            matches!(ends(&database, &spoiled), End::Broken(_)),
            "the first part is zeroed"
        );
    }

    #[test]
    fn what_a_checkpoint_or_a_failed_commit_left_behind_is_no_damage() {
        let (_dir, database, long) = log(6);
        let frame = 24 + 4_096;
        // A log that began anew over an old one.
        let (_other, _, short) = log(2);
        let mut over = long.clone();
        over[..short.len()].copy_from_slice(&short);
        assert_eq!(ends(&database, &over), End::Whole);
        // A commit that failed, and a shorter one written over its beginning: its last frames stay,
        // and nothing follows them.
        let ends_at: Vec<usize> = (0..(long.len() - 32) / frame)
            .filter(|n| word(&long, 32 + n * frame + 4, true) > 0)
            .collect();
        let mut stale = long[..32 + (ends_at[0] + 1) * frame].to_vec();
        stale[32..32 + frame].fill(7);
        assert!(
            matches!(ends(&database, &stale), End::Torn),
            "{:?}",
            ends(&database, &stale)
        );
    }
}
