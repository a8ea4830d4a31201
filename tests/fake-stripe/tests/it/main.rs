//! What the fake promises, seen from outside: through its handle, its API over HTTP and the webhooks it sends.

mod checkout;
mod control;
mod faults;
mod http;
mod idempotency;
mod lifecycle;
mod many;
mod meters;
mod money;
mod pagination;
mod random_lives;
mod shapes;
mod support;
mod webhooks;
