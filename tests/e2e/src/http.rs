//! A client that sends what it is told, byte for byte, and reads answers to their end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::answer::Answer;

/// The longest wait for the next bytes of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// A request as it will be written.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    has_host: bool,
}

impl Request {
    /// Of this method for this target, which is written as it is.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new(), has_host: false }
    }

    /// A GET.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST of this body.
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new("POST", target) }
    }

    /// Of this method with this body, declared as JSON.
    pub fn json(method: &str, target: &str, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { body, ..Self::new(method, target) }.header("content-type", "application/json")
    }

    /// With these bytes as its body.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// Below this path.
    #[must_use]
    pub fn under(self, path: &str) -> Self {
        Self { target: format!("{path}{}", self.target), ..self }
    }

    /// With this header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.has_host |= name.eq_ignore_ascii_case("host");
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With this key in `x-api-key`.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.header("x-api-key", key)
    }

    /// With this token in `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// The bytes that go to this address.
    pub fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let host = (!self.has_host).then(|| format!("Host: {address}"));
        let has_length = !self.body.is_empty() || self.method == "POST";
        let length = has_length.then(|| format!("Content-Length: {}", self.body.len()));
        let fields = self.headers.iter().map(|(name, value)| format!("{name}: {value}"));
        let lines: Vec<String> = std::iter::once(format!("{} {} HTTP/1.1", self.method, self.target))
            .chain(host)
            .chain(fields)
            .chain(length)
            .collect();
        let mut bytes = format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Whether its answer has no body.
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

/// A connection to the gate or to anything else.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    address: SocketAddr,
}

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// When nothing listens there.
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// Connects, or tells why not.
    ///
    /// # Errors
    /// Nothing listens there.
    pub fn try_open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(READ_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new(), address })
    }

    /// Sends a request and reads its answer; the connection stays open.
    ///
    /// # Errors
    /// The connection ended before a whole header came.
    pub fn send(&mut self, request: &Request) -> io::Result<Answer> {
        self.write(&request.bytes(self.address))?;
        self.read_answer(request.is_head())
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Closes the sending side.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn close_sending(&self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// Reads an answer to its end.
    ///
    /// # Errors
    /// The connection ended before a whole header came, or nothing came for long.
    pub fn read_answer(&mut self, is_head: bool) -> io::Result<Answer> {
        let mut answer = self.read_head()?;
        let mut body = Vec::new();
        answer.complete = self.read_body(&answer, is_head, &mut |bytes| body.extend_from_slice(bytes));
        answer.body = body;
        Ok(answer)
    }

    /// Reads the header of an answer alone, after any informational ones.
    ///
    /// # Errors
    /// The connection ended before a whole one came, or nothing came for long.
    pub fn read_head(&mut self) -> io::Result<Answer> {
        let mut interim = Vec::new();
        loop {
            let head = self.read_one_head()?;
            if (100..200).contains(&head.status) {
                interim.push(head.status);
            } else {
                return Ok(Answer { interim, ..head });
            }
        }
    }

    /// Reads the next header, informational or not.
    ///
    /// # Errors
    /// As [`Self::read_head`].
    pub fn read_one_head(&mut self) -> io::Result<Answer> {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if self.fill()? == 0 {
                let got = String::from_utf8_lossy(&self.unread).into_owned();
                return Err(io::Error::new(ErrorKind::UnexpectedEof, format!("the connection ended after {got:?}")));
            }
        };
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, head.clone()))?;
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        Ok(Answer { status, headers, ..Answer::default() })
    }

    /// Hands the body of an answer to `take`, piece by piece. False when it broke off.
    pub fn read_body(&mut self, answer: &Answer, is_head: bool, take: &mut dyn FnMut(&[u8])) -> bool {
        if is_head || matches!(answer.status, 204 | 304) {
            return true;
        }
        if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.read_chunks(take).is_ok();
        }
        match answer.header("content-length").and_then(|length| length.parse::<u64>().ok()) {
            Some(length) => self.read_length(length, take).is_ok(),
            None => self.read_to_end(take).is_ok(),
        }
    }

    fn read_chunks(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        loop {
            let line = self.read_line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            self.read_length(size, take)?;
            let end = self.read_line()?;
            if size == 0 {
                return Ok(());
            }
            if !end.is_empty() {
                return Err(io::Error::new(ErrorKind::InvalidData, "a chunk is longer than it says"));
            }
        }
    }

    fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn read_length(&mut self, mut left: u64, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        while left > 0 {
            if self.unread.is_empty() && self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let count = usize::try_from(left).map_or(self.unread.len(), |left| left.min(self.unread.len()));
            take(&self.unread[..count]);
            self.unread.drain(..count);
            left -= count as u64;
        }
        Ok(())
    }

    fn read_to_end(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        loop {
            take(&self.unread);
            self.unread.clear();
            if self.fill()? == 0 {
                return Ok(());
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let start = self.unread.len();
        self.unread.resize(start + READ_BYTES, 0);
        let read = self.stream.read(&mut self.unread[start..]);
        self.unread.truncate(start + *read.as_ref().unwrap_or(&0));
        read
    }

    /// Whether the other side closes the connection within this time, having sent nothing more.
    ///
    /// # Panics
    /// When the socket cannot be set up.
    pub fn is_closed_within(&mut self, at_most: Duration) -> bool {
        self.stream.set_read_timeout(Some(at_most)).expect("a socket takes a timeout");
        let closed = match self.fill() {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        self.stream.set_read_timeout(Some(READ_TIMEOUT)).expect("a socket takes a timeout");
        closed
    }
}

/// Sends bytes on a connection of their own, and reads everything that comes until the other side closes it, or rests
/// for `rest`.
///
/// # Panics
/// When nothing listens there.
pub fn exchange(address: SocketAddr, bytes: &[u8], rest: Duration) -> Vec<u8> {
    let mut connection = Connection::open(address);
    // The other side may refuse, answer and close before it has read everything.
    drop(connection.write(bytes));
    connection.stream.set_read_timeout(Some(rest)).expect("a socket takes a timeout");
    while let Ok(1..) = connection.fill() {}
    connection.unread
}
