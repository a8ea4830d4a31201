//! The words of a notice: a mail for the customer, JSON for the operator's webhook.

use serde_json::{Value, json};
use tollgate_domain::Account;
use tollgate_store::{NoticeKind, PendingNotice};

/// A mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mail {
    pub(super) subject: String,
    pub(super) text: String,
}

/// A notice as it is mailed. `service` is the public address of the API, where there is one; `refuses` is whether a
/// quota that is used up refuses calls at all.
pub(super) fn mail(pending: &PendingNotice, service: Option<&str>, refuses: bool) -> Mail {
    let detail = &pending.notice.detail;
    let of = service.map(|service| format!(" of {service}")).unwrap_or_default();
    match &pending.notice.kind {
        NoticeKind::QuotaUsed { meter, percent } => {
            let unit = meter.as_ref().map_or("calls", |meter| meter.as_str());
            let (used, limit) = (grouped(&detail["used"]), grouped(&detail["limit"]));
            let end = text(&detail["period"]["end"]);
            let consequence = match (refuses, *percent >= 100, meter) {
                (false, ..) => format!("The count begins again at {end}."),
                (true, true, None) => format!("Further calls are refused until {end}."),
                (true, true, Some(meter)) => format!("Further calls that take {meter} are refused until {end}."),
                (true, false, _) => format!("Once all are used, further ones are refused until {end}."),
            };
            Mail {
                subject: format!("{percent} % of your {unit}{of} are used"),
                text: format!(
                    "Hello,\n\n{used} of the {limit} {unit}{of} that your plan ({}) includes in this period are used.\n{consequence}\n",
                    text(&detail["plan"]),
                ),
            }
        }
        NoticeKind::KeyExpires { .. } => {
            let masked = text(&detail["masked"]);
            let name = detail["name"].as_str().map(|name| format!(" \"{name}\"")).unwrap_or_default();
            let at = text(&detail["expires_at"]);
            Mail {
                subject: format!("An API key{of} expires soon: {masked}"),
                text: format!(
                    "Hello,\n\nyour API key{name} ({masked}){of} expires at {at}.\nCalls with it are refused from then on. Replace it before: rotate it with a grace, or give it a later expiry.\n",
                ),
            }
        }
    }
}

/// A notice as the webhook sends it. `id` is the same however often it is sent.
pub(super) fn body(pending: &PendingNotice, account: &Account) -> Value {
    let kind = match &pending.notice.kind {
        NoticeKind::QuotaUsed { .. } => "quota.used",
        NoticeKind::KeyExpires { .. } => "key.expires",
    };
    json!({
        "id": format!("notice_{}", pending.id),
        "type": kind,
        "created_at": pending.notice.at.to_string(),
        "account": { "id": account.id.to_string(), "email": account.email, "subject": account.subject },
        "data": pending.notice.detail,
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A number with its thousands apart.
fn grouped(value: &Value) -> String {
    let digits = value.as_u64().unwrap_or_default().to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{AccountId, KeyId, MeterName, Timestamp};
    use tollgate_store::NewNotice;

    use super::*;

    fn quota(meter: Option<&str>, percent: u32) -> PendingNotice {
        let detail = json!({
            "meter": meter.unwrap_or("calls"), "percent": percent, "used": 1_234_567, "limit": 1_500_000, "plan": "pro",
            "period": { "start": "2026-03-01T00:00:00Z", "end": "2026-04-01T00:00:00Z" },
        });
        let meter = meter.map(|name| MeterName::new(name).expect("a good name"));
        pending(NoticeKind::QuotaUsed { meter, percent }, detail)
    }

    fn pending(kind: NoticeKind, detail: Value) -> PendingNotice {
        let at = Timestamp::from_secs(1_773_144_000);
        let account = AccountId::new(at, [1; 10]);
        PendingNotice {
            id: 7,
            notice: NewNotice { account, kind, of: at, detail, at, mail: true, webhook: true },
            failures: 0,
        }
    }

    #[test]
    fn a_mail_says_what_is_used_and_what_follows() {
        for (notice, refuses, subject, part) in [
            (
                quota(None, 75),
                true,
                "75 % of your calls are used",
                "1,234,567 of the 1,500,000 calls that your plan (pro)",
            ),
            (quota(None, 75), true, "75 % of your calls are used", "Once all are used, further ones are refused until"),
            (
                quota(None, 100),
                true,
                "100 % of your calls are used",
                "Further calls are refused until 2026-04-01T00:00:00Z.",
            ),
            (
                quota(Some("tokens"), 100),
                true,
                "100 % of your tokens are used",
                "Further calls that take tokens are refused",
            ),
            (
                quota(None, 100),
                false,
                "100 % of your calls are used",
                "The count begins again at 2026-04-01T00:00:00Z.",
            ),
        ] {
            let mail = mail(&notice, None, refuses);
            assert_eq!(mail.subject, subject);
            assert!(mail.text.contains(part), "{}", mail.text);
        }
        let with_service = mail(&quota(None, 90), Some("https://api.example.com"), true);
        assert_eq!(with_service.subject, "90 % of your calls of https://api.example.com are used");
    }

    #[test]
    fn an_expiring_key_is_named_but_never_shown() {
        let key = KeyId::new(Timestamp::EPOCH, [2; 10]);
        let detail = json!({
            "key": key.to_string(), "name": "CI", "masked": "tg_live_****abcd", "expires_at": "2026-03-17T12:00:00Z",
        });
        let mail = mail(&pending(NoticeKind::KeyExpires { key }, detail), None, true);
        assert_eq!(mail.subject, "An API key expires soon: tg_live_****abcd");
        assert!(mail.text.contains("\"CI\" (tg_live_****abcd) expires at 2026-03-17T12:00:00Z"), "{}", mail.text);
    }
}
