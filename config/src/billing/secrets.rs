//! The secrets of `[billing.stripe]`: read, and told apart by how Stripe lets each kind begin.

use super::WebhookSecrets;
use crate::item::Item;
use crate::reader::Table;
use crate::secret::{self, Given, Secret};

/// How many secrets a signature is compared with. An old one lives for a day while it is rolled.
const SECRETS_MAX: usize = 8;

/// The fewest characters that a webhook's secret should have: what 80 random bits take in base 32.
const SECRET_CHARACTERS: usize = 16;

/// Where the secret of a webhook comes from.
pub(super) const ORIGIN: &str = "`tollgate stripe setup` makes the endpoint and shows its secret";

/// Reads the secrets of webhooks: a list, or a file with one on each line. One that stands there twice counts once: two
/// variables may have one value.
pub(super) fn read_of_webhooks(table: &Table<'_>, needed: WebhookSecrets) -> Option<Vec<Secret>> {
    let given = secret::given(table, "webhook_secrets", "webhook_secrets_file");
    if needed == WebhookSecrets::NotYet {
        return Some(Vec::new());
    }
    let mut secrets: Vec<Secret> = Vec::new();
    let mut all_good = true;
    let mut add = |secret: Secret, item: &Item<'_>, from_variable: bool| {
        check_of_webhook(&secret, item, from_variable);
        if !secrets.contains(&secret) {
            secrets.push(secret);
        }
    };
    let item = match given? {
        Given::InPlace(list) => {
            for item in list.one_or_list() {
                match secret::read_text(&item) {
                    Some(secret) => add(secret, &item, is_from_variable(&item)),
                    None => all_good = false,
                }
            }
            list
        }
        Given::InFile(item) => {
            let whole = secret::read_file(&item)?;
            let lines = whole.reveal().lines().map(str::trim).filter(|line| !line.is_empty());
            lines.for_each(|line| add(Secret::new(line), &item, false));
            item
        }
    };
    if all_good && secrets.is_empty() {
        item.error(format!("`{}` is empty; {ORIGIN}", item.key()));
        return None;
    }
    if secrets.len() > SECRETS_MAX {
        item.error(format!("there are at most {SECRETS_MAX} webhook secrets, not {}", secrets.len()));
    }
    all_good.then_some(secrets)
}

/// Whether a value differs from machine to machine, so that the file is right whatever it is on this one.
fn is_from_variable(item: &Item<'_>) -> bool {
    item.text().is_some_and(|text| text.substituted)
}

/// Reports at a secret what is wrong with it; of one that a variable holds only as a doubt.
fn refuse_secret(item: &Item<'_>, from_variable: bool, message: impl Into<String>) {
    if from_variable {
        item.reader.warning(item.offset(), message);
    } else {
        item.error(message);
    }
}

pub(super) fn check_key(secret: &Secret, item: &Item<'_>, table: &Table<'_>) {
    let from_variable = item.key() == "secret_key" && is_from_variable(item);
    let text = secret.reveal();
    if !text.is_ascii() || text.bytes().any(|byte| byte.is_ascii_control()) {
        item.error("the key holds a character that no header may hold");
        return;
    }
    let is_live = match Kind::of(text) {
        Kind::Key { is_live } => is_live,
        Kind::PublishableKey => {
            let message = "this is a publishable key, which asks nothing; write the secret one or a restricted one";
            return refuse_secret(item, from_variable, message);
        }
        Kind::WebhookSecret => {
            let message = "this is the secret of a webhook; write the account's secret key or a restricted one";
            return refuse_secret(item, from_variable, message);
        }
        Kind::Unknown => return,
    };
    let given = table.take("livemode");
    // One that is there and wrong has been reported already.
    let livemode = given.as_ref().map_or(Some(true), Item::flag);
    if livemode.is_none_or(|livemode| livemode == is_live) {
        return;
    }
    let place = match &given {
        Some(item) => format!("on line {}", item.reader.line(item.key_offset)),
        None => "its default".into(),
    };
    let (mode, other) = if is_live { ("live", "test") } else { ("test", "live") };
    refuse_secret(
        item,
        from_variable,
        format!(
            "this is a key of {mode} mode, and `livemode` is {} ({place}); change it or write the {other} key",
            !is_live
        ),
    );
}

fn check_of_webhook(secret: &Secret, item: &Item<'_>, from_variable: bool) {
    match Kind::of(secret.reveal()) {
        Kind::Key { .. } | Kind::PublishableKey => {
            let message = "this is a key of the account; write the secret of the webhook's endpoint, whsec_…";
            refuse_secret(item, from_variable, message);
        }
        Kind::WebhookSecret | Kind::Unknown if secret.reveal().len() < SECRET_CHARACTERS => {
            item.reader.warning(
                item.offset(),
                format!("the secret has fewer than {SECRET_CHARACTERS} characters and may be guessed"),
            );
        }
        Kind::WebhookSecret | Kind::Unknown => {}
    }
}

/// What a secret of Stripe's is, by how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A secret key or a restricted one.
    Key {
        is_live: bool,
    },
    PublishableKey,
    WebhookSecret,
    /// Nothing that Stripe makes today.
    Unknown,
}

impl Kind {
    fn of(text: &str) -> Self {
        [
            ("sk_live_", Self::Key { is_live: true }),
            ("rk_live_", Self::Key { is_live: true }),
            ("sk_test_", Self::Key { is_live: false }),
            ("rk_test_", Self::Key { is_live: false }),
            ("pk_", Self::PublishableKey),
            ("whsec_", Self::WebhookSecret),
        ]
        .into_iter()
        .find_map(|(start, kind)| text.starts_with(start).then_some(kind))
        .unwrap_or(Self::Unknown)
    }
}
