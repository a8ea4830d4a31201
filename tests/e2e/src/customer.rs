//! Customers: where they reach the control plane, and how they sign in.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::gate::Gate;
use crate::http::{Connection, Request};
use crate::mailbox::Mailbox;

/// Where the control plane is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// On its own listener.
    Direct,
    /// On the gateway's, under the mount.
    Mounted,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Direct, Self::Mounted];

    /// The path that everything is under.
    pub fn path(self) -> &'static str {
        match self {
            Self::Direct => "",
            Self::Mounted => "/tollgate",
        }
    }

    fn address(self, gate: &Gate) -> SocketAddr {
        match self {
            Self::Direct => gate.admin_address(),
            Self::Mounted => gate.address(),
        }
    }

    /// Sends a request as it is, but for the mount.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn ask(self, gate: &Gate, request: Request) -> Answer {
        send(self.address(gate), &request.under(self.path()))
    }

    /// Asks for a link for this address and opens it.
    ///
    /// # Panics
    /// When no link comes, or it does not sign in.
    #[track_caller]
    pub fn sign_in(self, gate: &Gate, mailbox: &Mailbox, email: &str) -> Customer {
        let before = mailbox.to(email).len();
        let asked = self.ask(gate, Request::json("POST", "/v1/session/link", &json!({ "email": email })));
        assert_eq!(asked.expect(202).json(), json!({ "sent": true }));
        let mail = mailbox.await_mail(email, before);
        self.open(gate, mail.token())
    }

    /// Signs in with a link's token.
    ///
    /// # Panics
    /// When it does not sign in.
    #[track_caller]
    pub fn open(self, gate: &Gate, token: &str) -> Customer {
        let opened = self.ask(gate, Request::json("POST", "/v1/session", &json!({ "token": token }))).expect(200);
        Customer::of(self, self.address(gate), &opened)
    }
}

/// Somebody who has signed in, with what a browser keeps of that.
#[derive(Clone, Debug)]
pub struct Customer {
    side: Side,
    address: SocketAddr,
    /// What a browser sends back: the cookie's name and value.
    pub cookie: String,
    /// What the browser was told to do with it.
    pub attributes: String,
    /// What every write must carry.
    pub csrf: String,
    /// The account's id.
    pub account: String,
}

impl Customer {
    #[track_caller]
    fn of(side: Side, address: SocketAddr, opened: &Answer) -> Self {
        let set = opened.header("set-cookie").unwrap_or_else(|| panic!("no cookie in {opened:?}"));
        let (cookie, attributes) = set.split_once("; ").unwrap_or_else(|| panic!("a bare cookie: {set}"));
        let body = opened.json();
        let text = |field: &str| body[field].as_str().unwrap_or_else(|| panic!("no {field} in {body:#}")).to_owned();
        Self {
            side,
            address,
            cookie: cookie.to_owned(),
            attributes: attributes.to_owned(),
            csrf: text("csrf_token"),
            account: text("account"),
        }
    }

    /// How many seconds the browser was told to keep the cookie.
    ///
    /// # Panics
    /// When it was not told.
    #[track_caller]
    pub fn lasts_secs(&self) -> u64 {
        let age = self.attributes.split("; ").find_map(|one| one.strip_prefix("Max-Age="));
        age.and_then(|age| age.parse().ok()).unwrap_or_else(|| panic!("no Max-Age in {}", self.attributes))
    }

    /// Sends a request with the cookie, and nothing that proves that it was meant.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn send(&self, request: Request) -> Answer {
        send(self.address, &request.under(self.side.path()).header("cookie", &self.cookie))
    }

    /// Asks for something.
    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        self.send(Request::get(target))
    }

    /// Changes something, with proof that it was meant.
    #[track_caller]
    pub fn write(&self, method: &str, target: &str, body: &Value) -> Answer {
        self.send(Request::json(method, target, body).header("x-csrf-token", &self.csrf))
    }

    /// Ends something, with the same proof.
    #[track_caller]
    pub fn delete(&self, target: &str) -> Answer {
        self.send(Request::new("DELETE", target).header("x-csrf-token", &self.csrf))
    }

    /// The ids of its keys that work.
    #[track_caller]
    pub fn working_keys(&self) -> Vec<String> {
        let listed = self.get("/v1/keys").expect(200).json();
        let items = listed["items"].as_array().unwrap_or_else(|| panic!("{listed:#}"));
        let working = items.iter().filter(|key| key["state"] == "active" || key["state"] == "in_grace");
        working.filter_map(|key| key["id"].as_str().map(str::to_owned)).collect()
    }
}

#[track_caller]
fn send(address: SocketAddr, request: &Request) -> Answer {
    let answer = Connection::open(address).send(request);
    answer.unwrap_or_else(|error| panic!("no answer to {request:?}: {error}"))
}
