use std::time::{Duration, Instant};
use tollgate_fake_stripe::Seed;
use super::*;
use crate::meters::tests::harness::Books as Deployment;
#[tokio::test]
async fn scale_tmp() {
    let n: usize = option_env!("SCALE").and_then(|x| x.parse().ok()).unwrap_or(5000);
    let books = Deployment::open().await;
    let t = Instant::now();
    let mut customers = Vec::new();
    for i in 0..n {
        let email = format!("many{i}@example.com");
        customers.push(books.fake.seed(Seed { email: &email, prices: &["price_pro", "price_calls"], ..Seed::default() }).unwrap().customer);
    }
    println!("seeded {:?}", t.elapsed());
    let t = Instant::now();
    for c in &customers { books.billing.refresh_customer(c).await.unwrap(); }
    println!("refreshed {:?}", t.elapsed());
    for e in books.fake.take_events() { books.fake.mark_delivered(&e.id); }
    let mut after = None;
    let t = Instant::now();
    loop {
        let page = tollgate_store::Billing::billed_accounts(&*books.store, after, 500).await.unwrap();
        after = page.items.last().map(|(a, _)| a.id);
        for (a, _) in &page.items { books.use_units(a, None, 3).await; }
        if !page.has_more { break; }
    }
    println!("used {:?}", t.elapsed());
    books.fake.clear_requests();
    let t = Instant::now();
    let mut passes = 0;
    loop { passes += 1; let p = books.pass().await; println!("{p:?} {:?}", t.elapsed()); if !p.has_more { break; } }
    println!("metered in {passes} passes {:?}", t.elapsed());
    let t = Instant::now();
    let p = books.pass().await;
    println!("empty pass {p:?} {:?}", t.elapsed());
    books.billing.look_far_next();
    let t = Instant::now();
    let p = books.pass().await;
    println!("empty far pass {p:?} {:?}", t.elapsed());
    books.fake.advance(Duration::from_secs(7200));
    let t = Instant::now();
    let r = books.billing.reconcile(false, &NoStanding).await.unwrap();
    println!("{r} {:?}", t.elapsed());
    println!("{:?}", std::fs::read_to_string("/proc/self/status").unwrap().lines().filter(|l| l.starts_with("VmHWM")).collect::<Vec<_>>());
    assert!(r.is_clean(), "{r:#?}");
    books.fake.advance(Duration::from_secs(4*86400));
    let t = Instant::now();
    let r = books.billing.reconcile(false, &NoStanding).await.unwrap();
    println!("days later, {r} {:?}", t.elapsed());
}
