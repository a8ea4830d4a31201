//! Stripe's own pages, where a customer sees invoices, mends how they are paid, and ends a subscription.

use serde::Deserialize;
use tollgate_domain::Account;
use url::Url;

use super::{ActionError, Form, field, once};
use crate::Billing;
use crate::api::ApiError;
use crate::api::objects::{Metadata, lenient};

/// The key of metadata that marks what `stripe setup` made, and its value on the portal's settings.
pub(crate) const SETUP_KEY: &str = "tollgate";
pub(crate) const PORTAL: &str = "portal";

/// The address of somebody's pages.
#[derive(Default, Deserialize)]
struct Session {
    #[serde(default, deserialize_with = "lenient")]
    url: Option<String>,
}

/// How the pages look, and what can be done on them.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PortalConfiguration {
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) is_default: bool,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) metadata: Metadata,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) livemode: Option<bool>,
}

impl PortalConfiguration {
    /// Whether `stripe setup` made it.
    pub(crate) fn is_ours(&self) -> bool {
        self.metadata.get(SETUP_KEY).is_some_and(|value| value == PORTAL)
    }
}

impl Billing {
    /// The address of the account's pages at Stripe. Whoever has it acts for the account there: it is made for each click,
    /// to be given to the owner and kept nowhere. Banned accounts have it too, so that they can end what they pay for.
    ///
    /// # Errors
    /// The account has bought nothing yet, or Stripe does not do it.
    pub async fn portal(&self, account: &Account) -> Result<Url, ActionError> {
        let customer = account.stripe_customer.as_deref().ok_or(ActionError::NoCustomer)?;
        let form = vec![field("customer", customer), field("return_url", self.return_url())];
        let session = match self.session(&form).await {
            // An account at Stripe has no settings of the portal until somebody saves some in its dashboard.
            Err(refused @ ApiError::Refused { status: 400, .. }) => match self.own_configuration().await? {
                Some(own) => self.session(&[form, vec![field("configuration", own)]].concat()).await?,
                None => return Err(refused.into()),
            },
            other => other?,
        };
        let url = session.url.as_deref().and_then(|url| Url::parse(url).ok());
        url.ok_or_else(|| ActionError::misconfigured("the billing portal has no address"))
    }

    /// Where the portal leads back to: the page of one's own that a buyer who turns back comes to, where there is one.
    fn return_url(&self) -> String {
        self.deps.stripe.cancel_url.as_ref().map_or_else(|| self.page("/account/billing"), Url::to_string)
    }

    async fn session(&self, form: &Form) -> Result<Session, ApiError> {
        self.post("/billing_portal/sessions", form, &once("portal")).await
    }

    async fn own_configuration(&self) -> Result<Option<String>, ApiError> {
        let all: Vec<PortalConfiguration> =
            self.api.list("/billing_portal/configurations", &[("active", "true".to_owned())]).await?;
        Ok(all.into_iter().find(PortalConfiguration::is_ours).map(|own| own.id))
    }
}
