//! What a signed-in owner buys, looks at, changes and ends; and what nobody else can do for it.

mod changes;
mod clicks;
mod purchase;

use serde_json::{Value, json};
use tollgate_e2e::{Customer, Gate, Key, Side, epoch_secs, eventually};
use tollgate_fake_stripe::CheckoutOutcome;

use super::Scene;
use crate::support::at_checkout;

const ADA: &str = "ada@example.com";

impl Scene {
    fn sign_in(&self, side: Side, name: &str) -> Customer {
        side.sign_in(&self.gate, &self.mailbox, &format!("{name}@example.com"))
    }

    /// What customers this address has at Stripe.
    fn customers(&self, email: &str) -> Vec<Value> {
        listed(self, "/v1/customers", &[("email", email)])
    }

    /// The one subscription of the one customer with this address, as Stripe has it now.
    #[track_caller]
    fn subscription(&self, email: &str) -> Value {
        let customers = self.customers(email);
        let [customer] = customers.as_slice() else { panic!("{email} is {} customers", customers.len()) };
        let all = self.stripe.fake().subscriptions_of(customer["id"].as_str().expect("an id"));
        let [only] = all.as_slice() else { panic!("{} subscriptions: {all:#?}", all.len()) };
        only.clone()
    }

    /// Somebody who has signed in and paid for this plan.
    #[track_caller]
    fn owner(&self, side: Side, name: &str, plan: &str) -> Customer {
        let owner = self.sign_in(side, name);
        self.buys(&owner, plan);
        owner
    }

    #[track_caller]
    fn buys(&self, owner: &Customer, plan: &str) {
        let given = owner.write("POST", "/v1/billing/checkout", &json!({ "plan": plan })).expect(200);
        at_checkout(&self.stripe, &given, CheckoutOutcome::Pay);
        self.gate.await_plan(&owner.account, Some(plan));
    }
}

fn listed(scene: &Scene, path: &str, parameters: &[(&str, &str)]) -> Vec<Value> {
    let parameters: Vec<_> = parameters.iter().copied().chain([("limit", "100")]).collect();
    let list = scene.stripe.fake().call("GET", path, &parameters).expect("a list");
    list["data"].as_array().expect("data").clone()
}

/// Its first subscription in the owner's own words.
#[track_caller]
fn shown(owner: &Customer) -> Value {
    owner.get("/v1/billing").expect(200).json()["subscriptions"][0].clone()
}

#[track_caller]
fn seconds(instant: &Value) -> f64 {
    instant.as_str().and_then(epoch_secs).unwrap_or_else(|| panic!("no instant: {instant}"))
}

#[track_caller]
fn calls(gate: &Gate, key: &Key, status: u16) {
    eventually(&format!("a call is answered {status}"), || (gate.get("/events/1", key).status == status).then_some(()));
}
