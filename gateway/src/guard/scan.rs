//! Finds the end of a request's head in bytes that arrive in pieces.
//!
//! Owns the line structure alone: every line ends in CRLF, at most one empty line comes before
//! the request line, the first byte can begin a method. It looks at each byte once, however small
//! the pieces, and refuses early what can never become a head.
//!
//! Deliberately does not parse: [`judge`](super::head::judge) does, once the head is whole.

use super::Rejection;

/// RFC 9112 2.2 asks for tolerance of an empty line before the request line; old clients send one
/// after a body.
const LEADING_BYTES_MAX: usize = 2;

/// Where the head lies in the bytes scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeadBounds {
    /// How many bytes come before the head.
    pub(super) start: usize,
    /// The offset just past the empty line that ends the head.
    pub(super) end: usize,
}

/// How far the bytes of one head have been scanned. Offsets count from the first byte after the
/// request before.
#[derive(Debug, Default)]
pub(super) struct HeadScanner {
    start: usize,
    line_start: usize,
    scanned: usize,
}

impl HeadScanner {
    /// Scans on in `bytes`, which begin with all that earlier calls have seen. `None` asks for
    /// more bytes.
    ///
    /// # Errors
    ///
    /// A 400 for a line that ends in a bare line feed, for too many empty lines before the head,
    /// and for a first byte that no method begins with.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Result<Option<HeadBounds>, Rejection> {
        while let Some(feed) = find_line_feed(bytes, self.scanned) {
            self.scanned = feed + 1;
            if feed == self.line_start || bytes[feed - 1] != b'\r' {
                return Err(Rejection::bad_request("A line ends in a bare line feed"));
            }
            let empty = feed == self.line_start + 1;
            let line_start = self.line_start;
            self.line_start = feed + 1;
            if !empty {
                self.check_first_byte(bytes)?;
            } else if line_start > self.start {
                return Ok(Some(HeadBounds { start: self.start, end: feed + 1 }));
            } else {
                self.start = feed + 1;
                if self.start > LEADING_BYTES_MAX {
                    return Err(Rejection::bad_request("Empty lines precede the request line"));
                }
            }
        }
        self.scanned = bytes.len();
        self.check_first_byte(bytes)?;
        Ok(None)
    }

    fn check_first_byte(&self, bytes: &[u8]) -> Result<(), Rejection> {
        match bytes.get(self.start) {
            // A carriage return may still turn out to be an empty line.
            Some(b'\r') | None => Ok(()),
            Some(octet) if octet.is_ascii_alphabetic() => Ok(()),
            Some(_) => Err(Rejection::bad_request("This is not an HTTP request")),
        }
    }
}

fn find_line_feed(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr(b'\n', &bytes[from..]).map(|position| from + position)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8], step: usize) -> Result<Option<HeadBounds>, Rejection> {
        let mut scanner = HeadScanner::default();
        let mut seen = 0;
        while seen < bytes.len() {
            seen = bytes.len().min(seen + step);
            if let Some(bounds) = scanner.scan(&bytes[..seen])? {
                return Ok(Some(bounds));
            }
        }
        Ok(None)
    }

    #[test]
    fn the_head_ends_at_its_first_empty_line_however_it_is_cut() {
        let cases: [(&[u8], usize, usize); 4] = [
            (b"GET / HTTP/1.1\r\n\r\n", 0, 18),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n", 0, 27),
            (b"\r\nGET / HTTP/1.1\r\n\r\n", 2, 20),
            (b"\r\nGET / HTTP/1.1\r\n\r\nGET", 2, 20),
        ];
        for (bytes, start, end) in cases {
            for step in 1..=bytes.len() {
                let bounds = Some(HeadBounds { start, end });
                assert_eq!(scan(bytes, step), Ok(bounds), "{bytes:?} by {step}");
            }
        }
    }

    #[test]
    fn an_unfinished_head_asks_for_more() {
        for bytes in [b"".as_slice(), b"\r", b"\r\n", b"G", b"GET / HTTP/1.1\r\nHost: a\r\n\r"] {
            assert_eq!(scan(bytes, 1), Ok(None), "{bytes:?}");
        }
    }

    #[test]
    fn what_can_never_become_a_head_is_refused_at_once() {
        let cases: [&[u8]; 9] = [
            b"GET / HTTP/1.1\n",
            b"GET / HTTP/1.1\r\nHost: a\n",
            b"GET / HTTP/1.1\r\n\n",
            b"\nGET",
            b"\r\n\r\n",
            b" GET",
            b"\x16\x03\x01",
            b"\0",
            b"\r\n ",
        ];
        for bytes in cases {
            for step in 1..=bytes.len() {
                assert!(scan(bytes, step).is_err(), "{bytes:?} by {step}");
            }
        }
    }
}
