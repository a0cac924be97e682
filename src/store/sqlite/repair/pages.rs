//! Rows out of a SQLite file that SQLite will not read any more: every page that looks like a leaf
//! of a table is taken for one, wherever it is. What is no row of ours shows by its columns and its
//! checksum.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::store::sqlite::schema::APPLICATION;
use crate::store::{Error, Result};

/// The page size this release writes, should the file not tell its own.
const USUAL_PAGE: usize = 8_192;
/// No row of ours is longer.
const LONGEST: usize = 256 << 20;
/// A page of a table's rows.
const LEAF: u8 = 0x0d;
/// The heads of a log and of each of its frames.
const LOG_HEAD: u64 = 32;
const FRAME_HEAD: u64 = 24;

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
    Other,
}

/// One row: its number and its columns.
pub(super) struct Found {
    pub(super) id: i64,
    pub(super) columns: Vec<Value>,
    /// The pages it goes on in are not there: the last columns are cut, or missing.
    pub(super) is_cut: bool,
}

/// A database file and its log.
pub(super) struct Pages {
    file: Option<File>,
    log: Option<File>,
    size: usize,
    pages: u64,
    /// Frames of the log that belong together, in order: the page each is of, and where its bytes
    /// begin.
    frames: Vec<(u64, u64)>,
    /// The newest frame of each page.
    newest: HashMap<u64, u64>,
}

impl Pages {
    pub(super) fn open(database: &Path, log: &Path) -> Result<Self> {
        let open = |path: &Path| match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::Fatal(format!("cannot read {}: {e}", path.display()))),
        };
        let (file, log) = (open(database)?, open(log)?);
        let length = |file: &Option<File>| {
            file.as_ref()
                .and_then(|f| f.metadata().ok())
                .map_or(0, |meta| meta.len())
        };
        let declared = |file: &Option<File>, at, width| {
            let size = number(&bytes(file.as_ref()?, at, width)?);
            // Two bytes cannot say 65,536: they say 1.
            let size = if size == 1 {
                65_536
            } else {
                usize::try_from(size).ok()?
            };
            (size.is_power_of_two() && (512..=65_536).contains(&size)).then_some(size)
        };
        let size = declared(&file, 16, 2)
            .or_else(|| declared(&log, 8, 4))
            .unwrap_or(USUAL_PAGE);
        let frames = log.as_ref().map_or_else(Vec::new, |log| frames(log, size));
        let newest = frames.iter().copied().collect();
        Ok(Self {
            pages: length(&file).div_ceil(size as u64),
            file,
            log,
            size,
            frames,
            newest,
        })
    }

    /// The schema it says it is of, where its head is whole and a Foghorn wrote it.
    pub(super) fn schema(&self) -> Option<i64> {
        let head = self
            .read(1)
            .filter(|head| head.starts_with(b"SQLite format 3\0"))?;
        let said = |at: usize| i64::try_from(number(head.get(at..at + 4)?)).ok();
        (said(68)? == APPLICATION).then(|| said(60)).flatten()
    }

    /// Every row of every page, of the log's pages too: the same row may come more than once, as it
    /// was at different times.
    pub(super) fn rows(&self, mut each: impl FnMut(Found) -> Result<()>) -> Result<()> {
        for page in 1..=self.pages {
            let bytes = self
                .file
                .as_ref()
                .and_then(|file| part(file, (page - 1) * self.size as u64, self.size));
            self.page(page, &bytes.unwrap_or_default(), &mut each)?;
        }
        for (page, at) in &self.frames {
            let bytes = self.log.as_ref().and_then(|log| bytes(log, *at, self.size));
            self.page(*page, &bytes.unwrap_or_default(), &mut each)?;
        }
        Ok(())
    }

    fn page(
        &self,
        page: u64,
        bytes: &[u8],
        each: &mut impl FnMut(Found) -> Result<()>,
    ) -> Result<()> {
        // The first page begins with the head of the file.
        let head = if page == 1 { 100 } else { 0 };
        if bytes.get(head) != Some(&LEAF) {
            return Ok(());
        }
        let cells = bytes.get(head + 3..head + 5).map_or(0, number);
        for cell in 0..usize::try_from(cells).unwrap_or_default() {
            let at = head + 8 + cell * 2;
            let Some(start) = bytes.get(at..at + 2).map(number) else {
                break;
            };
            let cell = usize::try_from(start)
                .ok()
                .and_then(|start| bytes.get(start..));
            if let Some(found) = cell.and_then(|cell| self.cell(cell)) {
                each(found)?;
            }
        }
        Ok(())
    }

    fn cell(&self, cell: &[u8]) -> Option<Found> {
        let (length, rest) = varint(cell)?;
        let (id, rest) = varint(rest)?;
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= LONGEST)?;
        let most = self.size - 35;
        if length <= most {
            return Some(Found {
                id,
                columns: columns(rest.get(..length)?, false)?,
                is_cut: false,
            });
        }
        let least = (self.size - 12) * 32 / 255 - 23;
        let here = least + (length - least) % (self.size - 4);
        let here = if here <= most { here } else { least };
        let mut payload = rest.get(..here)?.to_vec();
        let mut next = number(rest.get(here..here + 4)?);
        while payload.len() < length
            && let Some(page) = self.read(next)
        {
            let take = (length - payload.len()).min(self.size - 4);
            payload.extend_from_slice(page.get(4..4 + take)?);
            next = number(page.get(..4)?);
        }
        let is_cut = payload.len() < length;
        Some(Found {
            id,
            columns: columns(&payload, is_cut)?,
            is_cut,
        })
    }

    /// A page as it was last written.
    fn read(&self, page: u64) -> Option<Vec<u8>> {
        match (self.newest.get(&page), &self.log) {
            (Some(at), Some(log)) => bytes(log, *at, self.size),
            _ => bytes(
                self.file.as_ref()?,
                page.checked_sub(1)?.checked_mul(self.size as u64)?,
                self.size,
            ),
        }
    }
}

/// The frames up to the last that ended a transaction. Their checksums are not asked: rows have
/// their own. Which belong to this log their salt says, the head's or, where that is damaged,
/// most frames'. One amid them whose own is damaged is taken too.
fn frames(log: &File, size: usize) -> Vec<(u64, u64)> {
    let (mut all, mut at) = (Vec::new(), LOG_HEAD);
    while let Some(head) = bytes(log, at, 24) {
        all.push((
            number(head.get(8..16).unwrap_or_default()),
            head,
            at + FRAME_HEAD,
        ));
        at += FRAME_HEAD + size as u64;
    }
    let mut often = HashMap::<u64, usize>::new();
    all.iter()
        .filter(|(salt, ..)| *salt != 0)
        .for_each(|(salt, ..)| *often.entry(*salt).or_default() += 1);
    let said = bytes(log, 16, 8)
        .map(|salt| number(&salt))
        .filter(|salt| often.contains_key(salt));
    let salt = said.or_else(|| {
        often
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(salt, _)| salt)
    });
    let ends = |(its, head, _): &(u64, Vec<u8>, u64)| {
        Some(*its) == salt && head.get(4..8).map_or(0, number) > 0
    };
    let whole = all.iter().rposition(ends).map_or(0, |last| last + 1);
    all.into_iter()
        .take(whole)
        .map(|(_, head, at)| (head.get(..4).map_or(0, number), at))
        .collect()
}

/// So many bytes from there on.
fn bytes(file: &File, at: u64, length: usize) -> Option<Vec<u8>> {
    part(file, at, length).filter(|bytes| bytes.len() == length)
}

/// As many of them as there are.
fn part(file: &File, at: u64, length: usize) -> Option<Vec<u8>> {
    let (mut bytes, mut filled) = (vec![0; length], 0);
    while let Ok(read @ 1..) = file.read_at(bytes.get_mut(filled..)?, at + filled as u64) {
        filled += read;
    }
    bytes.truncate(filled);
    Some(bytes)
}

/// Big-endian.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// SQLite's number of one to nine bytes, and what follows.
fn varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0_u64;
    for (n, byte) in bytes.iter().enumerate().take(9) {
        if n == 8 {
            return Some((
                (value << 8 | u64::from(*byte)).cast_signed(),
                bytes.get(9..)?,
            ));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value.cast_signed(), bytes.get(n + 1..)?));
        }
    }
    None
}

/// The columns of a row. Where it is cut, as much of them as there is.
fn columns(payload: &[u8], is_cut: bool) -> Option<Vec<Value>> {
    let (length, _) = varint(payload)?;
    let length = usize::try_from(length).ok()?;
    let (_, mut kinds) = varint(payload.get(..length)?)?;
    let mut rest = payload.get(length..)?;
    let mut found = Vec::new();
    while !kinds.is_empty() {
        let (kind, more) = varint(kinds)?;
        kinds = more;
        let width = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            12.. => usize::try_from((kind - 12) / 2).ok()?,
            _ => return None,
        };
        let (value, more) = match rest.split_at_checked(width) {
            Some(parts) => parts,
            None if is_cut && kind >= 12 => (rest, &[][..]),
            None if is_cut => {
                rest = &[];
                found.push(Value::Other);
                continue;
            }
            None => return None,
        };
        rest = more;
        found.push(match kind {
            0 => Value::Null,
            8 => Value::Int(0),
            9 => Value::Int(1),
            7 => Value::Other,
            1..=6 => {
                // The first bit is the sign.
                let unused = 64 - 8 * u32::try_from(width).ok()?;
                Value::Int((number(value) << unused).cast_signed() >> unused)
            }
            even if even % 2 == 0 => Value::Blob(value.to_vec()),
            _ => {
                std::str::from_utf8(value).map_or(Value::Other, |text| Value::Text(text.to_owned()))
            }
        });
    }
    Some(found)
}
