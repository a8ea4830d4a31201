//! The page at Stripe where an order is paid: at most one open at a time for an account.
//!
//! Two open pages could both be paid, and then there are two subscriptions. So the page of the same order is given again,
//! and the page of another order is closed before a new one is made. Its address is asked of Stripe each time and kept
//! nowhere.

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tollgate_domain::{Account, MINUTE_US, Timestamp};
use url::Url;

use super::{ActionError, Form, field, once};
use crate::Billing;
use crate::api::ApiError;
use crate::api::objects::{List, Metadata, lenient};

/// The key of metadata that tells orders apart.
const ORDER_KEY: &str = "tollgate_order";

/// How many of a customer's latest pages are looked at. There is one open, unless somebody makes others by hand.
const LOOKED_AT: &str = "20";

/// A page where something is bought.
#[derive(Clone, Debug, Default, Deserialize)]
struct Page {
    #[serde(default, deserialize_with = "lenient")]
    id: String,
    #[serde(default, deserialize_with = "lenient")]
    url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    mode: String,
    #[serde(default, deserialize_with = "lenient")]
    status: String,
    #[serde(default, deserialize_with = "lenient")]
    client_reference_id: String,
    #[serde(default, deserialize_with = "lenient")]
    metadata: Metadata,
    #[serde(default, deserialize_with = "lenient")]
    livemode: Option<bool>,
}

/// A customer's latest pages.
pub(super) struct Pages {
    latest: Vec<Page>,
}

/// What became of the pages of other orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// There was none, or they can be paid no more.
    All,
    /// One was paid, or closed by another, in this very moment.
    TooLate,
}

impl Billing {
    pub(super) async fn pages(&self, customer: &str) -> Result<Pages, ActionError> {
        let query = [("customer", customer.to_owned()), ("limit", LOOKED_AT.to_owned())];
        let latest: List<Page> = self.api.get("/checkout/sessions", &query).await?;
        Ok(Pages { latest: latest.data })
    }

    /// Closes the account's open pages that are for another order than this.
    pub(super) async fn close_others(
        &self,
        pages: &Pages,
        account: &Account,
        form: &Form,
    ) -> Result<Closed, ActionError> {
        let order = fingerprint(form);
        let mut closed = Closed::All;
        for page in pages.open_of(account).filter(|page| !page.is_for(&order)) {
            let path = format!("/checkout/sessions/{}/expire", page.id);
            match self.api.post::<Value>(&path, &[], Some(&once("expire"))).await {
                Ok(_) => {}
                Err(ApiError::Refused { .. }) => closed = Closed::TooLate,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(closed)
    }

    /// The address of the page for this order: the one that is open, or a new one.
    pub(super) async fn page_for(&self, pages: &Pages, account: &Account, mut form: Form) -> Result<Url, ActionError> {
        let order = fingerprint(&form);
        let open = pages.open_of(account).find(|page| page.is_for(&order)).cloned();
        let page = if let Some(page) = open {
            page
        } else {
            let key = idempotency_key(&order, account, pages.latest.first(), self.now());
            form.push(field("metadata[tollgate_order]", order));
            self.post("/checkout/sessions", &form, &key).await?
        };
        if page.livemode == Some(!self.deps.stripe.livemode) {
            return Err(ActionError::misconfigured("Checkout is of the other mode than `livemode` says"));
        }
        let url = page.url.as_deref().and_then(|url| Url::parse(url).ok());
        url.ok_or_else(|| ActionError::misconfigured("Checkout has no address"))
    }
}

impl Pages {
    /// The pages that this account may still pay on, as Tollgate made them.
    fn open_of(&self, account: &Account) -> impl Iterator<Item = &Page> {
        let account = account.id.to_string();
        let is_open = move |page: &&Page| {
            page.status == "open" && page.mode == "subscription" && page.client_reference_id == account
        };
        self.latest.iter().filter(is_open)
    }
}

impl Page {
    fn is_for(&self, order: &str) -> bool {
        self.url.is_some() && self.metadata.get(ORDER_KEY).is_some_and(|known| known == order)
    }
}

/// What tells one order from another: all that is asked for.
fn fingerprint(form: &Form) -> String {
    let mut hash = Sha256::new();
    for (key, value) in form {
        hash.update(format!("{}:{key}={value}\n", value.len()));
    }
    hex::encode(&hash.finalize()[..16])
}

/// The same for two clicks at once, which know of the same latest page; another once that page is made, so that one that
/// was paid, left or closed is not given again. The minute is in it because Stripe remembers failures for a day.
fn idempotency_key(order: &str, account: &Account, latest: Option<&Page>, now: Timestamp) -> String {
    let latest = latest.map_or("none", |page| page.id.as_str());
    let minute = now.as_micros().div_euclid(MINUTE_US);
    let digest = Sha256::digest(format!("{}/{order}/{latest}/{minute}", account.id));
    format!("tollgate-checkout-{}", hex::encode(digest))
}
