//! `/v1/billing/*`, `/stripe/webhook` and what operators see of both, against a stand-in for Stripe.

mod actions;
mod operator;
mod show;
mod webhook;

use axum::body::Body;
use http::Request;
use serde_json::Value;
use tollgate_fake_stripe::{Seed, Seeded, SignedEvent};

use crate::harness::{Answer, Plane, Shop, SignIn};

impl Plane {
    pub(crate) fn shop(&self) -> &Shop {
        self.shop.as_ref().expect("it sells")
    }

    /// Sends a webhook as Stripe does.
    pub(crate) async fn webhook(&self, event: &SignedEvent) -> Answer {
        self.webhook_with(event.body.as_bytes(), &[("stripe-signature", &event.signature)]).await
    }

    /// Sends any webhook.
    pub(crate) async fn webhook_with(&self, body: &[u8], headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method("POST").uri("/stripe/webhook");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_vec())).expect("a good request")).await
    }

    /// Delivers everything that happened at Stripe, and has it heeded; how many events.
    pub(crate) async fn deliver(&self) -> usize {
        let events = self.shop().stripe.take_events();
        for event in &events {
            self.webhook(event).await.expect(200);
        }
        self.shop().billing.work_once().await.expect("the store answers");
        events.len()
    }

    /// Lets an account pay for a price, known by webhook.
    pub(crate) async fn subscribe(&self, account: &str, email: &str, price: &str) -> Seeded {
        let metadata = [("tollgate_account", account)];
        let seed = Seed { email, prices: &[price], metadata: &metadata, ..Seed::default() };
        let seeded = self.shop().stripe.seed(seed).expect("good prices");
        self.deliver().await;
        seeded
    }

    /// Calls something of one's own under `/v1/billing`.
    pub(crate) async fn bill(&self, who: &SignIn, path: &str, body: &Value) -> Answer {
        self.call("POST", &format!("/v1/billing{path}"), Some(body), &who.headers()).await
    }

    /// What somebody pays for.
    pub(crate) async fn billing_of(&self, who: &SignIn) -> Value {
        self.customer("/v1/billing", &who.headers()).await.expect(200)
    }
}
