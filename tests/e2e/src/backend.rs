//! The backend behind the gate: it notes what arrives, byte for byte, and answers as it is told.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use serde_json::json;

use crate::behaviour::{Behaviour, Body};
use crate::pattern::Pattern;
use crate::wait::{PATIENCE, eventually};

/// Bodies up to this length are kept.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its method.
    pub method: String,
    /// Its target, as it stood in the request line.
    pub target: String,
    /// Its headers as they stood there, in order.
    pub headers: Vec<(String, String)>,
    /// The beginning of its body.
    pub body: Vec<u8>,
    /// How much body came, if all of it was the pattern's.
    pub pattern: Option<u64>,
    /// Whether the body came to its end.
    pub complete: bool,
    /// The connection it came on, counted from 0.
    pub connection: usize,
}

impl Arrival {
    /// A header's value, the first of its name (compared without case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The path of its target.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// A backend that runs until it is dropped.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    behaviours: Mutex<HashMap<String, Behaviour>>,
    arrivals: Mutex<Vec<Arrival>>,
    released: Mutex<bool>,
    release: Condvar,
    connections: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
}

impl Backend {
    /// A backend on a free port that answers every path with 200.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn start() -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// A backend at this address, where another was before.
    ///
    /// # Panics
    /// When it is taken.
    pub fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if served.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let number = served.connections.fetch_add(1, Ordering::SeqCst);
                lock(&served.open).extend(stream.try_clone());
                let shared = Arc::clone(&served);
                thread::spawn(move || {
                    let Ok(mut serving) = Serving::new(stream, number, shared) else { return };
                    // A peer that goes away ends its connection and nothing else. The backend holds the socket once
                    // more, to close it when the backend goes, so that dropping it here would not be enough.
                    drop(serving.serve());
                    drop(serving.writer.shutdown(Shutdown::Both));
                });
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers a path (without its query) so from now on.
    pub fn on(&self, path: &str, behaviour: Behaviour) {
        lock(&self.shared.behaviours).insert(path.to_owned(), behaviour);
    }

    /// Lets every held answer go, now and later.
    pub fn release(&self) {
        *lock(&self.shared.released) = true;
        self.shared.release.notify_all();
    }

    /// What has arrived so far.
    pub fn arrivals(&self) -> Vec<Arrival> {
        lock(&self.shared.arrivals).clone()
    }

    /// How many requests have arrived so far.
    pub fn count(&self) -> usize {
        lock(&self.shared.arrivals).len()
    }

    /// Forgets what has arrived.
    pub fn forget(&self) {
        lock(&self.shared.arrivals).clear();
    }

    /// Waits until so many requests have arrived.
    #[track_caller]
    pub fn await_count(&self, count: usize) {
        eventually(&format!("{count} requests at the backend"), || (self.count() >= count).then_some(()));
    }

    /// The only request that has arrived.
    ///
    /// # Panics
    /// When there is none, or another.
    #[track_caller]
    pub fn only(&self) -> Arrival {
        let mut arrivals = self.arrivals();
        assert_eq!(arrivals.len(), 1, "{arrivals:#?}");
        arrivals.remove(0)
    }

    /// The newest request.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn last(&self) -> Arrival {
        self.arrivals().pop().expect("a request has arrived")
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.release();
        self.shared.stopped.store(true, Ordering::SeqCst);
        for stream in lock(&self.shared.open).drain(..) {
            // One that its peer has closed is closed already.
            drop(stream.shutdown(Shutdown::Both));
        }
        // Wakes the accepting thread, so that it sees the flag.
        drop(TcpStream::connect(self.address));
    }
}

/// One connection.
struct Serving {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    number: usize,
    shared: Arc<Shared>,
}

/// How a request's body is framed.
enum Framing {
    Length(u64),
    Chunked,
}

impl Serving {
    fn new(stream: TcpStream, number: usize, shared: Arc<Shared>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let writer = stream.try_clone()?;
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, stream), writer, number, shared })
    }

    fn serve(&mut self) -> io::Result<()> {
        while let Some((arrival, framing)) = self.read_head()? {
            let path = arrival.path().to_owned();
            let closes = arrival.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            let expects = arrival.header("expect").is_some();
            let method = arrival.method.clone();
            let own = json!({ "method": method, "target": arrival.target }).to_string().into_bytes();
            let behaviour = lock(&self.shared.behaviours).get(&path).cloned().unwrap_or_default();
            let index = {
                let mut arrivals = lock(&self.shared.arrivals);
                arrivals.push(arrival);
                arrivals.len() - 1
            };
            if behaviour.reads_body {
                if expects {
                    self.writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                }
                self.read_body(index, &framing)?;
            }
            if behaviour.held {
                self.await_release();
            }
            thread::sleep(behaviour.delay);
            let goes_on = self.answer(&behaviour, &own, method == "HEAD")?;
            if !goes_on || closes || !behaviour.reads_body {
                break;
            }
        }
        Ok(())
    }

    fn await_release(&self) {
        let released = lock(&self.shared.released);
        let waited = self.shared.release.wait_timeout_while(released, PATIENCE * 2, |released| !*released);
        drop(waited.expect("no test panics while it holds this"));
    }

    fn read_head(&mut self) -> io::Result<Option<(Arrival, Framing)>> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            if self.reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            let line = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let mut words = lines.first().map(String::as_str).unwrap_or_default().splitn(3, ' ');
        let (method, target) =
            (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
        let headers = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        let arrival = Arrival {
            method,
            target,
            headers,
            body: Vec::new(),
            pattern: Some(0),
            complete: false,
            connection: self.number,
        };
        let framing = match arrival.header("transfer-encoding") {
            Some(_) => Framing::Chunked,
            None => {
                Framing::Length(arrival.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0))
            }
        };
        Ok(Some((arrival, framing)))
    }

    fn read_body(&mut self, index: usize, framing: &Framing) -> io::Result<()> {
        let mut pattern = Pattern::default();
        match framing {
            Framing::Length(length) => self.read_length(index, *length, &mut pattern)?,
            Framing::Chunked => loop {
                let mut line = String::new();
                self.reader.read_line(&mut line)?;
                let size = u64::from_str_radix(line.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
                self.read_length(index, size, &mut pattern)?;
                self.reader.read_line(&mut line)?;
                if size == 0 {
                    break;
                }
            },
        }
        self.note(index, |arrival| arrival.complete = true);
        Ok(())
    }

    fn read_length(&mut self, index: usize, mut left: u64, pattern: &mut Pattern) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        while left > 0 {
            let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            let count = self.reader.read(&mut buffer[..wanted])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= count as u64;
            let bytes = &buffer[..count];
            pattern.check(bytes);
            let sound = pattern.sound_length();
            self.note(index, |arrival| {
                let room = KEPT_BYTES_MAX.saturating_sub(arrival.body.len());
                arrival.body.extend_from_slice(&bytes[..room.min(bytes.len())]);
                arrival.pattern = sound;
            });
        }
        Ok(())
    }

    fn note(&self, index: usize, change: impl FnOnce(&mut Arrival)) {
        // A test may have forgotten what arrived before.
        if let Some(arrival) = lock(&self.shared.arrivals).get_mut(index) {
            change(arrival);
        }
    }

    /// Writes an answer. False when the connection ends with it.
    fn answer(&mut self, behaviour: &Behaviour, own: &[u8], is_head: bool) -> io::Result<bool> {
        let length = match &behaviour.body {
            Body::HangUp => return Ok(false),
            Body::Own => Some(own.len() as u64),
            Body::Bytes(bytes) => Some(bytes.len() as u64),
            Body::Pattern(bytes) => Some(*bytes),
            Body::Broken { declared, .. } => Some(*declared as u64),
            Body::Chunked(_) | Body::Slow { .. } => None,
        };
        let mut lines = vec![format!("HTTP/1.1 {} Answer", behaviour.status)];
        lines.extend(behaviour.headers.iter().map(|(name, value)| format!("{name}: {value}")));
        if behaviour.status != 204 {
            lines.push(
                length.map_or("Transfer-Encoding: chunked".to_owned(), |length| format!("Content-Length: {length}")),
            );
        }
        if matches!(behaviour.body, Body::Own) {
            lines.push("Content-Type: application/json".to_owned());
        }
        let head = format!("{}\r\n\r\n", lines.join("\r\n"));
        self.writer.write_all(head.as_bytes())?;
        if is_head || behaviour.status == 204 {
            return Ok(true);
        }
        self.write_body(&behaviour.body, own)?;
        Ok(!matches!(behaviour.body, Body::Broken { .. }))
    }

    fn write_body(&mut self, body: &Body, own: &[u8]) -> io::Result<()> {
        let mut pattern = Pattern::default();
        match body {
            Body::HangUp => Ok(()),
            Body::Own => self.writer.write_all(own),
            Body::Bytes(bytes) => self.writer.write_all(bytes),
            Body::Broken { sent, .. } => self.writer.write_all(&vec![b'x'; *sent]),
            Body::Pattern(bytes) => {
                let mut left = *bytes;
                while left > 0 {
                    let piece = pattern.next(left);
                    left -= piece.len() as u64;
                    self.writer.write_all(piece)?;
                }
                Ok(())
            }
            Body::Chunked(bytes) => {
                let mut left = *bytes;
                while left > 0 {
                    let piece = pattern.next(left.min(30_011));
                    left -= piece.len() as u64;
                    self.writer.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
                    self.writer.write_all(piece)?;
                    self.writer.write_all(b"\r\n")?;
                }
                self.writer.write_all(b"0\r\n\r\n")
            }
            Body::Slow { pieces, pause } => {
                for _ in 0..*pieces {
                    thread::sleep(*pause);
                    self.writer.write_all(b"5\r\npiece\r\n")?;
                }
                self.writer.write_all(b"0\r\n\r\n")
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding this")
}
