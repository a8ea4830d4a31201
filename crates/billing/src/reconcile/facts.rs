//! Subscriptions and customers: what Stripe says against what is known, and who pays without getting anything for it.
//!
//! Stripe's lists are walked once, a hundred objects a call; whoever seems to differ is then read whole, as the worker
//! reads a customer, and counts only if it differs still. What is withheld for disputes and refunds is not compared: it is
//! Tollgate's own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use futures::stream::{self, StreamExt};
use tollgate_domain::{AccountId, Subscription};

use super::kind::DifferenceKind;
use super::pages::Pages;
use super::report::{Difference, Figure, Mending};
use super::subscriptions::{differences, differs, is_running, unknown_price};
use super::{AT_ONCE, Books, PAGE};
use crate::api::ApiError;
use crate::api::objects::{self, Customer, Invoice};
use crate::matching::named_by;
use crate::refresh::{self, Read, Rules};
use crate::worker::Refreshed;
use crate::{BillingError, Note};

/// The most customers that are read whole, and that are named for any one reason.
const SUSPECTS_MAX: usize = 10_000;
/// From how many customers on that have no subscription all of them are listed, rather than each asked for.
const LISTED_FROM: usize = 300;

/// Ids that were seen, as eight bytes each.
#[derive(Default)]
struct Seen(HashSet<u64>);

impl Seen {
    fn add(&mut self, id: &str) {
        self.0.insert(Self::of(id));
    }

    fn has(&self, id: &str) -> bool {
        self.0.contains(&Self::of(id))
    }

    fn of(id: &str) -> u64 {
        BuildHasherDefault::<DefaultHasher>::default().hash_one(id)
    }
}

/// What a walk through Stripe's lists has seen, and whom it suspects.
#[derive(Default)]
struct Walk {
    subscriptions: Seen,
    customers: Seen,
    /// Invoices that are open after a failed attempt, by subscription.
    failing: HashMap<String, Vec<Invoice>>,
    /// Customers whose facts seem to be others than what is known.
    suspects: BTreeSet<String>,
    /// Customers with a plan's price whom no account is linked with, with one of their subscriptions.
    unlinked: BTreeMap<String, Payer>,
    /// Subscriptions of banned accounts.
    banned: Vec<(AccountId, Payer)>,
    /// Prices that no plan has, with how many subscriptions have one, and one of them.
    prices: BTreeMap<String, (i64, Payer)>,
}

/// Whoever pays for a subscription.
#[derive(Clone)]
struct Payer {
    subscription: String,
    status: String,
    /// The account that it names.
    named: Option<AccountId>,
}

impl Books<'_> {
    /// Subscriptions, customers and prices at Stripe, against what is known here.
    pub(super) async fn compare_facts(&mut self) -> Result<(), BillingError> {
        let mut walk = Walk::default();
        match self.walk(&mut walk).await {
            Ok(()) => {}
            Err(BillingError::Api(error)) => {
                self.report.unread("subscriptions and customers", error);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let Walk { suspects, unlinked, banned, prices, .. } = walk;
        for (account, payer) in banned {
            self.report.add(pays_for_nothing(DifferenceKind::BannedAccountPays, account, &payer));
        }
        for (price, (subscriptions, payer)) in prices {
            let unknown = Difference::new(DifferenceKind::UnknownPrice, "subscriptions")
                .about(price)
                .figures(Some(Figure::Units(0)), Some(Figure::Units(subscriptions)))
                .noted(Some(format!("such as {}", payer.subscription)));
            self.report.add(unknown);
        }
        if !suspects.is_empty() || !unlinked.is_empty() {
            self.rest().await;
        }
        for (customer, payer) in unlinked {
            self.look_at_unlinked(&customer, &payer).await?;
        }
        for customer in suspects {
            self.look_at_customer(&customer).await?;
        }
        Ok(())
    }

    async fn walk(&mut self, walk: &mut Walk) -> Result<(), BillingError> {
        self.walk_stripe(walk).await?;
        self.walk_accounts(walk).await
    }

    /// Walks through all that runs at Stripe.
    async fn walk_stripe(&mut self, walk: &mut Walk) -> Result<(), BillingError> {
        let mut invoices = Pages::of("/invoices", &[("status", "open".to_owned())]);
        while let Some(page) = invoices.next::<Invoice>(self).await? {
            for invoice in page.into_iter().filter(|invoice| invoice.attempt_count > 0) {
                let Some(subscription) = invoice.subscription().map(str::to_owned) else { continue };
                walk.failing.entry(subscription).or_default().push(invoice);
            }
        }
        // Those that were cancelled are left out: there are more of them each year.
        let mut subscriptions = Pages::of("/subscriptions", &[]);
        while let Some(page) = subscriptions.next::<objects::Subscription>(self).await? {
            for listed in page {
                self.report.looked.subscriptions += 1;
                walk.subscriptions.add(&listed.id);
                self.look_at_listed(walk, listed).await?;
            }
        }
        Ok(())
    }

    async fn look_at_listed(&self, walk: &mut Walk, listed: objects::Subscription) -> Result<(), BillingError> {
        let Some(customer) = listed.customer.clone() else { return Ok(()) };
        walk.customers.add(&customer);
        let deps = &self.billing.deps;
        let plans = &deps.live.policy().plans;
        let account = deps.store.account_of_customer(&customer).await?;
        let payer =
            Payer { subscription: listed.id.clone(), status: listed.status.clone(), named: named_by(&listed.metadata) };
        let is_running = is_running(&listed.status);
        let is_known_price = listed.items.data.iter().any(|item| plans.of_price(item.price_id()).is_some());
        let is_ours = account.is_some() || payer.named.is_some();
        if is_running
            && is_ours
            && let Some(price) = unknown_price(&listed, plans)
        {
            walk.prices.entry(price).or_insert((0, payer.clone())).0 += 1;
        }
        match account {
            None if is_running && is_known_price && walk.unlinked.len() < SUSPECTS_MAX => {
                walk.unlinked.entry(customer).or_insert(payer);
            }
            None => {}
            Some(account) => {
                if is_running && account.ban.is_some() && walk.banned.len() < SUSPECTS_MAX {
                    walk.banned.push((account.id, payer));
                }
                let open_invoices = walk.failing.get(&listed.id).cloned().unwrap_or_default();
                let read = Read { subscriptions: vec![listed], open_invoices, reversals: None };
                if differs(&read, &account, plans, Rules::of(&deps.stripe)) && walk.suspects.len() < SUSPECTS_MAX {
                    walk.suspects.insert(customer);
                }
            }
        }
        Ok(())
    }

    /// Walks through all accounts with a customer.
    async fn walk_accounts(&mut self, walk: &mut Walk) -> Result<(), BillingError> {
        let mut unsure = 0;
        let mut after = None;
        loop {
            let page = self.billing.deps.store.billed_accounts(after, PAGE).await?;
            after = page.items.last().map(|(account, _)| account.id);
            for (account, _) in &page.items {
                let Some(customer) = account.stripe_customer.as_deref() else { continue };
                self.report.looked.customers += 1;
                unsure += usize::from(!walk.customers.has(customer));
                let vanished = |known: &Subscription| !known.status.is_final() && !walk.subscriptions.has(&known.id);
                if account.subscriptions.iter().any(vanished) && walk.suspects.len() < SUSPECTS_MAX {
                    walk.suspects.insert(customer.to_owned());
                }
            }
            if !page.has_more {
                break;
            }
        }
        if unsure >= LISTED_FROM {
            let mut customers = Pages::of("/customers", &[]);
            while let Some(page) = customers.next::<Customer>(self).await? {
                for customer in page {
                    walk.customers.add(&customer.id);
                }
            }
        }
        if unsure > 0 { self.look_for_customers(walk).await } else { Ok(()) }
    }

    /// Asks for each customer that no list had.
    async fn look_for_customers(&mut self, walk: &Walk) -> Result<(), BillingError> {
        let mut after = None;
        loop {
            let page = self.billing.deps.store.billed_accounts(after, PAGE).await?;
            after = page.items.last().map(|(account, _)| account.id);
            let unseen = page.items.into_iter().filter_map(|(account, _)| {
                let customer = account.stripe_customer.filter(|customer| !walk.customers.has(customer))?;
                Some((account.id, customer))
            });
            let books = &*self;
            let asked = unseen.map(|(account, customer)| async move {
                let is_there = books.has_customer(&customer).await;
                (account, customer, is_there)
            });
            let asked: Vec<_> = stream::iter(asked.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await;
            for (account, customer, is_there) in asked {
                if !is_there? {
                    let vanished = Difference::new(DifferenceKind::VanishedCustomer, "customer")
                        .of(account)
                        .about(customer.as_str())
                        .figures(None, Some(Figure::Text(customer)));
                    self.report.add(vanished);
                }
            }
            if !page.has_more {
                return Ok(());
            }
        }
    }

    async fn has_customer(&self, customer: &str) -> Result<bool, ApiError> {
        if !objects::is_id(customer) {
            return Ok(false);
        }
        let path = format!("/customers/{customer}");
        match self.patiently(|| self.billing.api.get::<Customer>(&path, &[])).await {
            Ok(customer) => Ok(!customer.deleted),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn look_at_unlinked(&mut self, customer: &str, payer: &Payer) -> Result<(), BillingError> {
        let store = &self.billing.deps.store;
        if store.account_of_customer(customer).await?.is_some() {
            return Ok(());
        }
        let named = match payer.named {
            Some(id) => store.account(id).await?,
            None => None,
        };
        let deleted = match named {
            Some(account) => Some(account),
            None => store.deleted_account_of_customer(customer).await?,
        };
        if let Some(account) = deleted.filter(|account| account.deleted_at.is_some()) {
            self.report.add(pays_for_nothing(DifferenceKind::DeletedAccountPays, account.id, payer));
            return Ok(());
        }
        let unlinked = Difference::new(DifferenceKind::UnlinkedCustomer, "account")
            .about(customer)
            .figures(Some(Figure::Text(payer.status.clone())), None)
            .noted(Some(payer.subscription.clone()));
        let unlinked = if self.fix() { self.refreshed(customer, vec![unlinked]).await? } else { vec![unlinked] };
        self.report.extend(unlinked);
        Ok(())
    }

    /// Reads a customer whole, as the worker does, and compares what follows with what is known.
    async fn look_at_customer(&mut self, customer: &str) -> Result<(), BillingError> {
        let differences = match self.differences_of(customer).await {
            Ok(differences) => differences,
            Err(BillingError::Api(error)) => {
                self.report.unread("a customer's subscriptions", format!("{customer}: {error}"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if differences.is_empty() {
            return Ok(());
        }
        let differences = if self.fix() { self.refreshed(customer, differences).await? } else { differences };
        self.report.extend(differences);
        Ok(())
    }

    async fn differences_of(&self, customer: &str) -> Result<Vec<Difference>, BillingError> {
        let deps = &self.billing.deps;
        let Some(account) = deps.store.account_of_customer(customer).await? else { return Ok(Vec::new()) };
        let (read, _) = self.patiently(|| refresh::read(&self.billing.api, customer, None)).await?;
        let plans = &deps.live.policy().plans;
        Ok(differences(&read, &account, plans, Rules::of(&deps.stripe)))
    }

    /// Has a customer read afresh; its differences, with what became of them.
    async fn refreshed(&self, customer: &str, differences: Vec<Difference>) -> Result<Vec<Difference>, BillingError> {
        let (mending, note) = match self.billing.refresh_customer(customer).await {
            Ok(Refreshed::Applied { notes, .. }) => {
                let note = notes.iter().map(Note::to_string).collect::<Vec<_>>().join("; ");
                (Mending::Mended, (!note.is_empty()).then_some(note))
            }
            Ok(Refreshed::Queued) => (Mending::UnderWay, Some("the process that works on billing reads it".to_owned())),
            Ok(Refreshed::NotOurs) => (Mending::Failed, Some("no account can be found or made for it".to_owned())),
            Ok(Refreshed::Refused(note)) => (Mending::Failed, Some(note)),
            Err(BillingError::Api(error)) => (Mending::Failed, Some(error.to_string())),
            Err(error) => return Err(error),
        };
        let became = |difference: Difference| difference.mended(mending).noted(note.clone());
        Ok(differences.into_iter().map(became).collect())
    }
}

fn pays_for_nothing(kind: DifferenceKind, account: AccountId, payer: &Payer) -> Difference {
    Difference::new(kind, "status")
        .of(account)
        .about(payer.subscription.as_str())
        .figures(None, Some(Figure::Text(payer.status.clone())))
}
