//! Long lists of Stripe's, page by page, with patience: a night's comparison does not end at the first hiccup.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::Books;
use crate::api::ApiError;

/// How long one waits for Stripe before it is asked again, by attempt.
const WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15)];

/// A list, and how far it was read.
pub(super) struct Pages {
    path: &'static str,
    query: Vec<(&'static str, String)>,
    after: Option<String>,
    is_over: bool,
}

impl Pages {
    /// A list, from its beginning.
    pub(super) fn of(path: &'static str, query: &[(&'static str, String)]) -> Self {
        Self { path, query: query.to_vec(), after: None, is_over: false }
    }

    /// The next page; `None` after the last.
    pub(super) async fn next<T: DeserializeOwned>(&mut self, books: &Books<'_>) -> Result<Option<Vec<T>>, ApiError> {
        if self.is_over {
            return Ok(None);
        }
        let after = self.after.take();
        let api = &books.billing.api;
        let (page, next) = books.patiently(|| api.page(self.path, &self.query, after.as_deref())).await?;
        self.is_over = next.is_none();
        self.after = next;
        let things = page.into_iter().map(serde_json::from_value).collect::<Result<_, _>>();
        things.map(Some).map_err(|error| ApiError::Unreadable(error.to_string()))
    }
}

impl Books<'_> {
    /// Asks again for a while where Stripe does not answer.
    pub(super) async fn patiently<T, F: Future<Output = Result<T, ApiError>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> Result<T, ApiError> {
        for wait in WAITS {
            self.asks();
            match ask().await {
                Err(ApiError::Unavailable(_)) => tokio::time::sleep(wait.min(self.second_look_after * 3)).await,
                answered => return answered,
            }
        }
        self.asks();
        ask().await
    }
}
