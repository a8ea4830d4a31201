//! `[usage]`: what is reported, kept and told of use.

use std::num::NonZeroU32;
use std::time::Duration;

use tollgate_domain::MeterName;
use url::Url;

use crate::admin;
use crate::item::Item;
use crate::meters;
use crate::reader::Table;
use crate::scalars::is_in_the_clear;
use crate::secret::{self, Secret};

/// The settings of `[usage]`.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageConfig {
    /// The meters that customers may report themselves, by their keys.
    pub client_reported: Vec<MeterName>,
    /// What a backend reports usage with, besides the operator's token; it opens nothing else.
    pub service_token: Option<Secret>,
    /// Which calls are kept one by one.
    pub request_log: RequestLog,
    /// How long they are kept.
    pub request_log_retention: Duration,
    /// How long hourly sums are kept; those of whole periods are kept for good.
    pub retention: Duration,
    /// At how many hundredths of a quota its account is told; empty tells nobody.
    pub notices: Vec<u32>,
    /// How long before a key's expiry its account is told; zero tells nobody.
    pub key_expiry_notice: Duration,
    /// Where notices are sent to as well, signed.
    pub notice_webhook: Option<NoticeWebhook>,
}

/// Below this the sums of a period that is still open could be gone.
const RETENTION_LEAST: Duration = Duration::from_hours(32 * 24);

/// Ten years.
const RETENTION_MOST: Duration = Duration::from_hours(3_650 * 24);

/// The fewest characters that a webhook's secret should have: what 80 random bits take in base 32.
const WEBHOOK_SECRET_CHARACTERS: usize = 16;

impl UsageConfig {
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let mut config = Self::default();
        let Self {
            client_reported,
            service_token,
            request_log,
            request_log_retention,
            retention,
            notices,
            key_expiry_notice,
            notice_webhook,
        } = &mut config;
        table.read("client_reported", client_reported, |item| item.list_of(meters::name));
        if let Some((token, item)) = secret::read(table, "service_token", "service_token_file") {
            admin::check_token(&token, &item);
            *service_token = Some(token);
        }
        table.read("request_log", request_log, RequestLog::read);
        table.read("request_log_retention", request_log_retention, |item| {
            item.duration_between(Duration::from_hours(1), RETENTION_MOST)
        });
        table.read("retention", retention, |item| item.duration_between(RETENTION_LEAST, RETENTION_MOST));
        table.read("notices", notices, |item| {
            let mut hundredths = item.list_of(|item| u32::try_from(item.count(1, 100)?).ok())?;
            // The order says nothing.
            hundredths.sort_unstable();
            Some(hundredths)
        });
        table.read("key_expiry_notice", key_expiry_notice, Item::duration_or_zero);
        *notice_webhook = NoticeWebhook::read(table);
        table.finish();
        config
    }
}

impl RequestLog {
    fn read(item: &Item<'_>) -> Option<Self> {
        item.parse("\"off\", \"all\", or one in so many, such as \"1/100\"", |text| match text {
            "off" => Some(Self::Off),
            "all" | "1/1" => Some(Self::All),
            _ => {
                let count = tollgate_domain::parse_count(text.strip_prefix("1/")?)?;
                u32::try_from(count).ok().and_then(NonZeroU32::new).map(Self::Sampled)
            }
        })
    }
}

impl NoticeWebhook {
    fn read(table: &Table<'_>) -> Option<Self> {
        let secret = secret::read(table, "notice_webhook_secret", "notice_webhook_secret_file");
        let given = table.take("notice_webhook_secret").or_else(|| table.take("notice_webhook_secret_file"));
        let Some(item) = table.take("notice_webhook") else {
            if let Some(secret) = given {
                let key = secret.key();
                table.reader.error(secret.key_offset, format!("`{key}` means nothing without `notice_webhook`"));
            }
            return None;
        };
        if given.is_none() {
            item.reader.error(
                item.key_offset,
                "`notice_webhook` needs `notice_webhook_secret` or `notice_webhook_secret_file`: notices are signed",
            );
        }
        let short = |secret: &Secret| secret.reveal().len() < WEBHOOK_SECRET_CHARACTERS;
        if let Some((_, item)) = secret.as_ref().filter(|(secret, _)| short(secret)) {
            item.reader.warning(
                item.offset(),
                format!("the secret has fewer than {WEBHOOK_SECRET_CHARACTERS} characters and may be guessed"),
            );
        }
        let url = item.web_url()?;
        if is_in_the_clear(&url) {
            item.reader.warning(item.offset(), "notices name accounts and travel in the clear; write https://");
        }
        let (secret, _) = secret?;
        Some(Self { url, secret })
    }
}

/// Which calls are kept one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestLog {
    /// None.
    #[default]
    Off,
    /// One in so many, and every refused one.
    Sampled(NonZeroU32),
    /// All.
    All,
}

/// Where notices are sent to.
#[derive(Clone, Debug, PartialEq)]
pub struct NoticeWebhook {
    /// The address.
    pub url: Url,
    /// What they are signed with.
    pub secret: Secret,
}

impl Default for UsageConfig {
    fn default() -> Self {
        Self {
            client_reported: Vec::new(),
            service_token: None,
            request_log: RequestLog::Off,
            request_log_retention: Duration::from_hours(30 * 24),
            retention: Duration::from_hours(400 * 24),
            notices: vec![75, 90, 100],
            key_expiry_notice: Duration::from_hours(7 * 24),
            notice_webhook: None,
        }
    }
}
