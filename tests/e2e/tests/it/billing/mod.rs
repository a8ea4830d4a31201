//! What payment decides, over the program's outside: Stripe's stand-in sends it events and is asked by it.

mod access;
mod bought;
mod inbox;
mod metered;
mod webhook;

use std::thread;
use std::time::{Duration, Instant};

use tollgate_e2e::{Backend, Gate, Key, Mailbox, Payer, Setup, Stripe};

/// A gate that sells, what stands in for Stripe, and a mailbox for links to sign in with.
struct Scene {
    gate: Gate,
    stripe: Stripe,
    mailbox: Mailbox,
    _backend: Backend,
}

/// Somebody who pays and calls.
struct Caller {
    payer: Payer,
    key: Key,
    account: String,
}

impl Scene {
    fn new(grace: &str) -> Self {
        Self::with(grace, |setup| setup)
    }

    fn with(grace: &str, more: impl FnOnce(Setup) -> Setup) -> Self {
        let (backend, mailbox, stripe) = (Backend::start(), Mailbox::start(), Stripe::start());
        let setup = stripe.sell(Setup::new(&backend), grace).mailing(&mailbox);
        let gate = more(setup).start();
        Self { gate, stripe, mailbox, _backend: backend }
    }

    /// The same, with events delivered as they happen.
    fn delivering(grace: &str) -> Self {
        let scene = Self::new(grace);
        scene.stripe.deliver_to(&scene.gate);
        scene
    }

    /// An account that pays for this price, and a key of it that works.
    #[track_caller]
    fn caller(&self, name: &str, price: &str, plan: &str) -> Caller {
        let email = format!("{name}@example.com");
        let made = self.gate.cli(&["accounts", "create", "--email", &email, "--json"]).done().json();
        let account = made["id"].as_str().expect("an id").to_owned();
        let payer = self.stripe.payer(&email, price, Some(&account));
        self.gate.await_plan(&account, Some(plan));
        let key = Key::of(&self.gate.cli(&["keys", "create", "--account", &account, "--json"]).done().json());
        Caller { payer, key, account }
    }
}

/// Calls one after the other until told to stop: when each was sent and answered, and with what status.
struct Calls {
    made: Vec<(Instant, Instant, u16)>,
}

impl Calls {
    /// Calls while `work` goes on.
    fn during<T: Send>(gate: &Gate, key: &Key, work: impl FnOnce() -> T + Send) -> (Self, T) {
        thread::scope(|scope| {
            let working = scope.spawn(work);
            let mut made = Vec::new();
            while !working.is_finished() {
                let sent = Instant::now();
                let status = gate.get("/events/1", key).status;
                made.push((sent, Instant::now(), status));
                thread::sleep(Duration::from_millis(2));
            }
            (Self { made }, working.join().expect("it goes well"))
        })
    }

    /// How many were answered with this status.
    fn answered(&self, status: u16) -> usize {
        self.made.iter().filter(|call| call.2 == status).count()
    }
}
