//! A gateway as small as can be: the listener and the guard before a proxy that forwards, and an
//! upstream that remembers every byte it was sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderValue;
use parking_lot::Mutex;
use pingora::http::ResponseHeader;
use pingora::prelude::{Error, HttpPeer};
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use tollgate_gateway::guard::{
    GuardObserver, GuardSettings, GuardedRequest, MinimumRate, RejectedRequest, RenderedAnswer,
};
use tollgate_gateway::listener::{DrainReport, ListenerSettings, UpstreamSettings, bind, proxy_app, serve};

/// Long enough for anything here, short enough to notice a hang.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// What the upstream read of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) body_bytes: usize,
    /// Whether the body came to its end.
    pub(crate) complete: bool,
}

impl Received {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

type Log<T> = Arc<Mutex<Vec<T>>>;

/// The whole arrangement. Dropping it ends everything.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) received: Log<Received>,
    /// What the observer was told, one word each.
    pub(crate) seen: Log<String>,
    shutdown: watch::Sender<bool>,
    serving: JoinHandle<DrainReport>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::start_with(settings()).await
    }

    pub(crate) async fn start_with(settings: ListenerSettings) -> Self {
        let received = Log::default();
        let upstream = start_upstream(Arc::clone(&received)).await;
        let seen = Log::default();
        let listeners = bind(&[SocketAddr::from(([127, 0, 0, 1], 0))]).expect("a free port");
        let address = listeners.addresses()[0];
        let (shutdown, stop) = watch::channel(false);
        let proxy = proxy_app(Forward { upstream }, UpstreamSettings::default());
        let observer = Arc::new(Recorder { seen: Arc::clone(&seen) });
        let serving = tokio::spawn(serve(listeners, proxy, observer, settings, stop));
        Self { address, received, seen, shutdown, serving }
    }

    pub(crate) async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.expect("the gateway listens");
        Client { stream, unread: Vec::new() }
    }

    /// Connects without letting anything else on this thread run.
    pub(crate) fn connect_unaccepted(&self) -> Client {
        let stream = std::net::TcpStream::connect(self.address).expect("the gateway listens");
        stream.set_nonblocking(true).expect("a socket option");
        let stream = TcpStream::from_std(stream).expect("the runtime takes sockets");
        Client { stream, unread: Vec::new() }
    }

    /// Sends `bytes` on a connection of their own, and returns all that comes back until the
    /// gateway closes it.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client.read_to_end().await
    }

    pub(crate) fn begin_drain(&self) {
        self.shutdown.send_replace(true);
    }

    pub(crate) async fn drained(self) -> DrainReport {
        timeout(SOON, self.serving).await.expect("a drain ends").expect("serving does not panic")
    }

    pub(crate) fn count(&self, word: &str) -> usize {
        self.seen.lock().iter().filter(|seen| seen.as_str() == word).count()
    }

    /// Waits until the observer was told `word` `times` times.
    pub(crate) async fn wait_for(&self, word: &str, times: usize) {
        for _ in 0..500 {
            if self.count(word) >= times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{word} was not seen {times} times in {:?}", self.seen.lock());
    }
}

/// Settings with short times, so that the suite is quick.
pub(crate) fn settings() -> ListenerSettings {
    ListenerSettings {
        guard: GuardSettings {
            header_timeout: Duration::from_millis(300),
            keepalive_timeout: Duration::from_secs(5),
            body_read_timeout: Duration::from_secs(5),
            minimum_rate: MinimumRate { bytes_per_second: 0, grace: Duration::ZERO },
            ..GuardSettings::default()
        },
        max_connections: 1_000,
        drain_timeout: Duration::from_secs(5),
    }
}

/// A client that speaks bytes.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the gateway takes bytes");
    }

    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut answer = std::mem::take(&mut self.unread);
        let read = timeout(SOON, self.stream.read_to_end(&mut answer)).await;
        read.expect("the connection is closed").expect("and not reset");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Whether the gateway closes without another byte.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.read_to_end().await.is_empty()
    }

    /// Reads one head, up to its empty line.
    pub(crate) async fn read_head(&mut self) -> String {
        let end = loop {
            if let Some(position) = self.unread.windows(4).position(|end| end == b"\r\n\r\n") {
                break position + 4;
            }
            self.read_some().await;
        };
        let head = self.unread.drain(..end).collect();
        String::from_utf8(head).expect("a head is text")
    }

    /// Reads one whole answer with `Content-Length`.
    pub(crate) async fn read_answer(&mut self) -> Answer {
        let head = self.read_head().await;
        let length = Received { head: head.clone(), ..Received::default() }
            .header("content-length")
            .map_or(0, |length| length.parse().expect("a length is a number"));
        while self.unread.len() < length {
            self.read_some().await;
        }
        let body = self.unread.drain(..length).collect();
        Answer { head, body: String::from_utf8(body).expect("bodies here are text") }
    }

    async fn read_some(&mut self) {
        let mut buffer = vec![0; 64 * 1024];
        let read = timeout(SOON, self.stream.read(&mut buffer)).await;
        let count = read.expect("bytes come").expect("the connection lives");
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&self.unread));
        self.unread.extend_from_slice(&buffer[..count]);
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        status(&self.head)
    }
}

/// The status an answer begins with.
#[track_caller]
pub(crate) fn status(answer: &str) -> u16 {
    let digits = answer.get(9..12).and_then(|digits| digits.parse().ok());
    digits.unwrap_or_else(|| panic!("no status in {answer:?}"))
}

struct Recorder {
    seen: Log<String>,
}

impl Recorder {
    fn note(&self, word: impl Into<String>) {
        self.seen.lock().push(word.into());
    }
}

impl GuardObserver for Recorder {
    fn rejected(&self, request: &RejectedRequest<'_>) -> RenderedAnswer {
        self.note(format!("rejected {}", request.rejection.code));
        let body = format!("{}|{:?}|{:?}|{:?}", request.rejection.detail, request.method, request.path, request.origin);
        RenderedAnswer {
            headers: vec![(http::header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))],
            body: Bytes::from(body),
        }
    }

    fn refused_unseen(&self, _peer: SocketAddr, status: u16) {
        self.note(format!("unseen {status}"));
    }

    fn panicked(&self, message: &str) {
        self.note(format!("panicked {message}"));
    }

    fn connection_opened(&self, _peer: SocketAddr) {
        self.note("opened");
    }

    fn connection_closed(&self, _peer: SocketAddr) {
        self.note("closed");
    }

    fn connection_refused(&self, _peer: SocketAddr) {
        self.note("refused");
    }

    fn accept_failed(&self, _error: &std::io::Error) {
        self.note("accept_failed");
    }
}

/// Forwards everything but a few paths that answer, or panic, at once.
struct Forward {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = Option<GuardedRequest>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    fn on_connection_reuse(
        &self,
        _session: &mut Session,
        ctx: &mut Self::CTX,
        context: Box<dyn std::any::Any + Send + Sync>,
    ) {
        *ctx = GuardedRequest::from_context(context);
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> pingora::Result<bool> {
        let guarded = ctx.as_ref().expect("every request brings its facts");
        match session.req_header().uri.path() {
            "/panic" => panic!("on purpose"),
            "/late-panic" => {
                let answer = ResponseHeader::build(200, None)?;
                session.write_response_header(Box::new(answer), false).await?;
                session.write_response_body(Some(Bytes::from_static(b"x")), false).await?;
                panic!("on purpose");
            }
            "/refuse" => {
                let mut answer = ResponseHeader::build(401, None)?;
                answer.insert_header("content-length", "2")?;
                guarded.prepare_response(session, &mut answer);
                session.write_response_header(Box::new(answer), false).await?;
                session.write_response_body(Some(Bytes::from_static(b"no")), true).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut Self::CTX) -> pingora::Result<Box<HttpPeer>> {
        assert!(session.client_addr().is_some(), "the client's address is known");
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let guarded = ctx.as_ref().expect("every request brings its facts");
        guarded.prepare_response(session, answer);
        Ok(())
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Self::CTX) -> FailToProxy {
        // A body that broke off is left to the guard.
        let code = match ctx.as_ref().and_then(GuardedRequest::body_failure) {
            Some(_) => 0,
            None if *error.etype() == pingora::ErrorType::ReadTimedout => 408,
            None => 502,
        };
        if code > 0 {
            let _written = session.respond_error(code).await;
        }
        FailToProxy { error_code: code, can_reuse_downstream: false }
    }
}

async fn start_upstream(received: Log<Received>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let received = Arc::clone(&received);
            tokio::spawn(async move {
                let mut unread = Vec::new();
                let mut stream = stream;
                while serve_upstream(&mut stream, &mut unread, &received).await.is_some() {}
            });
        }
    });
    address
}

/// Serves one request. `None` when the connection is over.
async fn serve_upstream(stream: &mut TcpStream, unread: &mut Vec<u8>, received: &Log<Received>) -> Option<()> {
    let end = loop {
        if let Some(position) = unread.windows(4).position(|end| end == b"\r\n\r\n") {
            break position + 4;
        }
        more(stream, unread).await?;
    };
    let head = String::from_utf8(unread.drain(..end).collect()).expect("the gateway sends text");
    let mut request = Received { head, ..Received::default() };
    let index = {
        let mut received = received.lock();
        received.push(request.clone());
        received.len() - 1
    };
    let path = request.line().split(' ').nth(1).expect("a target").to_owned();
    if path.starts_with("/slow") {
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    if path.starts_with("/stuck") {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    if path.starts_with("/continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
    }
    let whole = read_body(stream, unread, &mut request).await;
    request.complete = whole.is_some();
    received.lock()[index] = request.clone();
    whole?;
    if let Some(length) = path.strip_prefix("/big/") {
        let length: usize = length.parse().expect("a length");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.ok()?;
        let piece = vec![b'x'; 64 * 1024];
        let mut left = length;
        while left > 0 {
            let count = left.min(piece.len());
            stream.write_all(&piece[..count]).await.ok()?;
            left -= count;
        }
    } else if path.starts_with("/stream") {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        stream.write_all(answer).await.ok()?;
    } else {
        let body = format!("{} bytes", request.body_bytes);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
    Some(())
}

async fn read_body(stream: &mut TcpStream, unread: &mut Vec<u8>, request: &mut Received) -> Option<()> {
    if request.header("transfer-encoding").is_none() {
        let length = request.header("content-length").map_or(0, |l| l.parse().expect("a number"));
        return take(stream, unread, request, length).await;
    }
    loop {
        let line = loop {
            if let Some(position) = unread.windows(2).position(|end| end == b"\r\n") {
                break unread.drain(..position + 2).collect::<Vec<_>>();
            }
            more(stream, unread).await?;
        };
        let digits = std::str::from_utf8(&line[..line.len() - 2]).expect("a size is text");
        let size = usize::from_str_radix(digits, 16).expect("a size is hexadecimal");
        take(stream, unread, request, size).await?;
        while unread.len() < 2 {
            more(stream, unread).await?;
        }
        unread.drain(..2);
        if size == 0 {
            return Some(());
        }
    }
}

/// Moves `length` bytes into the request's body; only the first MiB is kept.
async fn take(stream: &mut TcpStream, unread: &mut Vec<u8>, request: &mut Received, mut length: usize) -> Option<()> {
    while length > 0 {
        if unread.is_empty() {
            more(stream, unread).await?;
        }
        let count = length.min(unread.len());
        let taken: Vec<u8> = unread.drain(..count).collect();
        if request.body.len() < 1024 * 1024 {
            request.body.extend_from_slice(&taken);
        }
        request.body_bytes += count;
        length -= count;
    }
    Some(())
}

async fn more(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<()> {
    let mut buffer = vec![0; 64 * 1024];
    let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
    unread.extend_from_slice(&buffer[..count]);
    Some(())
}
