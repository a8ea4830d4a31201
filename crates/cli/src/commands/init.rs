//! `init --openapi`: reads a document, writes a first configuration. What is in it the drafting decides.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::json;
use url::Url;

use crate::args::Init;
use crate::client::causes;
use crate::commands::Failure;
use crate::openapi::{Draft, draft};
use crate::output;

/// The longest document that is read, in bytes.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long fetching one may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// How many redirects are followed on the way to it.
const REDIRECTS_MAX: usize = 5;

/// Writes the configuration, and says what is left out.
pub(crate) async fn init(command: &Init) -> Result<(), Failure> {
    if let Some(path) = command.out.as_deref().filter(|path| path.exists()) {
        return Err(is_there(path).into());
    }
    let (text, source) = document(&command.openapi).await?;
    let text = String::from_utf8(text).map_err(|_| anyhow!("{}: the document is not UTF-8", command.openapi))?;
    let draft = draft(&text, source.as_ref(), command.upstream.as_deref())
        .map_err(|why| anyhow!("{}: {}", command.openapi, output::visible(&why)))?;
    match &command.out {
        Some(path) => write_new(path, &draft.text)?,
        None if !command.format.json => output::data(&draft.text)?,
        None => {}
    }
    if command.format.json {
        let left_out = draft.left_out.iter().map(|left| json!({ "path": left.path, "reason": left.reason }));
        let (left_out, warnings) = (left_out.collect::<Vec<_>>(), &draft.warnings);
        output::json(
            &json!({ "config": draft.text, "routes": draft.routes, "left_out": left_out, "warnings": warnings }),
        )?;
    }
    output::note(&summary(&draft, command.out.as_deref()));
    Ok(())
}

fn summary(draft: &Draft, out: Option<&Path>) -> String {
    let mut lines: Vec<String> = draft.warnings.iter().map(|warning| output::visible(warning)).collect();
    let left = draft.left_out.len();
    if left > 0 {
        let paths =
            if left == 1 { "1 documented path has".to_owned() } else { format!("{left} documented paths have") };
        lines.push(format!("{paths} no route of their own; the reasons stand at the end of the file"));
    }
    let place = out.map(|path| format!("{}: ", path.display())).unwrap_or_default();
    lines.push(format!("{place}{} routes; next: look at the plans, then `tollgate check`", draft.routes));
    lines.join("\n")
}

async fn document(named: &str) -> anyhow::Result<(Vec<u8>, Option<Url>)> {
    if let Some(url) = Url::parse(named).ok().filter(|url| matches!(url.scheme(), "http" | "https")) {
        let (text, url) = fetch(url).await?;
        return Ok((text, Some(url)));
    }
    let opened: std::io::Result<Box<dyn Read>> = if named == "-" {
        Ok(Box::new(std::io::stdin().lock()))
    } else {
        std::fs::File::open(named).map(|file| Box::new(file) as _)
    };
    let mut text = Vec::new();
    let limit = DOCUMENT_BYTES_MAX as u64 + 1;
    let read = opened.and_then(|source| source.take(limit).read_to_end(&mut text));
    read.with_context(|| format!("cannot read {named}"))?;
    if text.len() > DOCUMENT_BYTES_MAX {
        bail!("{named}: more than a document may have (16 MiB)");
    }
    Ok((text, None))
}

/// The document, and the address it was found at in the end: relative servers are relative to that.
async fn fetch(url: Url) -> anyhow::Result<(Vec<u8>, Url)> {
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS_MAX))
        .timeout(FETCH_TIMEOUT)
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .build()?;
    let failed = |error: reqwest::Error| anyhow!("the document cannot be fetched: {}", causes(&error));
    let asked = http.get(url).header(reqwest::header::ACCEPT, "application/json, application/yaml, */*;q=0.5").send();
    let mut answer = asked.await.map_err(failed)?;
    if !answer.status().is_success() {
        bail!("the document cannot be fetched: the server answered {}", answer.status());
    }
    let found = answer.url().clone();
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if text.len() + chunk.len() > DOCUMENT_BYTES_MAX {
            bail!("the document is longer than one may be (16 MiB)");
        }
        text.extend_from_slice(&chunk);
    }
    Ok((text, found))
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display())),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(is_there(path)),
        Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
    }
}

fn is_there(path: &Path) -> anyhow::Error {
    anyhow!("{} is there already; it is not overwritten", path.display())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::response::Redirect;
    use axum::routing::get;

    use super::*;
    use crate::args::Format;
    use crate::client::tests::{install_crypto_provider, serve};

    fn command(openapi: &str, out: Option<&Path>) -> Init {
        let format = Format { json: false };
        Init { openapi: openapi.to_owned(), upstream: None, out: out.map(Into::into), format }
    }

    #[tokio::test]
    async fn a_document_is_fetched_through_redirects_and_a_file_is_never_overwritten() {
        install_crypto_provider();
        let document = r#"{"openapi":"3.0.0","paths":{"/a":{"get":{}}}}"#;
        let router = Router::new()
            .route("/docs", get(|| async { Redirect::temporary("/v3/openapi.json") }))
            .route("/v3/openapi.json", get(move || async move { document }));
        let base = serve(router).await;
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("tollgate.toml");
        let docs = format!("{base}docs");
        assert!(init(&command(&docs, Some(&out))).await.is_ok());
        let text = std::fs::read_to_string(&out).expect("written");
        assert!(text.contains(&format!("url = \"{}\"", base.as_str().trim_end_matches('/'))), "{text}");
        assert!(crate::commands::check::check(&out).is_ok());

        std::fs::write(&out, "mine").expect("written");
        assert!(init(&command(&docs, Some(&out))).await.is_err());
        assert!(write_new(&out, "theirs").is_err());
        assert_eq!(std::fs::read_to_string(&out).expect("read"), "mine");
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_said() {
        install_crypto_provider();
        let base = serve(Router::new()).await;
        for (named, part) in [
            (format!("{base}openapi.json"), "404"),
            ("/nonexistent/openapi.json".to_owned(), "cannot read /nonexistent/openapi.json"),
            ("ftp://example.com/openapi.json".to_owned(), "cannot read ftp://"),
        ] {
            match init(&command(&named, None)).await {
                Err(Failure::Failed(error)) => assert!(format!("{error:#}").contains(part), "{named}: {error:#}"),
                other => panic!("{named}: {other:?}"),
            }
        }
    }
}
