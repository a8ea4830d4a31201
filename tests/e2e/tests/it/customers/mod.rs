//! What customers do with their accounts themselves, over the control plane's own listener and over the gateway's.

mod keys;
mod rotation;
mod sign_in;
mod strangers;
mod writes;

use serde_json::Value;
use tollgate_e2e::{Backend, Customer, Gate, Key, Mailbox, Setup, Side};

const POLICY: &str = r#"
[accounts]
default_plan = "free"
[plans.free]
quota = "100/month"
max_keys = 3
meters = { tokens = "1_000/month", scans = "unlimited" }
[plans.none]
api = false
[[routes]]
name = "events"
path = "/events/*"
"#;

/// A gate that mails, and one customer with a key.
struct Scene {
    gate: Gate,
    mailbox: Mailbox,
    _backend: Backend,
}

impl Scene {
    fn new() -> Self {
        Self::with(|setup| setup)
    }

    fn with(more: impl FnOnce(Setup) -> Setup) -> Self {
        let (backend, mailbox) = (Backend::start(), Mailbox::start());
        let setup = Setup::new(&backend)
            .set("gateway", "public_url = \"https://api.example.com\"")
            .set("usage", "client_reported = [\"scans\"]")
            .mailing(&mailbox)
            .policy(POLICY);
        Self { gate: more(setup).start(), mailbox, _backend: backend }
    }

    fn sign_in(&self, side: Side, user: &str) -> Customer {
        side.sign_in(&self.gate, &self.mailbox, &format!("{user}@example.com"))
    }

    fn key(&self, user: &str) -> Key {
        self.gate.key(&format!("{user}@example.com"), "free")
    }

    /// Everything that is kept of accounts and keys, and every change that was ever made: what a refused request leaves
    /// as it is.
    fn records(&self) -> Vec<Value> {
        let lists = ["/admin/v1/accounts?limit=200", "/admin/v1/keys?limit=200", "/admin/v1/audit?limit=200"];
        lists.map(|list| self.gate.operator(list).expect(200).json()).to_vec()
    }
}
