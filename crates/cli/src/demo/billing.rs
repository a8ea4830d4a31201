//! `demo --billing`: plans that are sold by a stand-in for Stripe, which runs beside the gate as another address.
//!
//! The gate is told nothing of it but `api_base`, a key and the secret of webhooks: what it does with the real one it does
//! with this one. People and their subscriptions are made at the stand-in, and reach the gate by its webhooks.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tollgate_admin_api::{MailError, Mailer};
use tollgate_config::Policy;
use tollgate_fake_stripe::{Action, Delivery, FakeConfig, FakeStripe, Mode, Seed};

use super::{Line, READY_PAUSE, READY_TRIES_MAX, Way, base_config};
use crate::client::AdminClient;
use crate::commands::keys::raw_key;
use crate::run::Running;
use crate::simulate::sold::make_prices;

/// What webhooks are signed with.
const WEBHOOK_SECRET: &str = "whsec_of_this_demo_alone";
/// How long a mail or the news of a subscription may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The mails of the demo: nobody else reads them.
#[derive(Default)]
pub(super) struct Letters {
    texts: Mutex<Vec<String>>,
    arrived: Notify,
}

impl Letters {
    /// The link of the next mail, waited for.
    async fn link(&self) -> anyhow::Result<String> {
        let next = async {
            loop {
                let arrived = self.arrived.notified();
                if let Some(text) = self.texts.lock().pop() {
                    return text;
                }
                arrived.await;
            }
        };
        let text = tokio::time::timeout(PATIENCE, next).await.context("no link was mailed")?;
        let link = text.lines().find(|line| line.starts_with("http")).context("a mail holds no link")?;
        Ok(link.to_owned())
    }
}

#[async_trait]
impl Mailer for Letters {
    async fn send(&self, _to: &str, _subject: &str, text: &str) -> Result<(), MailError> {
        self.texts.lock().push(text.to_owned());
        self.arrived.notify_one();
        Ok(())
    }
}

/// What runs beside the gate.
pub(super) struct Shop {
    stripe: FakeStripe,
    /// Opens a session, once.
    sign_in_link: String,
}

/// Starts the stand-in.
pub(super) fn stripe() -> anyhow::Result<FakeStripe> {
    let config = FakeConfig { webhook_secret: WEBHOOK_SECRET.to_owned(), ..FakeConfig::real_time() };
    FakeStripe::start(config).context("no free port for the stand-in for Stripe")
}

/// The configuration of a gate that sells by it.
pub(super) fn config_text(backend: SocketAddr, addresses: [SocketAddr; 3], stripe: &FakeStripe) -> String {
    let port = addresses[0].port();
    let base = base_config(backend, addresses, &format!("public_url = \"http://localhost:{port}\"\n"));
    format!(
        r#"{base}
[billing.stripe]
secret_key = "{key}"
webhook_secrets = ["{WEBHOOK_SECRET}"]
livemode = false
grace = "7d"
trial_days = 14
# The stand-in. Without this line it is https://api.stripe.com/.
api_base = "{url}"

[plans.public]
rate = "30/minute"
[plans.free]
api = false
[plans.pro]
rank = 1
display_name = "Pro"
price = "29 USD/month"
rate = "60/minute"
burst = 10
quota = "1_000/month"
stripe_prices = ["price_pro"]
[plans.team]
rank = 2
display_name = "Team"
price = "99 USD/month"
rate = "300/minute"
burst = 50
quota = "10_000/month"
stripe_prices = ["price_team"]
"#,
        key = stripe.api_key(),
        url = stripe.url(),
    )
}

/// Sells: has the stand-in tell the gate, makes people who pay and one who does not any more, signs two of them in.
pub(super) async fn open(
    running: &Running,
    stripe: FakeStripe,
    letters: &Letters,
    policy: &Policy,
    client: &AdminClient,
) -> anyhow::Result<(Shop, Vec<Line>)> {
    let gateway = running.gateway.first().context("the gateway listens nowhere")?;
    let base = format!("http://{gateway}/tollgate");
    make_prices(&policy.plans, &stripe);
    stripe.add_endpoint(&format!("{base}/stripe/webhook"), &["*"]);
    stripe.set_delivery(Delivery { mode: Mode::On, ..Delivery::default() });
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    ready(&http, &base).await?;

    let grace = subscribed(client, &stripe, "grace@example.com").await?;
    let lapsed = subscribed(client, &stripe, "lapsed@example.com").await?;
    stripe.act(&lapsed.subscription, &Action::CancelNow).map_err(|error| anyhow!("{}", error.body()))?;
    on_plan(client, &lapsed.account, Some("free")).await?;

    let ada = sign_in(&http, &base, letters, "ada@example.com").await?;
    let grace_session = sign_in(&http, &base, letters, "grace@example.com").await?;
    let sign_in_link = ask_for_link(&http, &base, letters, "ada@example.com").await?;
    let search = format!("http://{gateway}/events/search?q=earnings&limit=3");
    let billing = |path: &str| format!("{base}/v1/billing{path}");
    let with_key = |key: &str| vec![format!("x-api-key: {key}")];
    let get = |shows, headers: Vec<String>, url: String, status| Line { shows, way: Way::Get, headers, url, status };
    let post = |shows, headers: &[String], url: String, body: &'static str, status| Line {
        shows,
        way: Way::Post(body),
        headers: headers.to_vec(),
        url,
        status,
    };
    let lines = vec![
        get("Grace pays for Pro: her key works.", with_key(&grace.key), search.clone(), 200),
        get(
            "Somebody whose subscription has ended still has a key, and is told to upgrade.",
            with_key(&lapsed.key),
            search,
            402,
        ),
        get("Ada has signed in. This is what she pays for, and what is sold:", ada.clone(), billing(""), 200),
        post(
            "She buys Pro: the answer holds the address of Checkout. Open it, and press `pay`.",
            &ada,
            billing("/checkout"),
            "{\"plan\":\"pro\"}",
            200,
        ),
        post("Before she paid there is nothing to end.", &ada, billing("/cancel"), "{}", 409),
        post(
            "Nobody buys what is not sold; the answer names what is.",
            &ada,
            billing("/checkout"),
            "{\"plan\":\"free\"}",
            400,
        ),
        post(
            "What would Team cost Grace from now on?",
            &grace_session,
            billing("/preview"),
            "{\"plan\":\"team\"}",
            200,
        ),
        post("The address of Grace's invoices and cards.", &grace_session, billing("/portal"), "{}", 200),
        post("A webhook that Stripe has not signed is refused.", &[], format!("{base}/stripe/webhook"), "{}", 400),
    ];
    Ok((Shop { stripe, sign_in_link }, lines))
}

/// Somebody with a subscription to Pro and a key.
struct Subscribed {
    account: String,
    subscription: String,
    key: String,
}

async fn subscribed(client: &AdminClient, stripe: &FakeStripe, email: &str) -> anyhow::Result<Subscribed> {
    let account = client.post(&["accounts"], &json!({ "email": email })).await?;
    let account = account["id"].as_str().context("an account has no id")?.to_owned();
    let metadata = [("tollgate_account", account.as_str())];
    let seed = Seed { email, prices: &["price_pro"], metadata: &metadata, ..Seed::default() };
    let seeded = stripe.seed(seed).map_err(|error| anyhow!("{}", error.body()))?;
    on_plan(client, &account, Some("pro")).await?;
    let key = client.post(&["keys"], &json!({ "account": account, "name": "demo" })).await?;
    Ok(Subscribed { key: raw_key(&key)?.to_owned(), account, subscription: seeded.subscription })
}

/// Waits until an account is on a plan, by what the webhooks told.
async fn on_plan(client: &AdminClient, account: &str, plan: Option<&str>) -> anyhow::Result<()> {
    let wait = async {
        loop {
            let shown = client.get(&["accounts", account]).await?;
            if shown.pointer("/plan/effective").and_then(Value::as_str) == plan {
                return Ok(());
            }
            tokio::time::sleep(READY_PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.context("the webhooks brought nothing")?
}

/// Signs somebody in; the headers of a session.
async fn sign_in(http: &reqwest::Client, base: &str, letters: &Letters, email: &str) -> anyhow::Result<Vec<String>> {
    let link = ask_for_link(http, base, letters, email).await?;
    let token = link.split_once("token=").context("a link holds no token")?.1;
    let answer = http.post(format!("{base}/v1/session")).json(&json!({ "token": token })).send().await?;
    let answer = answer.error_for_status()?;
    let cookie = answer.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok()).unwrap_or_default();
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let session: Value = answer.json().await?;
    let csrf = session["csrf_token"].as_str().context("a session has no CSRF token")?;
    Ok(vec![format!("cookie: {cookie}"), format!("x-csrf-token: {csrf}")])
}

async fn ask_for_link(http: &reqwest::Client, base: &str, letters: &Letters, email: &str) -> anyhow::Result<String> {
    let asked = http.post(format!("{base}/v1/session/link")).json(&json!({ "email": email })).send().await?;
    asked.error_for_status()?;
    letters.link().await
}

/// Waits until the gate serves.
async fn ready(http: &reqwest::Client, base: &str) -> anyhow::Result<()> {
    for _ in 0..READY_TRIES_MAX {
        match http.get(format!("{base}/v1/plans")).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(_) => tokio::time::sleep(READY_PAUSE).await,
            Err(error) if error.is_connect() => tokio::time::sleep(READY_PAUSE).await,
            Err(error) => return Err(error).context("the gate did not answer"),
        }
    }
    bail!("the gate does not accept connections")
}

/// What stands beside the lines.
pub(super) fn words(shop: &Shop, config: &Path) -> String {
    let Shop { stripe, sign_in_link } = shop;
    format!(
        "\x20 instead of Stripe {url}_fake/   cards, invoices, events, and a clock to turn\n\
         \x20 a sign-in link    {sign_in_link}   as Ada, once\n\n\
         `tollgate --config {config} webhooks list` shows what the stand-in told, `reconcile` whether the books agree.\n",
        url = stripe.url(),
        config = config.display()
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use tollgate_fake_stripe::sign;

    use super::super::Demo;
    use super::*;

    /// Sends a webhook through the gate in this framing; the answer.
    fn sent(gateway: SocketAddr, headers: &str, framed: &[u8]) -> String {
        let mut stream = TcpStream::connect(gateway).expect("it listens");
        let head =
            format!("POST /tollgate/stripe/webhook HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).expect("it reads");
        // One that is refused early may close before all is sent.
        drop(stream.write_all(framed));
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer));
        answer
    }

    fn chunked(body: &[u8]) -> Vec<u8> {
        let mut framed = Vec::new();
        for chunk in body.chunks(7) {
            framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            framed.extend_from_slice(chunk);
            framed.extend_from_slice(b"\r\n");
        }
        framed.extend_from_slice(b"0\r\n\r\n");
        framed
    }

    #[test]
    fn a_webhook_passes_the_gate_byte_for_byte_however_it_is_framed() {
        crate::client::tests::install_crypto_provider();
        let demo = Demo::start(true).expect("the demo starts");
        let gateway = *demo.running.gateway.first().expect("it listens");
        let now = crate::commands::now().as_secs();
        // Blanks and escapes that a body which is read and written again would lose.
        let body = "{ \"id\": \"evt_framed\",  \"type\":\"invoice.paid\", \"created\": 1, \"livemode\": false,\r\n\t\"data\": {\"object\": \
                    {\"id\": \"in_1\", \"customer\": \"cus_\\u0041\"}} }";
        let signature = |body: &[u8]| format!("stripe-signature: {}\r\n", sign(body, WEBHOOK_SECRET, now));
        let in_chunks = format!("{}transfer-encoding: chunked\r\n", signature(body.as_bytes()));
        let whole = format!("{}content-length: {}\r\n", signature(body.as_bytes()), body.len());
        for (headers, framed, result) in
            [(&in_chunks, chunked(body.as_bytes()), "stored"), (&whole, body.as_bytes().to_vec(), "known")]
        {
            let answer = sent(gateway, headers, &framed);
            assert!(
                answer.starts_with("HTTP/1.1 200 ") && answer.contains(&format!("\"result\":\"{result}\"")),
                "{answer}"
            );
        }
        // What is compressed is not unpacked: its signature is good, and it is no event.
        let packed: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00";
        let headers = format!("{}content-encoding: gzip\r\ncontent-length: {}\r\n", signature(packed), packed.len());
        let answer = sent(gateway, &headers, packed);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"invalid_event\""), "{answer}");
        let large = vec![b' '; (1 << 20) + 1];
        let headers = format!("{}content-length: {}\r\n", signature(&large), large.len());
        let answer = sent(gateway, &headers, &large);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
}
