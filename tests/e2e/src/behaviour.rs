//! How the backend answers one path.

use std::time::Duration;

/// An answer, and what goes wrong with it.
#[derive(Clone, Debug)]
pub struct Behaviour {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) delay: Duration,
    pub(crate) held: bool,
    pub(crate) reads_body: bool,
    pub(crate) body: Body,
}

/// An answer's body.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// What the backend says of the call by itself, as JSON.
    Own,
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many bytes of the pattern, with their length declared.
    Pattern(u64),
    /// So many bytes of the pattern, in chunks.
    Chunked(u64),
    /// So many bytes of those declared, then the connection is closed.
    Broken { sent: usize, declared: usize },
    /// Pieces, each after a pause, in chunks.
    Slow { pieces: usize, pause: Duration },
    /// None, and no answer: the connection is closed.
    HangUp,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::status(200)
    }
}

impl Behaviour {
    /// Answers with this status.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), delay: Duration::ZERO, held: false, reads_body: true, body: Body::Own }
    }

    /// Closes the connection in place of an answer, once it has read the request.
    pub fn hangs_up() -> Self {
        Self { body: Body::HangUp, ..Self::default() }
    }

    /// With this header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// After this time.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Not before [`Backend::release`](crate::Backend::release).
    #[must_use]
    pub fn held(self) -> Self {
        Self { held: true, ..self }
    }

    /// Without reading the request's body first.
    #[must_use]
    pub fn early(self) -> Self {
        Self { reads_body: false, ..self }
    }

    /// With these bytes.
    #[must_use]
    pub fn bytes(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self { body: Body::Bytes(bytes.into()), ..self }
    }

    /// With so many bytes of the [`Pattern`](crate::Pattern).
    #[must_use]
    pub fn pattern(self, bytes: u64) -> Self {
        Self { body: Body::Pattern(bytes), ..self }
    }

    /// The same in chunks.
    #[must_use]
    pub fn chunked(self, bytes: u64) -> Self {
        Self { body: Body::Chunked(bytes), ..self }
    }

    /// Breaks off after so many of the bytes declared.
    #[must_use]
    pub fn broken(self, sent: usize, declared: usize) -> Self {
        Self { body: Body::Broken { sent, declared }, ..self }
    }

    /// In pieces with a pause before each.
    #[must_use]
    pub fn slow(self, pieces: usize, pause: Duration) -> Self {
        Self { body: Body::Slow { pieces, pause }, ..self }
    }
}
