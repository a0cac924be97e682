//! Traffic files, read as one in the order of their lines' times.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::Failure;
use crate::model::Timestamp;
use crate::replay::{Post, TrafficError, read_posts};

/// Maximum number of lines without events that are reported per file.
const NAMED: usize = 5;

/// Passes every POST to `each`, oldest first. Lines of one file keep their order.
pub(super) fn each_post(files: &[PathBuf], mut each: impl FnMut(Post)) -> Result<(), Failure> {
    let several = files.len() > 1;
    let mut open = files
        .iter()
        .map(|file| Lines::open(file, several))
        .collect::<Result<Vec<_>, _>>()?;
    loop {
        // Of equally old lines, the file named first comes first.
        let waiting = open.iter_mut().filter(|lines| lines.next.is_some());
        let Some(oldest) = waiting.min_by_key(|lines| lines.at) else {
            break;
        };
        if let Some(post) = oldest.step()? {
            each(post);
        }
    }
    open.iter().for_each(Lines::warn_of_more);
    Ok(())
}

/// A file that is being read.
struct Lines<'f> {
    file: &'f Path,
    posts: Box<dyn Iterator<Item = Result<(usize, Post), TrafficError>>>,
    /// Next post of the file …
    next: Option<Post>,
    /// … and its time, if several files are merged; never before that of the line above.
    at: Timestamp,
    timed: bool,
    empty: usize,
}

impl<'f> Lines<'f> {
    fn open(file: &'f Path, timed: bool) -> Result<Self, Failure> {
        let reader: Box<dyn BufRead> = if file == Path::new("-") {
            Box::new(BufReader::new(std::io::stdin()))
        } else {
            let cannot = |e| Failure::unexpected(format!("cannot open {}: {e}", file.display()));
            Box::new(BufReader::new(File::open(file).map_err(cannot)?))
        };
        let posts = Box::new(read_posts(reader));
        let mut lines = Self {
            file,
            posts,
            next: None,
            at: Timestamp::EPOCH,
            timed,
            empty: 0,
        };
        lines.step()?;
        Ok(lines)
    }

    /// Returns the next post and reads the one after it.
    fn step(&mut self) -> Result<Option<Post>, Failure> {
        let read = self.posts.next().transpose();
        let read =
            read.map_err(|e| Failure::unexpected(format!("{}: {e}", self.file.display())))?;
        let next = read.map(|(number, post)| {
            self.warn_of_empty(number, &post);
            if self.timed {
                self.at = self.at.max(
                    post.received_at
                        .or_else(|| post.newest_event())
                        .unwrap_or(self.at),
                );
            }
            post
        });
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn warn_of_empty(&mut self, number: usize, post: &Post) {
        let Some(why) = post.empty() else { return };
        self.empty += 1;
        if self.empty <= NAMED {
            super::err(format!(
                "{}: warning: no events in line {number}: {why}",
                self.file.display()
            ));
        }
    }

    fn warn_of_more(&self) {
        if let Some(more) = self.empty.checked_sub(NAMED).filter(|more| *more > 0) {
            super::err(format!(
                "{}: warning: no events in {more} more lines either",
                self.file.display()
            ));
        }
    }
}
