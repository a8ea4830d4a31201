//! One call of a script: sent over a shared connection, waited for no longer than the timeout, counted by the circuit
//! breaker; and the answer that comes too late, which may tell of a debit that nobody used.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::breaker::Breaker;
use super::connection::{Shared, Source, Wire};
use super::{RedisSettings, scripts};
use crate::limiter::LimiterDown;

/// Between two probes while the breaker is open.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// A probe may take at least this long: it holds nobody up.
const PROBE_MAX: Duration = Duration::from_millis(100);

/// The way to Redis that all calls of a limiter share.
pub(super) struct Link {
    shared: Vec<Shared>,
    next: AtomicUsize,
    probe_key: String,
    timeout: Duration,
    runtime: Handle,
    breaker: Breaker,
    commands: AtomicU64,
    failures: AtomicU64,
}

/// A script's call, ready to be sent.
pub(super) struct Call {
    pub(super) script: &'static scripts::Source,
    pub(super) arguments: Arguments,
}

/// The state's key, and what follows it.
pub(super) struct Arguments {
    pub(super) key: Arc<str>,
    pub(super) rest: Vec<Vec<u8>>,
}

/// What is done about an answer that nobody waits for any more.
pub(super) type Late = Box<dyn FnOnce(&[u8]) -> Option<Call> + Send>;

type Answer = Pin<Box<dyn Future<Output = (RedisResult<Value>, Wire)> + Send>>;

impl Call {
    fn command(&self, by_hash: bool) -> Cmd {
        let mut command = Cmd::with_capacity(4 + self.arguments.rest.len(), 512);
        if by_hash {
            command.arg("EVALSHA").arg(&self.script.hash);
        } else {
            command.arg("EVAL").arg(self.script.text);
        }
        command.arg(1).arg(&*self.arguments.key);
        for argument in &self.arguments.rest {
            command.arg(&argument[..]);
        }
        command
    }
}

impl Link {
    /// Begins to connect. It must be called within a runtime, on which connections live from then on.
    pub(super) fn new(source: &Source, settings: &RedisSettings) -> Arc<Self> {
        let runtime = Handle::current();
        let shared = (0..settings.connections.max(1)).map(|_| Shared::keep(source.clone(), &runtime)).collect();
        let link = Arc::new(Self {
            shared,
            next: AtomicUsize::new(0),
            probe_key: format!("{}:probe", settings.prefix),
            timeout: settings.timeout,
            runtime: runtime.clone(),
            breaker: Breaker::default(),
            commands: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        });
        runtime.spawn(probe(Arc::downgrade(&link)));
        link
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Commands sent, and those of them that failed or were not answered in time.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.commands.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }

    /// Calls a script, and returns what it answered. `late` hears of an answer that comes after this has given up, or
    /// after the caller has stopped waiting.
    pub(super) async fn call(self: &Arc<Self>, call: Call, late: Option<Late>) -> Result<Vec<u8>, LimiterDown> {
        if self.breaker.is_open() {
            return Err(LimiterDown);
        }
        let slot = &self.shared[self.next.fetch_add(1, Ordering::Relaxed) % self.shared.len()];
        let answered = timeout(self.timeout, async {
            let wire = slot.wire().await?;
            let mut waiting = Waiting { answer: Some(self.send(wire, call)), late, link: self };
            let answer = waiting.answer.as_mut()?.await;
            waiting.answer = None;
            Some(answer.0)
        })
        .await;
        match answered {
            Ok(Some(Ok(Value::BulkString(bytes)))) => {
                self.breaker.answered();
                Ok(bytes)
            }
            Ok(Some(Ok(Value::Int(number)))) => {
                self.breaker.answered();
                Ok(number.to_le_bytes().to_vec())
            }
            Ok(Some(Ok(other))) => Err(self.failed(slot, &format!("an answer that no script gives: {other:?}"), false)),
            Ok(Some(Err(error))) => {
                let is_broken = error.is_io_error() || error.is_unrecoverable_error();
                Err(self.failed(slot, &told(&error), is_broken))
            }
            Ok(None) => Err(self.failed(slot, "the connection is being closed", false)),
            Err(_) => Err(self.failed(slot, "no answer in time", false)),
        }
    }

    fn failed(&self, slot: &Shared, why: &str, is_broken: bool) -> LimiterDown {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if is_broken {
            slot.replace();
        }
        self.breaker.failed(why);
        LimiterDown
    }

    /// Sends a call: by the script's hash, and with its text where Redis has never seen it.
    fn send(self: &Arc<Self>, mut wire: Wire, call: Call) -> Answer {
        let link = Arc::clone(self);
        Box::pin(async move {
            link.commands.fetch_add(1, Ordering::Relaxed);
            let mut answer = wire.ask(&call.command(true)).await;
            if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
                link.commands.fetch_add(1, Ordering::Relaxed);
                answer = wire.ask(&call.command(false)).await;
            }
            (answer, wire)
        })
    }
}

/// What is told of an error: never a value that was sent.
fn told(error: &RedisError) -> String {
    match (error.kind(), error.code()) {
        (ErrorKind::Server(ServerErrorKind::ResponseError), _) => error.to_string(),
        (_, Some(code)) => code.to_owned(),
        _ => error.to_string(),
    }
}

/// An answer being waited for. Dropped before it has come, it is listened for in the background.
struct Waiting<'a> {
    answer: Option<Answer>,
    late: Option<Late>,
    link: &'a Arc<Link>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let (Some(answer), Some(late)) = (self.answer.take(), self.late.take()) else { return };
        let link = Arc::clone(self.link);
        self.link.runtime.spawn(async move {
            if let (Ok(Value::BulkString(bytes)), wire) = answer.await
                && let Some(call) = late(&bytes)
                && let (Err(error), _) = link.send(wire, call).await
            {
                tracing::warn!(reason = told(&error), "a debit that nobody used could not be given back");
            }
        });
    }
}

/// While the breaker is open: asks whether Redis is there, and puts a connection that does not answer out of use.
/// A connection that takes commands but writes nothing is as good as none, so the probe is a write that stays.
async fn probe(link: std::sync::Weak<Link>) {
    loop {
        let Some(strong) = link.upgrade() else { return };
        let opened = tokio::select! {
            () = strong.breaker.opened() => true,
            () = tokio::time::sleep(Duration::from_secs(1)) => false,
        };
        if opened {
            tokio::time::sleep(PROBE_EVERY).await;
            let mut is_back = true;
            for slot in &strong.shared {
                is_back &= strong.is_answered(slot).await;
            }
            if is_back {
                strong.breaker.close();
            }
        }
    }
}

impl Link {
    async fn is_answered(&self, slot: &Shared) -> bool {
        self.commands.fetch_add(1, Ordering::Relaxed);
        let probed = timeout(self.timeout.max(PROBE_MAX), async {
            let mut wire = slot.wire().await?;
            // Written, so that a full or read-only Redis is not taken for one that is back.
            let mut command = redis::cmd("SET");
            command.arg(&self.probe_key).arg(1).arg("PX").arg(10_000);
            Some(wire.ask(&command).await)
        })
        .await;
        match probed {
            Ok(Some(Ok(_))) => true,
            // No connection yet: one is being made.
            Ok(None) => false,
            Ok(Some(Err(error))) => {
                if error.is_io_error() || error.is_unrecoverable_error() {
                    slot.replace();
                }
                self.failures.fetch_add(1, Ordering::Relaxed);
                false
            }
            Err(_) => {
                slot.replace();
                self.failures.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }
}
