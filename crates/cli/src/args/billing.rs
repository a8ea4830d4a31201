//! The words of the commands about payment: `webhooks`, `reconcile`, `simulate`, `stripe`.

use clap::{Args, Subcommand, ValueEnum};

use super::story::Story;
use super::{Format, count};

#[derive(Debug, Subcommand)]
pub(crate) enum Webhooks {
    /// List what Stripe told, the newest first
    List(WebhooksList),
    /// Show one event, with what Stripe sent
    Show(WebhooksShow),
    /// Have an event heeded once more; what it tells of is read afresh from Stripe
    Replay(WebhooksReplay),
}

#[derive(Args, Debug)]
pub(crate) struct WebhooksList {
    /// Only events in this state
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<WebhookState>,
    /// Only events of this kind, such as `invoice.paid`
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// Only events of this account
    #[arg(long, value_name = "ID|EMAIL")]
    pub(crate) account: Option<String>,
    /// How many, at most
    #[arg(long, value_name = "N", value_parser = count, default_value = "100")]
    pub(crate) limit: u64,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WebhookState {
    /// To be heeded
    Pending,
    /// Heeded
    Done,
    /// Given up: somebody must look at it
    Dead,
}

impl WebhookState {
    /// As the admin API has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct WebhooksShow {
    /// The event's id, evt_…
    #[arg(value_name = "EVENT", value_parser = event_id)]
    pub(crate) event: String,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct WebhooksReplay {
    /// The ids of events, evt_…
    #[arg(value_name = "EVENT", value_parser = event_id, required_unless_present = "dead", conflicts_with = "dead")]
    pub(crate) events: Vec<String>,
    /// Every event that was given up
    #[arg(long)]
    pub(crate) dead: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Reconcile {
    /// Mend what can be mended
    #[arg(long)]
    pub(crate) fix: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Simulate {
    /// The steps of a subscription's life, such as `trial -> active -> past_due -> wait 8d -> recovered`
    #[arg(value_name = "STEPS", value_parser = Story::parse)]
    pub(crate) story: Story,
    /// The plan that is bought [default: the first that is sold]
    #[arg(long, value_name = "PLAN")]
    pub(crate) plan: Option<String>,
    /// What the shuffles are drawn from; the same number shuffles the same way [default: drawn anew]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// How often the life is lived again with its events shuffled and doubled
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), default_value = "10")]
    pub(crate) shuffles: u32,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Stripe {
    /// Make what Stripe needs of the plans: products, prices, meters and the webhook's endpoint; shown first
    Setup(StripeSetup),
}

#[derive(Args, Debug)]
pub(crate) struct StripeSetup {
    /// Yes, make what is shown
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Sell the plans by a stand-in for Stripe that runs beside it: Checkout, portal, webhooks, and a clock to turn
    #[arg(long)]
    pub(crate) billing: bool,
}

fn event_id(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let fits = (1..=255).contains(&text.len()) && text.bytes().all(is_plain);
    fits.then(|| text.to_owned()).ok_or_else(|| "that is no event's id: it begins with `evt_`".to_owned())
}
