//! A first configuration from a backend's own `OpenAPI` document.
//!
//! What comes out always passes `tollgate check`: the configuration's own rules judge every route, and what they refuse
//! is left in the text as a comment with the reason.

mod document;
mod routes;
mod tree;

use std::fmt::Write as _;
use std::path::Path;

use tollgate_config::{Loaded, Severity};
use url::Url;

use document::Document;
use routes::Routes;

/// Where backends are taken to be when nobody says.
const DEFAULT_UPSTREAM: &str = "http://127.0.0.1:8501";
/// The longest text of the document's that a comment repeats, in characters.
const COMMENT_CHARS_MAX: usize = 100;

/// A configuration, and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    /// The file's text.
    pub(crate) text: String,
    /// How many routes it has.
    pub(crate) routes: usize,
    /// Paths of the document that it has no route for, and why.
    pub(crate) left_out: Vec<LeftOut>,
    /// What is doubtful.
    pub(crate) warnings: Vec<String>,
}

/// A path without a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// The path, as the document has it.
    pub(crate) path: String,
    /// Why it has no route.
    pub(crate) reason: String,
}

/// Makes a configuration of a document. `source` is where it was fetched from, `upstream` where the backend is said to be.
///
/// # Errors
/// The text is no `OpenAPI` document, or `upstream` cannot be one; in words for whoever asked.
pub(crate) fn draft(text: &str, source: Option<&Url>, upstream: Option<&str>) -> Result<Draft, String> {
    let document = Document::read(text, source)?;
    let mut routes = Routes::of(&document.paths);
    let upstream = Upstream::choose(&document, source, upstream)?;
    let head = head(&document, &upstream);
    loop {
        let text = format!("{head}{}", routes.write_toml());
        match check(&text) {
            Ok(loaded) => {
                return Ok(Draft {
                    routes: loaded.config.policy.routes.len(),
                    warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
                    left_out: routes.left_out().to_vec(),
                    text,
                });
            }
            Err(problems) => {
                let lines_before = head.lines().count();
                let refused = problems.iter().filter_map(|(line, why)| Some((line.checked_sub(lines_before)?, why)));
                let refused: Vec<_> = refused.map(|(line, why)| (line, why.as_str())).collect();
                if !routes.leave_out_at(&refused) {
                    let first = problems.first().map(|(_, why)| why.as_str()).unwrap_or_default();
                    return Err(format!("no configuration could be made of it: {first}"));
                }
            }
        }
    }
}

/// What the configuration's own rules say: what is wrong, by line from 1.
fn check(text: &str) -> Result<Loaded, Vec<(usize, String)>> {
    let environment = |_: &str| None;
    tollgate_config::parse(text, Path::new("tollgate.toml"), &environment).map_err(|diagnostics| {
        let errors = diagnostics.iter().filter(|problem| problem.severity == Severity::Error);
        errors.map(|problem| (problem.line, problem.message.clone())).collect()
    })
}

/// Where calls are sent on to, and why there.
struct Upstream {
    url: String,
    why: String,
}

impl Upstream {
    fn choose(document: &Document, source: Option<&Url>, given: Option<&str>) -> Result<Self, String> {
        // Without `servers` the document's own host serves it.
        let documented = document.server.as_deref().or(source.map(|_| "/"));
        let is_template = documented.is_some_and(|server| server.contains(['{', '}']));
        let resolved = documented.and_then(|server| match source {
            Some(source) => source.join(server).ok(),
            None => Url::parse(server).ok(),
        });
        let documented_path = || match (&resolved, documented) {
            _ if is_template => None,
            (Some(url), _) => Some(url.path().to_owned()),
            (None, Some(path)) if path.starts_with('/') => Some(path.to_owned()),
            (None, _) => None,
        };
        if let Some(given) = given {
            let mut url =
                Url::parse(given).map_err(|_| "--upstream is no URL; write one such as http://127.0.0.1:8501")?;
            if matches!(url.path(), "" | "/")
                && let Some(path) = documented_path().filter(|path| path != "/")
            {
                url.set_path(&path);
            }
            let url = written(&url);
            usable(&url).map_err(|why| format!("--upstream: {why}"))?;
            return Ok(Self { url, why: "as asked for".to_owned() });
        }
        let mut why = "no server is documented; say where the backend is".to_owned();
        if is_template {
            "the documented server has variables without a default; say where the backend is".clone_into(&mut why);
        } else if let Some(url) = resolved.as_ref().map(written) {
            match usable(&url) {
                Ok(()) => return Ok(Self { url, why: "as documented".to_owned() }),
                Err(refused) => why = format!("the documented server cannot be used: {refused}"),
            }
        } else if let Some(path) = documented_path() {
            let url = format!("{DEFAULT_UPSTREAM}{}", path.trim_end_matches('/'));
            if usable(&url).is_ok() {
                return Ok(Self { url, why: "only the path is documented; say where the backend is".to_owned() });
            }
        }
        Ok(Self { url: DEFAULT_UPSTREAM.to_owned(), why })
    }
}

fn written(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// Whether the configuration takes it as an upstream.
fn usable(url: &str) -> Result<(), String> {
    let text = format!("[upstream]\nurl = {}\n", quoted(url));
    check(&text).map(drop).map_err(|problems| problems.into_iter().map(|(_, why)| why).collect::<Vec<_>>().join("; "))
}

/// Everything before the routes.
fn head(document: &Document, upstream: &Upstream) -> String {
    let title = document.title.as_deref().map_or_else(String::new, |title| format!(" of {}", comment(title)));
    let mut text = format!(
        "# Made by `tollgate init` from the OpenAPI {} document{title}.\n\
         # Check it with `tollgate check`, try it with `tollgate up`, and change what is only a guess: plans and prices.\n\n",
        comment(&document.form)
    );
    let (url, why) = (quoted(&upstream.url), comment(&upstream.why));
    write!(
        text,
        "[gateway]\n\
         listen = \"127.0.0.1:8080\"\n\
         # public_url = \"https://api.example.com\"      # where customers reach it, for links\n\n\
         # {why}. Nobody else should reach it: bind it to this machine or a private network.\n\
         [upstream]\n\
         url = {url}\n\n\
         [keys]\n\
         prefix = \"tg_live\"                            # what every key begins with\n\n\
         {PLANS}"
    )
    .expect("writing to a string cannot fail");
    text
}

/// A table of plans to begin with.
const PLANS: &str = r#"[accounts]
default_plan = "free"                         # the plan of new accounts

# Callers without a key, each address for itself; only on routes with access = "public" or "optional".
[plans.public]
rate = "60/minute"

[plans.free]
display_name = "Free"
price = "0 USD/month"                         # shown to customers
rate = "60/minute"                            # a bucket that refills at this rate
quota = "1_000/month"
max_keys = 2
# windows = ["500/day"]                       # strict limits of a minute, hour, day or up to 31d
# api = false                                 # keeps a plan out of the API altogether

[plans.pro]
rank = 1                                      # what `min_plan` of a route compares
display_name = "Pro"
price = "29 USD/month"
rate = "600/minute"
burst = 60                                    # calls at once; without it a tenth of the rate's count
quota = "100_000/month"
max_keys = 10
# features = ["export"]                       # what `feature` of a route asks for
# meters = { tokens = "1_000_000/month" }     # units other than calls

# The first route that matches a call wins. What none matches needs a key, whatever the path.
# Each may also have min_plan = "pro", feature = "export", cost = 5.
"#;

/// A text of somebody else's for a comment: one line, nothing that steers a terminal, not too long.
fn comment(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let visible = crate::output::visible(&one_line);
    let mut cut: String = visible.chars().take(COMMENT_CHARS_MAX).collect();
    if cut.len() < visible.len() {
        cut.push('…');
    }
    cut
}

/// A text as TOML writes it, with nothing in it replaced by a variable.
fn quoted(text: &str) -> String {
    toml::Value::from(text.replace("${", "$${")).to_string()
}

#[cfg(test)]
mod tests;
