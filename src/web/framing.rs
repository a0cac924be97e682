//! Requests whose end two readers would see in different places.
//!
//! hyper takes the chunks and drops `Content-Length` before we see it; a proxy that believed the length would disagree
//! about where the next request begins. So the head is looked at as it is read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use warp::http::{HeaderMap, Version, header};

/// What a connection's reader and its requests tell each other.
#[derive(Debug)]
pub(super) struct Framing {
    /// The next byte read begins a head.
    expects_head: AtomicBool,
    /// The last head had both a length and a transfer encoding.
    both: AtomicBool,
}

impl Default for Framing {
    fn default() -> Self {
        Self { expects_head: AtomicBool::new(true), both: AtomicBool::new(false) }
    }
}

impl Framing {
    /// A request was answered.
    pub(super) fn answered(&self) {
        self.both.store(false, Ordering::Relaxed);
        self.expects_head.store(true, Ordering::Relaxed);
    }

    /// Whether the request's end, or whom it is for, can be read in two ways.
    pub(super) fn is_ambiguous(&self, version: Version, headers: &HeaderMap) -> bool {
        let chunked = |value: &header::HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let one_encoding = encodings.next().is_none_or(|first| chunked(first) && encodings.next().is_none());
        let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
        let hosts = headers.get_all(header::HOST).iter().count();
        let one_host = hosts == 1 || (hosts == 0 && version < Version::HTTP_11);
        self.both.load(Ordering::Relaxed) || !one_encoding || lengths > 1 || !one_host
    }
}

/// A stream whose heads are looked at.
pub(super) struct Watched<S> {
    stream: S,
    framing: Arc<Framing>,
    /// A head not whole yet; heads mostly come whole, and are not copied.
    head: Vec<u8>,
    in_head: bool,
    most: usize,
}

impl<S> Watched<S> {
    pub(super) const fn new(stream: S, framing: Arc<Framing>, most: usize) -> Self {
        Self { stream, framing, head: Vec::new(), in_head: false, most }
    }

    fn look(&mut self, read: &[u8]) {
        if self.framing.expects_head.swap(false, Ordering::Relaxed) {
            self.in_head = true;
            self.head.clear();
        }
        if !self.in_head || read.is_empty() {
            return;
        }
        let whole = if self.head.is_empty() {
            end_of_head(read).and_then(|end| read.get(..end)).map(has_both)
        } else {
            self.head.extend_from_slice(read);
            end_of_head(&self.head).and_then(|end| self.head.get(..end)).map(has_both)
        };
        match whole {
            Some(both) => {
                self.framing.both.store(both, Ordering::Relaxed);
                self.in_head = false;
                self.head = Vec::new();
            }
            None if self.head.len() + read.len() > 2 * self.most => self.in_head = false, // hyper refuses it
            None if self.head.is_empty() => self.head.extend_from_slice(read),
            None => {}
        }
    }
}

/// Where the blank line is that ends a head; with bare line feeds too, which hyper takes.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let crlf = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    crlf.or_else(|| bytes.windows(2).position(|two| two == b"\n\n"))
}

fn has_both(head: &[u8]) -> bool {
    let named = |name: &[u8]| {
        let is_it = |line: &[u8]| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        head.split(|byte| *byte == b'\n').any(is_it)
    };
    named(b"transfer-encoding") && named(b"content-length")
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() {
            self.look(buf.filled().get(before..).unwrap_or_default());
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
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
}
