//! The sections that customers are served by, as values.

use super::Entries;
use crate::auth::{AuthConfig, JwtConfig, JwtKeys};
use crate::billing::{BillingConfig, StripeConfig};
use crate::mail::MailConfig;
use crate::portal::PortalConfig;
use crate::usage::{NoticeWebhook, RequestLog, UsageConfig};
use crate::value::Value;

pub(super) fn auth(auth: &AuthConfig) -> Entries {
    let AuthConfig { jwt } = auth;
    let Some(JwtConfig { keys, issuer, audience, leeway, cookie, name_claim }) = jwt else {
        return AUTH_KEYS.map(|key| (key, None)).into();
    };
    let (secret, jwks_url) = match keys {
        JwtKeys::Secret(secret) => (Some(Value::Secret(secret.clone())), None),
        JwtKeys::Jwks(url) => (None, Some(Value::text(url))),
    };
    let values = [
        secret,
        jwks_url,
        issuer.as_ref().map(Value::text),
        Some(Value::list(audience)),
        Some(Value::duration(*leeway)),
        cookie.as_ref().map(Value::text),
        Some(Value::text(name_claim)),
    ];
    AUTH_KEYS.into_iter().zip(values).collect()
}

/// The keys of `[auth.jwt]`, in the order of their values.
const AUTH_KEYS: [&str; 7] = [
    "auth.jwt.secret",
    "auth.jwt.jwks_url",
    "auth.jwt.issuer",
    "auth.jwt.audience",
    "auth.jwt.leeway",
    "auth.jwt.cookie",
    "auth.jwt.name_claim",
];

pub(super) fn mail(mail: Option<&MailConfig>) -> Entries {
    let Some(mail) = mail else {
        return MAIL_KEYS.map(|key| (key, None)).into();
    };
    let MailConfig { host: _, port: _, tls: _, user: _, password, from } = mail;
    let values = [Some(Value::text(&mail.server())), password.clone().map(Value::Secret), Some(Value::text(from))];
    MAIL_KEYS.into_iter().zip(values).collect()
}

/// The keys of `[mail]`, in the order of their values.
const MAIL_KEYS: [&str; 3] = ["mail.server", "mail.password", "mail.from"];

pub(super) fn portal(portal: &PortalConfig) -> Entries {
    let PortalConfig { session, signup } = portal;
    vec![("portal.session", Some(Value::duration(*session))), ("portal.signup", Some(Value::Flag(*signup)))]
}

pub(super) fn usage(usage: &UsageConfig) -> Entries {
    let UsageConfig {
        client_reported,
        service_token,
        request_log,
        request_log_retention,
        retention,
        notices,
        key_expiry_notice,
        notice_webhook,
    } = usage;
    let request_log = match request_log {
        RequestLog::Off => "off".to_owned(),
        RequestLog::Sampled(every) => format!("1/{every}"),
        RequestLog::All => "all".to_owned(),
    };
    let notices = notices.iter().map(|hundredths| Value::Number((*hundredths).into()));
    let (webhook, secret) = notice_webhook.as_ref().map(|NoticeWebhook { url, secret }| (url, secret)).unzip();
    vec![
        ("usage.client_reported", Some(Value::list(client_reported))),
        ("usage.service_token", service_token.clone().map(Value::Secret)),
        ("usage.request_log", Some(Value::Text(request_log))),
        ("usage.request_log_retention", Some(Value::duration(*request_log_retention))),
        ("usage.retention", Some(Value::duration(*retention))),
        ("usage.notices", Some(Value::List(notices.collect()))),
        ("usage.key_expiry_notice", Some(Value::duration(*key_expiry_notice))),
        ("usage.notice_webhook", webhook.map(Value::text)),
        ("usage.notice_webhook_secret", secret.cloned().map(Value::Secret)),
    ]
}

pub(super) fn billing(billing: &BillingConfig) -> Entries {
    let BillingConfig { stripe } = billing;
    let Some(stripe) = stripe else {
        return STRIPE_KEYS.map(|key| (key, None)).into();
    };
    let StripeConfig {
        secret_key,
        webhook_secrets,
        livemode,
        grace,
        trial_days,
        proration_behavior,
        success_url,
        cancel_url,
        api_base,
        on_dispute,
        on_refund,
        meters,
        sweep,
    } = stripe;
    let meters = meters.iter().map(|(meter, event)| (meter.to_string(), Value::text(event)));
    let values = [
        Some(Value::Secret(secret_key.clone())),
        Some(Value::List(webhook_secrets.iter().cloned().map(Value::Secret).collect())),
        Some(Value::Flag(*livemode)),
        Some(Value::duration(*grace)),
        Some(Value::Number((*trial_days).into())),
        Some(Value::text(proration_behavior.as_str())),
        success_url.as_ref().map(Value::text),
        cancel_url.as_ref().map(Value::text),
        Some(Value::text(api_base)),
        Some(Value::text(on_dispute.as_str())),
        Some(Value::text(on_refund.as_str())),
        Some(Value::Table(meters.collect())),
        Some(Value::duration(*sweep)),
    ];
    STRIPE_KEYS.into_iter().zip(values).collect()
}

/// The keys of `[billing.stripe]`, in the order of their values.
const STRIPE_KEYS: [&str; 13] = [
    "billing.stripe.secret_key",
    "billing.stripe.webhook_secrets",
    "billing.stripe.livemode",
    super::GRACE,
    "billing.stripe.trial_days",
    "billing.stripe.proration_behavior",
    "billing.stripe.success_url",
    "billing.stripe.cancel_url",
    "billing.stripe.api_base",
    "billing.stripe.on_dispute",
    "billing.stripe.on_refund",
    "billing.stripe.meters",
    "billing.stripe.sweep",
];
