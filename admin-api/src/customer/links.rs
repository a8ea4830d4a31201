//! `POST /v1/session/link`: a one-time link by mail, and the links that a new address is proven with.
//!
//! The answer and the time it takes are the same for every address: whether there is an account, whether it was asked
//! too often, and whether the mail left, is found out after the answer. Only the log tells of a mail that failed, and
//! never to whom.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tollgate_domain::{AccountId, MINUTE_US};
use tollgate_store::{Link, LinkPurpose};
use utoipa::ToSchema;

use super::proofs::Secret;
use super::sender::Sender;
use crate::context::{Context, Shared};
use crate::inputs;
use crate::mail::Mailer;
use crate::problem::{Problem, ProblemCode};
use crate::request::Body;

/// How long a link works.
const LINK_MINUTES: i64 = 15;
/// Links that are mailed to one address within an hour.
const LINKS_HOURLY_MAX: u32 = 5;
/// How often a mail is tried.
const ATTEMPTS: u32 = 3;
/// How long to wait before the next attempt, times the attempts so far.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Whom a link is mailed to.
#[derive(ToSchema)]
#[schema(as = LinkRequest, example = json!({ "email": "ada@example.com" }))]
#[expect(dead_code, reason = "it describes what is read")]
pub(super) struct LinkRequestSchema {
    /// The address; it is not said whether it has an account.
    #[schema(format = "email", min_length = 3, max_length = 254)]
    email: String,
}

/// What is said to everybody.
#[derive(Serialize, ToSchema)]
#[schema(as = LinkSent)]
pub(super) struct SentView {
    /// Always true.
    sent: bool,
}

/// Mails a link that signs in, once, within 15 minutes. The answer is the same for every address.
#[utoipa::path(
    post, path = "/v1/session/link", tag = "session", operation_id = "send_link",
    request_body = LinkRequestSchema,
    responses(
        (status = 202, body = SentView),
        (status = 429, body = Problem, description = "Too many links were asked for from one address within an hour."),
    ),
)]
pub(super) async fn send(
    State(context): State<Context>,
    sender: Sender,
    Body(mut fields): Body,
) -> Result<(StatusCode, Json<SentView>), Problem> {
    let email = fields.required_text("email", inputs::email);
    let email = fields.finish(&["email"], email)?;
    let post = Post::of(&context, sender).await?;
    tokio::spawn(async move {
        match may_sign_in(&context, &email).await {
            Ok(true) => post.mail_link(&context, LinkPurpose::SignIn, email, None).await,
            Ok(false) => {}
            Err(problem) => tracing::error!(cause = problem.cause(), "a link could not be made"),
        }
    });
    Ok((StatusCode::ACCEPTED, Json(SentView { sent: true })))
}

/// Whoever has an account, and whoever may make one; a banned account's owner is told when the link is opened.
async fn may_sign_in(shared: &Shared, email: &str) -> Result<bool, Problem> {
    if shared.deps.settings.portal.signup {
        return Ok(true);
    }
    match shared.store().account_by_email(email).await? {
        Some(account) => Ok(shared.store().has_proven_email(account.id).await?),
        None => Ok(false),
    }
}

/// The way out for one mail: taken before anything is changed that depends on it.
pub(super) struct Post {
    mailer: Arc<dyn Mailer>,
    _permit: OwnedSemaphorePermit,
}

impl Post {
    /// Takes it for a link that is asked for.
    ///
    /// # Errors
    /// As [`Self::of_ours`]; or more links were asked for from there than are mailed.
    pub(super) async fn of(shared: &Shared, sender: Sender) -> Result<Self, Problem> {
        let post = Self::of_ours(shared)?;
        shared.link_bounds.count(sender, shared.now()).await?;
        Ok(post)
    }

    /// Takes it for what nobody asked for.
    ///
    /// # Errors
    /// Nothing can be mailed here, or too much is under way.
    pub(super) fn of_ours(shared: &Shared) -> Result<Self, Problem> {
        let unavailable = |detail: &str| Problem::new(ProblemCode::MailUnavailable, detail);
        let mailer = shared.deps.mailer.clone().ok_or_else(|| {
            unavailable("No mail can be sent: this deployment has no [mail]; sign in with the backend's own token")
        })?;
        let permit = Arc::clone(&shared.mails).try_acquire_owned();
        let permit = permit.map_err(|_| unavailable("Too many mails are under way; try again shortly").retry_soon())?;
        Ok(Self { mailer, _permit: permit })
    }

    /// Makes a link and mails it, unless its address was sent too many of late. What goes wrong is logged.
    pub(super) async fn mail_link(
        self,
        shared: &Shared,
        purpose: LinkPurpose,
        email: String,
        account: Option<AccountId>,
    ) {
        match self.try_mail_link(shared, purpose, email, account).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!("an address asked for more links within an hour than are mailed"),
            Err(problem) => tracing::error!(cause = problem.cause(), "a link could not be made"),
        }
    }

    async fn try_mail_link(
        self,
        shared: &Shared,
        purpose: LinkPurpose,
        email: String,
        account: Option<AccountId>,
    ) -> Result<bool, Problem> {
        let token = Secret::generate()?;
        let now = shared.now();
        let link = Link { purpose, email, account, created_at: now, expires_at: now + LINK_MINUTES * MINUTE_US };
        if !shared.store().create_link(&token.hash(), &link, LINKS_HOURLY_MAX).await? {
            return Ok(false);
        }
        let url = format!("{}/login?token={}", shared.link_base, token.reveal());
        let (subject, text) = letter(purpose, &url);
        self.mail(&link.email, subject, &text).await;
        Ok(true)
    }

    /// Mails a text, with a second and third attempt.
    pub(super) async fn mail(self, to: &str, subject: &str, text: &str) {
        for attempt in 1..=ATTEMPTS {
            match self.mailer.send(to, subject, text).await {
                Ok(()) => return,
                Err(error) => tracing::error!(%error, attempt, "a mail could not be sent"),
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(RETRY_AFTER * attempt).await;
            }
        }
    }
}

fn letter(purpose: LinkPurpose, url: &str) -> (&'static str, String) {
    let (subject, what) = match purpose {
        LinkPurpose::SignIn => ("Your link to sign in", "Open this link to sign in:"),
        LinkPurpose::NewEmail => (
            "Confirm your new e-mail address",
            "Somebody, presumably you, wants to use this address for an account. Open this link to confirm that, and to \
             sign in to the account:",
        ),
    };
    let text = format!(
        "{what}\n\n{url}\n\nIt works once, within {LINK_MINUTES} minutes. If you did not ask for it, ignore this mail: \
         nothing happens.\n"
    );
    (subject, text)
}
