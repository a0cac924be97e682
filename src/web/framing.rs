//! Detection of requests whose end is ambiguous.
//!
//! hyper reads the chunks and drops `Content-Length` before our filters run. A proxy that believed
//! the length would see the next request begin elsewhere. Therefore the heads are parsed while they
//! are read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use warp::http::{HeaderMap, Version, header};

/// State shared by a connection's reader and its requests.
#[derive(Debug)]
pub(super) struct Framing {
    /// True if the next byte read begins a head.
    expects_head: AtomicBool,
    /// True if the last head had both a length and a transfer encoding.
    both: AtomicBool,
    /// True if the last head was seen complete and had a transfer encoding.
    chunked: AtomicBool,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            expects_head: AtomicBool::new(true),
            both: AtomicBool::new(false),
            chunked: AtomicBool::new(false),
        }
    }
}

impl Framing {
    /// Resets the state after an answer.
    pub(super) fn answered(&self) {
        self.both.store(false, Ordering::Relaxed);
        self.chunked.store(false, Ordering::Relaxed);
        self.expects_head.store(true, Ordering::Relaxed);
    }

    /// Returns true if the request's end or its host can be read in two ways.
    pub(super) fn is_ambiguous(&self, version: Version, headers: &HeaderMap) -> bool {
        let chunked = |value: &header::HeaderValue| {
            value
                .as_bytes()
                .trim_ascii()
                .eq_ignore_ascii_case(b"chunked")
        };
        let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let one_encoding = encodings
            .next()
            .is_none_or(|first| chunked(first) && encodings.next().is_none());
        let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
        let hosts = headers.get_all(header::HOST).iter().count();
        let one_host = hosts == 1 || (hosts == 0 && version < Version::HTTP_11);
        // A head that arrived in the same read as the request before it was not parsed here.
        let unseen = headers.contains_key(header::TRANSFER_ENCODING)
            && !self.chunked.load(Ordering::Relaxed);
        self.both.load(Ordering::Relaxed) || unseen || !one_encoding || lengths > 1 || !one_host
    }
}

/// A stream whose heads are parsed while they are read.
pub(super) struct Watched<S> {
    stream: S,
    framing: Arc<Framing>,
    /// Incomplete head. Most heads arrive complete and are not copied.
    head: Vec<u8>,
    in_head: bool,
    most: usize,
}

impl<S> Watched<S> {
    pub(super) const fn new(stream: S, framing: Arc<Framing>, most: usize) -> Self {
        Self {
            stream,
            framing,
            head: Vec::new(),
            in_head: false,
            most,
        }
    }

    fn look(&mut self, read: &[u8]) {
        if self.framing.expects_head.swap(false, Ordering::Relaxed) {
            self.in_head = true;
            self.head.clear();
        }
        if !self.in_head || read.is_empty() {
            return;
        }
        // A head that arrives in one read is parsed in place, without a copy.
        let whole = if self.head.is_empty() {
            head_of(read).map(ends_of)
        } else {
            self.head.extend_from_slice(read);
            head_of(&self.head).map(ends_of)
        };
        match whole {
            Some((length, chunked)) => {
                self.framing
                    .both
                    .store(length && chunked, Ordering::Relaxed);
                self.framing.chunked.store(chunked, Ordering::Relaxed);
                self.in_head = false;
                self.head = Vec::new();
            }
            None if self.head.len() + read.len() > 2 * self.most => self.in_head = false, /* hyper refuses it */
            None if self.head.is_empty() => self.head.extend_from_slice(read),
            None => {}
        }
    }
}

/// Returns a complete head by hyper's rules: blank lines may precede it, and a line may end in a
/// bare line feed.
fn head_of(bytes: &[u8]) -> Option<&[u8]> {
    let start = bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let head = bytes.get(start..)?;
    let blank = |rest: &[u8]| rest.starts_with(b"\n\n") || rest.starts_with(b"\n\r\n");
    let end = (0..head.len()).find(|at| head.get(*at..).is_some_and(blank))?;
    head.get(..end)
}

/// Returns true if a connection that receives this head in parts of `size` bytes finds both a
/// length and an encoding. For the fuzzer.
#[doc(hidden)]
#[must_use]
pub fn has_two_ends(head: &[u8], size: usize) -> bool {
    let framing = Arc::new(Framing::default());
    let mut watched = Watched::new((), Arc::clone(&framing), head.len().max(1));
    head.chunks(size.max(1)).for_each(|part| watched.look(part));
    framing.both.load(Ordering::Relaxed)
}

/// Returns whether a head has a length, and whether it has a transfer encoding.
fn ends_of(head: &[u8]) -> (bool, bool) {
    let named = |name: &[u8]| {
        let is_it = |line: &[u8]| {
            line.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        head.split(|byte| *byte == b'\n').any(is_it)
    };
    let first = head
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default()
        .trim_ascii_end();
    let whole = first.ends_with(b" HTTP/1.1") || first.ends_with(b" HTTP/1.0");
    (
        named(b"content-length"),
        whole && named(b"transfer-encoding"),
    )
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() {
            self.look(buf.filled().get(before..).unwrap_or_default());
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_with_a_length_and_chunks_is_seen_however_it_comes() {
        let head =
            b"POST /mist HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        for size in [1, 7, 40, head.len()] {
            let framing = Arc::new(Framing::default());
            let mut watched = Watched::new((), Arc::clone(&framing), 1024);
            head.chunks(size).for_each(|part| watched.look(part));
            assert!(framing.both.load(Ordering::Relaxed), "in parts of {size}");
            framing.answered();
            watched.look(b"POST /mist HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\ntransfer-encoding: x\r\n\r\n");
            assert!(!framing.both.load(Ordering::Relaxed), "the body is no head");
        }
    }

    #[test]
    fn a_head_ends_where_hyper_says_it_does() {
        let lines = [
            "POST /mist HTTP/1.1",
            "Host: x",
            "Content-Length: 5",
            "Transfer-Encoding: chunked",
        ];
        for (between, end) in [
            ("\r\n", "\r\n\r\n"),
            ("\n", "\n\n"),
            ("\r\n", "\n\r\n"),
            ("\n", "\r\n\n"),
        ] {
            for before in ["", "\r\n", "\r\n\r\n", "\n\n"] {
                let head = format!("{before}{}{end}", lines.join(between));
                assert!(
                    [1, 9, head.len()]
                        .iter()
                        .all(|size| has_two_ends(head.as_bytes(), *size)),
                    "{head:?}"
                );
            }
        }
    }

    #[test]
    fn chunks_of_a_head_that_nobody_looked_at_are_refused() {
        let framing = Arc::new(Framing::default());
        let mut watched = Watched::new((), Arc::clone(&framing), 1024);
        let headers = |names: &[(&'static str, &'static str)]| {
            let named = names
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            HeaderMap::from_iter(named)
        };
        let (plain, chunked) = (
            headers(&[("host", "x")]),
            headers(&[("host", "x"), ("transfer-encoding", "chunked")]),
        );
        let behind = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        watched.look(
            &[
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST /mist HTTP/1.1\r\nHost: x\r\n",
                &behind[..],
            ]
            .concat(),
        );
        assert!(
            !framing.is_ambiguous(Version::HTTP_11, &plain),
            "the first of the two is fine"
        );
        framing.answered();
        assert!(
            framing.is_ambiguous(Version::HTTP_11, &chunked),
            "the second was never looked at"
        );
        framing.answered();
        watched.look(&behind[19..]);
        assert!(
            framing.is_ambiguous(Version::HTTP_11, &chunked),
            "half a head is none"
        );
        framing.answered();
        watched.look(b"POST /mist HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert!(!framing.is_ambiguous(Version::HTTP_11, &chunked));
    }
}
