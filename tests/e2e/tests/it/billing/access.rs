//! Who has access while cards fail, recover, or never do.

use std::thread;
use std::time::{Duration, Instant};

use tollgate_e2e::eventually;
use tollgate_fake_stripe::{Action, Card};

use super::{Calls, Scene};

/// As `accounts show` tells it, in seconds since the epoch.
fn seconds(instant: &serde_json::Value) -> f64 {
    let text = instant.as_str().unwrap_or_else(|| panic!("no instant: {instant}"));
    let parsed = tollgate_e2e::epoch_secs(text);
    parsed.unwrap_or_else(|| panic!("no instant: {text}"))
}

#[test]
fn a_card_that_fails_and_recovers_within_the_grace_costs_no_call() {
    let scene = Scene::delivering("1h");
    let ada = scene.caller("ada", "price_pro", "pro");
    let (calls, ()) = Calls::during(&scene.gate, &ada.key, || {
        scene.stripe.fail_now(&ada.payer);
        eventually("the failure is known", || {
            let facts = scene.gate.account(&ada.account)["subscriptions"][0].clone();
            (facts["status"] == "past_due" && facts["grace_until"].is_string()).then_some(())
        });
        thread::sleep(Duration::from_millis(300));
        scene.stripe.act(&ada.payer, Action::CardRecovers);
        scene.stripe.act(&ada.payer, Action::PayOpenInvoice);
        eventually("the recovery is known", || {
            let facts = scene.gate.account(&ada.account)["subscriptions"][0].clone();
            (facts["status"] == "active" && facts["failing_since"].is_null()).then_some(())
        });
        thread::sleep(Duration::from_millis(300));
    });
    assert_eq!(calls.answered(200), calls.made.len(), "no call was refused");
    assert!(calls.made.len() > 20);
}

#[test]
fn who_never_pays_is_suspended_at_the_second_the_grace_ends_and_is_back_by_the_same_key_once_it_pays() {
    let scene = Scene::delivering("4s");
    let ada = scene.caller("ada", "price_pro", "pro");
    let (calls, until) = Calls::during(&scene.gate, &ada.key, || {
        scene.stripe.fail_now(&ada.payer);
        let until = eventually("the failure is known", || {
            let facts = scene.gate.account(&ada.account)["subscriptions"][0].clone();
            (facts["status"] == "past_due").then(|| seconds(&facts["grace_until"]))
        });
        eventually("it is suspended", || scene.gate.plan_of(&ada.account).is_none().then_some(()));
        thread::sleep(Duration::from_millis(500));
        until
    });
    let end = tollgate_e2e::instant_of(until);
    for (sent, answered, status) in &calls.made {
        match status {
            200 => assert!(*sent <= end + Duration::from_millis(50), "a call went on after the grace had ended"),
            402 => assert!(*answered + Duration::from_millis(50) >= end, "a call was refused within the grace"),
            other => panic!("a call was answered {other}"),
        }
    }
    assert!(calls.answered(200) > 0 && calls.answered(402) > 0);
    assert_eq!(scene.gate.get("/events/1", &ada.key).problem(402, "upgrade_required")["code"], "upgrade_required");

    scene.stripe.act(&ada.payer, Action::CardRecovers);
    let paid = Instant::now();
    scene.stripe.act(&ada.payer, Action::PayOpenInvoice);
    eventually("the same key works again", || (scene.gate.get("/events/1", &ada.key).status == 200).then_some(()));
    assert!(paid.elapsed() < Duration::from_secs(1), "{:?}", paid.elapsed());
}

#[test]
fn an_operators_word_stands_above_what_is_paid_for() {
    let scene = Scene::delivering("1h");
    let ada = scene.caller("ada", "price_pro", "pro");
    scene.gate.cli(&["accounts", "ban", &ada.account]).done();
    scene.stripe.act(&ada.payer, Action::Touch);
    scene.stripe.act(&ada.payer, Action::ChangePrice("price_team".into()));
    eventually("the change is known", || (scene.gate.plan_of(&ada.account).as_deref() == Some("team")).then_some(()));
    scene.gate.get("/events/1", &ada.key).problem(403, "account_disabled");
    scene.gate.cli(&["accounts", "unban", &ada.account]).done();
    scene.gate.get("/events/1", &ada.key).expect(200);

    // A plan that an operator gives for two seconds, to somebody who pays for nothing any more.
    scene.stripe.act(&ada.payer, Action::CancelNow);
    eventually("nothing is left", || (scene.gate.get("/events/1", &ada.key).status == 402).then_some(()));
    scene.gate.cli(&["accounts", "set-plan", &ada.account, "comped", "--until", "2s"]).done();
    scene.gate.get("/events/1", &ada.key).expect(200);
    eventually("it ends by itself", || (scene.gate.get("/events/1", &ada.key).status == 402).then_some(()));
}

#[test]
fn a_price_that_no_plan_names_changes_nothing_and_is_told() {
    let scene = Scene::delivering("1h");
    let ada = scene.caller("ada", "price_pro", "pro");
    scene.stripe.act(&ada.payer, Action::ChangePrice("price_other".into()));
    eventually("somebody is told", || {
        let noted = |event: &serde_json::Value| event["note"].as_str().is_some_and(|note| note.contains("price_other"));
        scene.gate.events().iter().any(noted).then_some(())
    });
    assert_eq!(scene.gate.plan_of(&ada.account).as_deref(), Some("pro"));
    scene.gate.get("/events/1", &ada.key).expect(200);
}

#[test]
fn of_several_subscriptions_the_highest_counts_and_the_end_of_one_leaves_the_other() {
    let scene = Scene::delivering("1h");
    let ada = scene.caller("ada", "price_pro", "pro");
    let second = scene.stripe.fake().call(
        "POST",
        "/v1/subscriptions",
        &[("customer", ada.payer.customer.as_str()), ("items[0][price]", "price_team")],
    );
    let second = second.expect("a second one")["id"].as_str().expect("an id").to_owned();
    scene.gate.await_plan(&ada.account, Some("team"));
    scene.stripe.fake().act(&second, &Action::CancelNow).expect("it ends");
    scene.gate.await_plan(&ada.account, Some("pro"));
    eventually("the gateway knows", || (scene.gate.get("/events/1", &ada.key).status == 200).then_some(()));
}

#[test]
fn a_dispute_withholds_and_winning_it_gives_back() {
    let scene = Scene::delivering("1h");
    let ada = scene.caller("ada", "price_pro", "pro");
    // Stripe counts in seconds, and a dispute is about a period that began before it.
    thread::sleep(Duration::from_millis(1_100));
    scene.stripe.act(&ada.payer, Action::Dispute);
    eventually("it is withheld", || (scene.gate.get("/events/1", &ada.key).status == 402).then_some(()));
    assert_eq!(scene.gate.plan_of(&ada.account), None);
    scene.stripe.act(&ada.payer, Action::DisputeWon);
    scene.gate.await_plan(&ada.account, Some("pro"));
    // A refund is a kindness: it takes nothing away unless the operator says so. What was disputed is not refunded besides.
    let bob = scene.caller("bob", "price_pro", "pro");
    scene.stripe.act(&bob.payer, Action::Refund(None));
    thread::sleep(Duration::from_millis(500));
    for caller in [&ada, &bob] {
        eventually("the gateway knows", || (scene.gate.get("/events/1", &caller.key).status == 200).then_some(()));
    }
}

#[test]
fn a_trial_without_a_way_to_pay_ends_and_goes_on_once_there_is_one() {
    let scene = Scene::delivering("1h");
    let ada = scene.caller("ada", "price_pro", "pro");
    scene.stripe.fake().card(&ada.payer.customer, Card::None);
    scene.stripe.act(&ada.payer, Action::Pause);
    scene.gate.await_plan(&ada.account, None);
    scene.stripe.fake().card(&ada.payer.customer, Card::Good);
    scene.stripe.act(&ada.payer, Action::Resume);
    scene.gate.await_plan(&ada.account, Some("pro"));
    eventually("the gateway knows", || (scene.gate.get("/events/1", &ada.key).status == 200).then_some(()));
}
