//! Follows a request's body as its bytes pass, and says where it ends.
//!
//! Owns the framing: the declared length, or the chunked coding read to the letter. The proxy
//! behind the guard parses chunks too, but leniently; it never sees a byte that this tracker has
//! not accepted, and never one that lies beyond the body's end.
//!
//! Deliberately does no I/O, changes no byte and knows no limit on a body's size: that is the
//! route's.

use super::Rejection;

/// How many bytes of chunk extensions a body may carry in all. They mean nothing here and are
/// dropped on the way upstream.
const EXTENSION_BYTES_MAX: u32 = 4 * 1024;
/// How many bytes of trailer fields a body may carry. They are dropped on the way upstream.
const TRAILER_BYTES_MAX: u32 = 8 * 1024;
/// A chunk size has at most this many digits; 16 of them fill 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// How a request's head declares its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// No body.
    #[default]
    Empty,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// What [`BodyTracker::advance`] made of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Advance {
    /// How many of the bytes belong to the body and are sound. What follows them belongs to the
    /// next request when the body is done, and is the violation itself when there is one.
    pub consumed: usize,
    /// Set when the byte after the consumed ones breaks the framing.
    pub violation: Option<Rejection>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Done,
    /// Bytes still to come under `Content-Length`.
    Length(u64),
    /// In the digits of a chunk's size.
    Size { digits: u8, size: u64 },
    /// In the extensions after a chunk's size.
    Extension { size: u64 },
    /// After the carriage return that ends a chunk's size line.
    SizeEnd { size: u64 },
    /// Bytes of the chunk still to come.
    Data(u64),
    /// Before the carriage return that ends a chunk's data.
    DataReturn,
    /// Before the line feed that ends a chunk's data.
    DataFeed,
    /// At the start of a line after the last chunk.
    TrailerStart,
    /// Inside a trailer field.
    Trailer,
    /// Before the line feed that ends a trailer field.
    TrailerFeed,
    /// Before the line feed that ends the message.
    EndFeed,
}

/// The position within one request's body.
#[derive(Debug, Default)]
pub struct BodyTracker {
    state: State,
    extension_bytes: u32,
    trailer_bytes: u32,
}

impl BodyTracker {
    /// A tracker at the start of a body so framed.
    pub const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { digits: 0, size: 0 },
        };
        Self { state, extension_bytes: 0, trailer_bytes: 0 }
    }

    /// Whether the last byte of the body has passed.
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Reads on through `bytes`, which follow what was consumed before.
    pub fn advance(&mut self, bytes: &[u8]) -> Advance {
        let mut consumed = 0;
        while consumed < bytes.len() && !self.is_done() {
            match self.step(&bytes[consumed..]) {
                Ok(taken) => consumed += taken,
                Err(detail) => {
                    return Advance { consumed, violation: Some(Rejection::bad_request(detail)) };
                }
            }
        }
        Advance { consumed, violation: None }
    }

    /// Takes a run of data, or one byte of framing, from the front of `bytes`, never empty.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        let octet = bytes[0];
        let mut taken = 1;
        self.state = match self.state {
            State::Done => return Ok(0),
            State::Length(left) => {
                taken = run_length(left, bytes);
                match left - taken as u64 {
                    0 => State::Done,
                    left => State::Length(left),
                }
            }
            State::Data(left) => {
                taken = run_length(left, bytes);
                match left - taken as u64 {
                    0 => State::DataReturn,
                    left => State::Data(left),
                }
            }
            State::Size { digits, size } => self.size_octet(octet, digits, size)?,
            State::Extension { size } => self.extension_octet(octet, size)?,
            State::SizeEnd { size } => match (octet, size) {
                (b'\n', 0) => State::TrailerStart,
                (b'\n', size) => State::Data(size),
                _ => return Err("A chunk size line does not end in CRLF"),
            },
            State::DataReturn if octet == b'\r' => State::DataFeed,
            State::DataFeed if octet == b'\n' => State::Size { digits: 0, size: 0 },
            State::DataReturn | State::DataFeed => {
                return Err("A chunk is longer than its declared size");
            }
            State::TrailerStart if octet == b'\r' => State::EndFeed,
            State::TrailerStart | State::Trailer => self.trailer_octet(octet)?,
            State::TrailerFeed if octet == b'\n' => State::TrailerStart,
            State::EndFeed if octet == b'\n' => State::Done,
            State::TrailerFeed | State::EndFeed => {
                return Err("A trailer line does not end in CRLF");
            }
        };
        Ok(taken)
    }

    fn size_octet(&mut self, octet: u8, digits: u8, size: u64) -> Result<State, &'static str> {
        if let Some(digit) = char::from(octet).to_digit(16) {
            if digits == SIZE_DIGITS_MAX {
                return Err("A chunk size has too many digits");
            }
            return Ok(State::Size { digits: digits + 1, size: size << 4 | u64::from(digit) });
        }
        if digits == 0 {
            return Err("A chunk size is missing");
        }
        // Everything downstream counts in signed 64 bits at most.
        if i64::try_from(size).is_err() {
            return Err("A chunk size is too large");
        }
        match octet {
            b'\r' => Ok(State::SizeEnd { size }),
            b';' => self.extension_octet(octet, size),
            _ => Err("A chunk size is not a hexadecimal number"),
        }
    }

    fn extension_octet(&mut self, octet: u8, size: u64) -> Result<State, &'static str> {
        match octet {
            b'\r' => return Ok(State::SizeEnd { size }),
            b'\t' | 0x20..=0x7E => {}
            _ => return Err("A chunk extension holds a control character"),
        }
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err("The chunk extensions are too long");
        }
        Ok(State::Extension { size })
    }

    fn trailer_octet(&mut self, octet: u8) -> Result<State, &'static str> {
        let first = self.state == State::TrailerStart;
        match octet {
            b'\r' => return Ok(State::TrailerFeed),
            b'\t' | b' ' if first => return Err("A trailer field is folded"),
            b'\t' | 0x20..=0x7E | 0x80..=0xFF => {}
            _ => return Err("A trailer field holds a control character"),
        }
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err("The trailer fields are too long");
        }
        Ok(State::Trailer)
    }
}

/// How many of `bytes` belong to a run of `left` bytes.
fn run_length(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `bytes` in pieces of `step` bytes. Returns how many were consumed, whether the body
    /// is done, and the violation.
    fn feed(framing: Framing, bytes: &[u8], step: usize) -> (usize, bool, Option<Rejection>) {
        let mut tracker = BodyTracker::new(framing);
        let mut total = 0;
        for piece in bytes.chunks(step) {
            let advance = tracker.advance(piece);
            total += advance.consumed;
            if advance.violation.is_some() {
                return (total, tracker.is_done(), advance.violation);
            }
            if tracker.is_done() {
                break;
            }
        }
        (total, tracker.is_done(), None)
    }

    #[test]
    fn bodies_end_where_their_framing_says() {
        let trailers = b"0\r\nX-Sum: 1\r\nY: \xE9\r\n\r\nGET".as_slice();
        let cases: [(Framing, &[u8], usize); 9] = [
            (Framing::Empty, b"GET / HTTP/1.1", 0),
            (Framing::Length(0), b"GET / HTTP/1.1", 0),
            (Framing::Length(5), b"helloGET", 5),
            (Framing::Chunked, b"0\r\n\r\nGET", 5),
            (Framing::Chunked, b"5\r\nhello\r\n0\r\n\r\nGET", 15),
            (Framing::Chunked, b"a\r\n0123456789\r\n00\r\n\r\n", 21),
            (Framing::Chunked, b"000000000000000A\r\n0123456789\r\n0\r\n\r\n", 35),
            (Framing::Chunked, b"1;name=\"a b\"\r\nx\r\n0;last\r\n\r\nGET", 27),
            (Framing::Chunked, trailers, trailers.len() - 3),
        ];
        for (framing, bytes, end) in cases {
            for step in 1..=bytes.len() {
                let shown = String::from_utf8_lossy(bytes);
                assert_eq!(feed(framing, bytes, step), (end, true, None), "{shown} by {step}");
            }
        }
    }

    #[test]
    fn a_body_cut_short_is_not_done() {
        let cases: [(Framing, &[u8]); 4] = [
            (Framing::Length(5), b"hell"),
            (Framing::Chunked, b"5\r\nhello\r\n"),
            (Framing::Chunked, b"5\r\nhello\r\n0\r\n"),
            (Framing::Chunked, b"0\r\nA: b\r\n"),
        ];
        for (framing, bytes) in cases {
            assert_eq!(feed(framing, bytes, 1), (bytes.len(), false, None));
        }
    }

    #[test]
    fn loose_chunked_framing_is_a_violation_at_its_first_wrong_byte() {
        let cases: [(&[u8], usize); 20] = [
            (b"\r\n", 0),
            (b" 5\r\nhello", 0),
            (b"5 \r\nhello", 1),
            (b"5\t;x\r\n", 1),
            (b"+5\r\nhello", 0),
            (b"-5\r\nhello", 0),
            (b"0x5\r\nhello", 1),
            (b"g\r\n", 0),
            (b"00000000000000005\r\n", 16),
            (b"ffffffffffffffff\r\n", 16),
            (b"8000000000000000\r\n", 16),
            (b"5\nhello", 1),
            (b"5\rhello", 2),
            (b"5;a\nhello", 3),
            (b"5;a\0\r\n", 3),
            (b"5\r\nhelloX", 8),
            (b"5\r\nhello\n", 8),
            (b"5\r\nhello\r0", 9),
            (b"0\r\nA: b\n\r\n", 7),
            (b"0\r\n A: b\r\n\r\n", 3),
        ];
        for (bytes, sound) in cases {
            for step in 1..=bytes.len() {
                let (consumed, done, violation) = feed(Framing::Chunked, bytes, step);
                let shown = String::from_utf8_lossy(bytes);
                assert_eq!((consumed, done), (sound, false), "{shown:?} by {step}");
                assert_eq!(violation.map(|v| v.status), Some(400), "{shown:?}");
            }
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extension = [b"1;".as_slice(), &[b'x'; 5_000]].concat();
        let trailer = [b"0\r\nA: ".as_slice(), &[b'x'; 9_000]].concat();
        let mut spread = Vec::new();
        for _ in 0..2_000 {
            spread.extend_from_slice(b"1;ab\r\nx\r\n");
        }
        for bytes in [extension, trailer, spread] {
            let (consumed, done, violation) = feed(Framing::Chunked, &bytes, 1_000);
            assert!(consumed < bytes.len() && !done && violation.is_some());
        }
    }

    proptest! {
        #[test]
        fn chunks_pass_whole_however_they_are_cut(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            step in 1_usize..64,
            next in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            let end = bytes.len();
            bytes.extend_from_slice(&next);
            prop_assert_eq!(feed(Framing::Chunked, &bytes, step), (end, true, None));
        }
    }
}
