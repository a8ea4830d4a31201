//! The audit trail: newest first, in pages, of one account or of all.

use std::sync::Arc;

use serde_json::json;
use tollgate_store::{AuditEntry, AuditQuery, NewAudit, Store};

use crate::fixture::{account_id, at, make_account, make_key, new_account};

crate::backend::on_every_backend! {
    a_line_reads_back_as_it_was_written,
    lines_are_listed_newest_first_in_pages,
}

async fn a_line_reads_back_as_it_was_written(store: Arc<dyn Store>) {
    let detail = json!({ "plan": "pro", "note": "a \"quoted\" word" });
    let new = NewAudit { actor: "operator".into(), action: "account.create", at: at(3), detail: detail.clone() };
    store.create_account(&new_account(1), &new).await.expect("the store answers");
    let trail = store.audit(&AuditQuery { limit: 10, ..AuditQuery::default() }).await.expect("the store answers");
    let [entry] = &trail[..] else { panic!("one line: {trail:?}") };
    let expected = AuditEntry {
        sequence: entry.sequence,
        at: at(3),
        actor: "operator".into(),
        action: "account.create".into(),
        account: Some(account_id(1)),
        key: None,
        detail,
    };
    assert_eq!(entry, &expected);
}

async fn lines_are_listed_newest_first_in_pages(store: Arc<dyn Store>) {
    for number in 1..=3 {
        let id = make_account(&*store, number).await.id;
        make_key(&*store, number, id).await;
    }
    let all = store.audit(&AuditQuery { limit: 100, ..AuditQuery::default() }).await.expect("the store answers");
    assert_eq!(all.len(), 6);
    assert!(all.windows(2).all(|pair| pair[0].sequence > pair[1].sequence), "newest first");

    let mut paged = Vec::new();
    loop {
        let before = paged.last().map(|entry: &AuditEntry| entry.sequence);
        let query = AuditQuery { account: None, before, limit: 4 };
        let page = store.audit(&query).await.expect("the store answers");
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);

    let query = AuditQuery { account: Some(account_id(2)), before: None, limit: 100 };
    let own = store.audit(&query).await.expect("the store answers");
    assert_eq!(own.iter().map(|entry| &*entry.action).collect::<Vec<_>>(), ["key.create", "account.create"]);
}
