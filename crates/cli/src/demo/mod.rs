//! `demo`: the whole thing at work within a second, on free ports and in a folder that is gone afterwards.
//!
//! It composes what `up` composes and asks the admin API as any operator would; it has no back door.

pub(crate) mod backend;
mod billing;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use billing::{Letters, Shop};

use crate::client::{AdminClient, Token};
use crate::commands::Failure;
use crate::commands::keys::raw_key;
use crate::run::{self, Role, Running};
use crate::{args, output};

/// How often the gate is asked whether it serves yet.
const READY_TRIES_MAX: usize = 100;
/// How long between two of those.
const READY_PAUSE: Duration = Duration::from_millis(50);
/// A key that nobody was given.
const WRONG_KEY: &str = "tg_demo_wrong";

/// Runs the demo until it is told to stop.
pub(crate) fn run(command: &args::Demo) -> Result<(), Failure> {
    let demo = Demo::start(command.billing)?;
    say(&demo)?;
    Ok(demo.running.until_stopped()?)
}

/// Runs the sample backend alone until SIGTERM or Ctrl-C. Its address is the data.
pub(crate) fn serve_backend(command: &args::Backend) -> Result<(), Failure> {
    let runtime = Runtime::new().context("cannot start")?;
    runtime.block_on(async {
        let cannot_listen = || format!("cannot listen on {}", command.listen);
        let listener = tokio::net::TcpListener::bind(command.listen).await.with_context(cannot_listen)?;
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        output::data(&format!("http://{}\n", listener.local_addr().with_context(cannot_listen)?))?;
        let stopped = async move {
            tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        };
        tokio::select! {
            served = axum::serve(listener, backend::router()) => served.context("the backend stopped")?,
            () = stopped => {}
        }
        Ok(())
    })
}

/// A gate with everything around it. The fields fall in this order: first the gate, then what it stands on.
struct Demo {
    running: Running,
    lines: Vec<Line>,
    backend: SocketAddr,
    config: PathBuf,
    /// What it sells with, if it sells.
    shop: Option<Shop>,
    _backend_runtime: Runtime,
    _folder: TempDir,
}

/// One line to paste, and what it shows.
struct Line {
    shows: &'static str,
    way: Way,
    headers: Vec<String>,
    url: String,
    status: u16,
}

/// How a line calls.
enum Way {
    Get,
    /// With this JSON.
    Post(&'static str),
}

impl Line {
    fn command(&self) -> String {
        let headers: Vec<String> = self.headers.iter().map(|header| format!("-H '{header}' ")).collect();
        let headers = headers.concat();
        let body = match self.way {
            Way::Get => String::new(),
            Way::Post(body) => format!("-H 'content-type: application/json' -d '{body}' "),
        };
        format!("curl -sS -o /dev/null -w '%{{http_code}}\\n' {headers}{body}'{}' # {}", self.url, self.status)
    }
}

impl Demo {
    fn start(sells: bool) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.context("no free port for the sample backend")?;
        let backend = listener.local_addr()?;
        runtime.spawn(async move { axum::serve(listener, backend::router()).await });

        let folder = tempfile::Builder::new().prefix("tollgate-demo-").tempdir().context("no throwaway folder")?;
        let config = folder.path().join("tollgate.toml");
        let write =
            |text: String| std::fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()));
        let (running, shop, lines) = if sells {
            let stripe = billing::stripe()?;
            write(billing::config_text(backend, free_ports()?, &stripe))?;
            let loaded = run::load_config(Some(&config))?;
            let (policy, letters) = (loaded.config.policy.clone(), Arc::new(Letters::default()));
            let running = run::start_with(loaded, Role::Up, Some(Arc::clone(&letters) as _))?;
            let client = admin_client(&running)?;
            let opened = billing::open(&running, stripe, &letters, &policy, &client);
            let (shop, lines) = runtime.block_on(opened)?;
            (running, Some(shop), lines)
        } else {
            write(config_text(backend, free_ports()?))?;
            let running = run::start(run::load_config(Some(&config))?, Role::Up)?;
            let lines = runtime.block_on(make_lines(&running))?;
            (running, None, lines)
        };
        Ok(Self { running, lines, backend, config, shop, _backend_runtime: runtime, _folder: folder })
    }
}

/// Speaks to the demo's own admin API, as any operator would.
fn admin_client(running: &Running) -> anyhow::Result<AdminClient> {
    let admin = running.admin.and_then(|address| Url::parse(&format!("http://{address}")).ok());
    let admin = admin.context("the admin API has no address")?;
    Ok(AdminClient::new(admin, Token::Known(running.operator_token.clone()))?)
}

/// Three ports that are free now. They are held together, so that they differ.
fn free_ports() -> anyhow::Result<[SocketAddr; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port");
    let held = [bind()?, bind()?, bind()?];
    let [gateway, admin, metrics] = held.each_ref().map(TcpListener::local_addr);
    Ok([gateway?, admin?, metrics?])
}

/// What both kinds of demo have in common; `more` stands under `[gateway]`.
fn base_config(backend: SocketAddr, [gateway, admin, metrics]: [SocketAddr; 3], more: &str) -> String {
    format!(
        r#"# Made by `tollgate demo`, and gone when it stops. Plans and routes take effect when this file is saved.
[gateway]
listen = "{gateway}"
{more}[upstream]
url = "http://{backend}"
[admin]
listen = "{admin}"
[metrics]
listen = "{metrics}"
[store]
database = "sqlite://tollgate.db"
[keys]
prefix = "tg_demo"
[log]
format = "line"
level = "warn"
[accounts]
default_plan = "free"

# What no route names needs a key of a plan with API access.
[[routes]]
name = "public-feed"
path = "/events/public"
access = "public"
[[routes]]
name = "pricing"
path = "/pricing/*"
access = "pass"
[[routes]]
name = "sign-in"
path = "/auth/*"
access = "pass"
"#
    )
}

fn config_text(backend: SocketAddr, addresses: [SocketAddr; 3]) -> String {
    let base = base_config(backend, addresses, "");
    format!(
        r#"{base}
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
"#
    )
}

/// Makes the accounts and keys of the lines. The capped key's only call is spent here, so that every line gives its
/// status in any order and however often it is pasted.
async fn make_lines(running: &Running) -> anyhow::Result<Vec<Line>> {
    let client = admin_client(running)?;
    let make = async |request: Value| -> anyhow::Result<String> {
        Ok(raw_key(&client.post(&["keys"], &request).await?)?.to_owned())
    };
    let pro = make(json!({ "email": "pro@example.com", "plan": "pro", "name": "demo" })).await?;
    let capped = make(json!({ "email": "pro@example.com", "plan": "pro", "name": "capped", "cap": 1 })).await?;
    let free = make(json!({ "email": "free@example.com", "plan": "free", "name": "demo" })).await?;

    let gateway = running.gateway.first().context("the gateway listens nowhere")?;
    let url = |path: &str| format!("http://{gateway}{path}");
    let search = url("/events/search?q=earnings&limit=3");
    spend_one(&search, &capped).await?;
    let line = |shows, key: Option<&str>, url: &str, status| Line {
        shows,
        way: Way::Get,
        headers: key.map(|key| format!("x-api-key: {key}")).into_iter().collect(),
        url: url.to_owned(),
        status,
    };
    Ok(vec![
        line("The public feed needs no key.", None, &url("/events/public"), 200),
        line("Everything else does: with a Pro key it answers,", Some(&pro), &search, 200),
        line("without any key it does not,", None, &search, 401),
        line("nor with a key that nobody was given.", Some(WRONG_KEY), &search, 403),
        line("A key on the Free plan is told to upgrade.", Some(&free), &search, 402),
        line("A key capped at one call a month has spent it.", Some(&capped), &search, 429),
    ])
}

/// Makes the one call that the capped key has, as soon as the gate serves.
async fn spend_one(url: &str, key: &str) -> anyhow::Result<()> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    for _ in 0..READY_TRIES_MAX {
        match http.get(url).header("x-api-key", key).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => bail!("the gate answered the demo's first call with {}", answer.status()),
            Err(error) if error.is_connect() => tokio::time::sleep(READY_PAUSE).await,
            Err(error) => return Err(error).context("the gate did not answer the demo's first call"),
        }
    }
    bail!("the gate does not accept connections")
}

/// The lines go to standard output, what explains them to standard error.
fn say(demo: &Demo) -> anyhow::Result<()> {
    let Demo { running, backend, config, shop, .. } = demo;
    let shop = shop.as_ref().map(|shop| billing::words(shop, config)).unwrap_or_default();
    let gateway = running.gateway.first().map(SocketAddr::to_string).unwrap_or_default();
    output::note(&format!(
        "\nTollgate stands in front of a sample backend.\n\n\
         \x20 the gate          http://{gateway}\n\
         \x20 the backend       http://{backend}\n\
         \x20 the admin API     http://{}\n\
         \x20 the metrics       http://{}/metrics\n\
         \x20 the config        {}\n{shop}\n\
         Paste these lines into another terminal. Each ends in the status it prints; leave out `-o /dev/null` to see \
         the whole answer.\n",
        running.admin.map(|address| address.to_string()).unwrap_or_default(),
        running.metrics,
        config.display()
    ));
    for line in &demo.lines {
        output::note(line.shows);
        output::data(&format!("{}\n", line.command()))?;
    }
    output::note(&format!(
        "\nOperate it with any command, such as\n  {} --config {} keys list\n\
         Change a limit in the config and it holds within two seconds. Ctrl-C stops the demo and removes its folder.\n",
        program(),
        config.display()
    ));
    Ok(())
}

/// This program as it can be called from anywhere.
fn program() -> String {
    let path = std::env::current_exe().ok();
    path.as_deref().map_or_else(|| "tollgate".to_owned(), |path: &Path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn every_printed_line_gives_the_status_it_ends_in() {
        crate::client::tests::install_crypto_provider();
        for (sells, expected) in
            [(false, &[200, 200, 401, 403, 402, 429][..]), (true, &[200, 402, 200, 200, 409, 400, 200, 200, 400])]
        {
            let demo = Demo::start(sells).expect("the demo starts");
            let folder = demo.config.parent().expect("a folder").to_owned();
            // Backwards and twice: no line may depend on another.
            for line in demo.lines.iter().rev().chain(&demo.lines) {
                let command = line.command();
                assert!(command.starts_with("curl ") && command.ends_with(&format!(" # {}", line.status)), "{command}");
                let ran = Command::new("sh").args(["-c", &command]).output().expect("sh runs");
                assert_eq!(String::from_utf8_lossy(&ran.stdout), format!("{}\n", line.status), "{}", line.shows);
            }
            let statuses: Vec<u16> = demo.lines.iter().map(|line| line.status).collect();
            assert_eq!(statuses, expected);
            drop(demo);
            assert!(!folder.exists(), "{} is left behind", folder.display());
        }
    }

    #[test]
    fn the_config_of_the_demo_is_good() {
        let port = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let text = config_text(port(1), [port(2), port(3), port(4)]);
        let loaded = tollgate_config::parse(&text, Path::new("tollgate.toml"), &|_: &str| None).expect("no problems");
        assert_eq!(loaded.warnings, [], "a demo draws no warnings");
    }
}
