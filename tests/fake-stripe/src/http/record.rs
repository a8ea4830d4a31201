//! What was asked of the API, for tests that ask what was asked.

use serde::Serialize;

use crate::state::State;

/// How many requests are remembered.
const REMEMBERED: usize = 20_000;

/// One request of the API and what it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestRecord {
    /// The method.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query, empty where there was none.
    pub query: String,
    /// The body as it was sent.
    pub body: String,
    /// The answer's status, also where it was lost on its way; 0 where nothing was done and the connection was cut.
    pub status: u16,
    /// `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// `Stripe-Version`.
    pub version: Option<String>,
    /// Whether the answer was an earlier one, played again.
    pub replayed: bool,
}

impl State {
    pub(crate) fn record(&mut self, record: RequestRecord) {
        if self.requests.len() == REMEMBERED {
            self.requests.pop_front();
        }
        self.requests.push_back(record);
    }
}
