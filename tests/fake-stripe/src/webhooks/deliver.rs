//! Sending events to endpoints: signed, again and again until one answers 2xx or the attempts run out.
//!
//! Time between attempts is real time, whatever the fake's clock says: a receiver that is down is down for real.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sign::signature_header;
use crate::fake::Shared;
use crate::objects::event::Outcome;
use crate::state::State;

/// How long an endpoint may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long the sender sleeps when nothing wakes it.
const IDLE: Duration = Duration::from_millis(20);

/// One event to be sent to one endpoint.
#[derive(Debug)]
pub(crate) struct Job {
    event: usize,
    /// Which of the event's deliveries.
    delivery: usize,
    attempt: usize,
    due: Instant,
}

impl Job {
    pub(crate) fn first(event: usize, delivery: usize) -> Self {
        Self { event, delivery, attempt: 0, due: Instant::now() }
    }
}

/// What waits to be sent, and how much is on its way.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    waiting: std::collections::VecDeque<Job>,
    /// Those that failed and wait for their next attempt.
    later: Vec<Job>,
    sending: usize,
}

impl Jobs {
    pub(crate) fn push(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    /// Sendings that are not finished.
    pub(crate) fn unfinished(&self) -> usize {
        self.waiting.len() + self.later.len() + self.sending
    }
}

/// A request that is ready to go.
struct Sending {
    job: Job,
    url: String,
    body: Arc<str>,
    signature: String,
}

impl State {
    /// Takes as many jobs as may be on their way at once.
    fn take_jobs(&mut self) -> Vec<Sending> {
        let now = Instant::now();
        let (ready, later): (Vec<Job>, Vec<Job>) =
            std::mem::take(&mut self.jobs.later).into_iter().partition(|job| job.due <= now);
        self.jobs.later = later;
        self.jobs.waiting.extend(ready);
        let mut sendings = Vec::new();
        while self.jobs.sending < self.config.delivery.concurrency.max(1) && !self.jobs.waiting.is_empty() {
            if self.config.delivery.shuffle {
                let picked = self.random.below(self.jobs.waiting.len());
                self.jobs.waiting.swap(0, picked);
            }
            let Some(job) = self.jobs.waiting.pop_front() else { break };
            if let Some(sending) = self.prepare(job) {
                self.jobs.sending += 1;
                sendings.push(sending);
            }
        }
        sendings
    }

    fn prepare(&self, job: Job) -> Option<Sending> {
        let event = self.events.at(job.event);
        let endpoint = self.endpoints.get(&event.deliveries.get(job.delivery)?.endpoint)?;
        let t = self.signature_now();
        let signature = signature_header(event.body.as_bytes(), &endpoint.secrets(t), t, self.config.sign_v0);
        Some(Sending { url: endpoint.url.clone(), body: Arc::clone(&event.body), signature, job })
    }

    fn finish(&mut self, mut job: Job, status: Option<u16>) {
        self.jobs.sending -= 1;
        let delivered = status.is_some_and(|status| (200..300).contains(&status));
        let retry = self.config.delivery.retry_after.get(job.attempt).copied();
        let Some(event) = self.events.get_mut_at(job.event) else { return };
        let Some(delivery) = event.deliveries.get_mut(job.delivery) else { return };
        delivery.attempts += 1;
        delivery.status = status;
        if delivered {
            delivery.outcome = Outcome::Delivered;
        } else if let Some(retry) = retry {
            job.attempt += 1;
            job.due = Instant::now() + retry;
            self.jobs.later.push(job);
        } else if delivery.outcome == Outcome::Pending {
            delivery.outcome = Outcome::Failed;
        }
    }

    /// Sends an event once more to every endpoint that wants it.
    pub(crate) fn redeliver(&mut self, id: &str) -> bool {
        let Some(position) = self.events.position(id) else { return false };
        let kind = self.events.at(position).kind.clone();
        let wanting: Vec<String> = self
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.wants(&kind))
            .map(|endpoint| endpoint.id.clone())
            .collect();
        let Some(event) = self.events.get_mut_at(position) else { return false };
        event.marked_delivered = None;
        let mut again = Vec::new();
        for endpoint in wanting {
            let index =
                event.deliveries.iter().position(|delivery| delivery.endpoint == endpoint).unwrap_or_else(|| {
                    event.deliveries.push(crate::objects::event::DeliveryRecord {
                        endpoint,
                        outcome: Outcome::Pending,
                        attempts: 0,
                        status: None,
                    });
                    event.deliveries.len() - 1
                });
            if event.deliveries[index].outcome != Outcome::Delivered {
                event.deliveries[index].outcome = Outcome::Pending;
            }
            again.push(index);
        }
        for index in again {
            self.jobs.push(Job::first(position, index));
        }
        true
    }
}

/// A client for loopback and plain HTTP; TLS is there for whoever names an `https` endpoint with a known certificate.
fn client() -> reqwest::Result<reqwest::Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider's own versions are supported by it")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(ANSWER_WITHIN).build()
}

/// Sends what waits, until the task is dropped with its runtime.
pub(crate) async fn run(shared: Arc<Shared>) {
    let Ok(client) = client() else { return };
    loop {
        let sendings = shared.lock().take_jobs();
        if sendings.is_empty() {
            // A push wakes it at once; a retry that falls due, or a slot that is free again, at the latest after this.
            drop(tokio::time::timeout(IDLE, shared.wake.notified()).await);
            continue;
        }
        for sending in sendings {
            let (shared, client) = (Arc::clone(&shared), client.clone());
            tokio::spawn(async move {
                let answer = client
                    .post(&sending.url)
                    .header("content-type", "application/json; charset=utf-8")
                    .header("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
                    .header("stripe-signature", &sending.signature)
                    .body(sending.body.to_string())
                    .send()
                    .await;
                let status = answer.ok().map(|answer| answer.status().as_u16());
                shared.lock().finish(sending.job, status);
                shared.wake.notify_one();
            });
        }
    }
}
