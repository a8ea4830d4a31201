//! Starts the stand-in with real time, prints where it is and what it takes, a `name=value` a line and then an empty one,
//! and ends with its standard input: with whatever started it, however that ends.
//!
//! For what is not written in Rust: `tests/stripe-sdk.sh` and `tests/schemathesis.sh` run it. Everything else is asked of it
//! over HTTP, under `/v1` as at Stripe and under `/_fake`.

use std::io::{Read, Write};

use tollgate_fake_stripe::{FakeConfig, FakeStripe};

fn main() -> std::io::Result<()> {
    let fake = FakeStripe::start(FakeConfig::real_time())?;
    let (url, api_key, webhook_secret) = (fake.url(), fake.api_key(), fake.webhook_secret());
    let mut output = std::io::stdout();
    writeln!(output, "url={url}\napi_key={api_key}\nwebhook_secret={webhook_secret}\n")?;
    output.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
