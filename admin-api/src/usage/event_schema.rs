//! What a report of events looks like, for the document. What is read and refused stands in `event_rows`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::openapi::schema::{OneOfBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// What was used beside the gate: several events, or one.
pub(super) struct ReportSchema;

impl PartialSchema for ReportSchema {
    fn schema() -> RefOr<Schema> {
        let named = |name: &str| Ref::from_schema_name(name);
        OneOfBuilder::new().item(named(&EventsSchema::name())).item(named(&EventSchema::name())).into()
    }
}

impl ToSchema for ReportSchema {
    fn name() -> Cow<'static, str> {
        "UsageReportBody".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((EventsSchema::name().into(), EventsSchema::schema()));
        schemas.push((EventSchema::name().into(), EventSchema::schema()));
        EventsSchema::schemas(schemas);
    }
}

/// Several events: all of them are counted or none.
#[derive(ToSchema)]
#[schema(as = UsageEventsRequest, example = json!({ "events": [
    { "id": "job-17", "account": "ada@example.com", "type": "tokens", "quantity": 900, "dimensions": { "tier": 1 } },
    { "id": "job-18", "account": "ada@example.com", "meters": { "tokens": 1200 } },
] }))]
#[expect(dead_code, reason = "it describes what is read")]
pub(super) struct EventsSchema {
    #[schema(max_items = 1000)]
    events: Vec<EventSchema>,
}

/// One event. It counts at least one meter, by `type` or `meters`.
#[derive(ToSchema)]
#[schema(as = UsageEventRequest, example = json!({ "id": "job-17", "account": "ada@example.com", "type": "tokens" }))]
#[expect(dead_code, reason = "it describes what is read")]
pub(super) struct EventSchema {
    /// Unique in its account: an event is counted once, however often it is sent.
    #[schema(min_length = 1, max_length = 128)]
    id: String,
    /// Whose use it is, by id or e-mail; with a key it may be left out.
    account: Option<String>,
    /// The key it is counted for, by its id.
    key: Option<String>,
    /// The meter that `quantity` is counted on.
    r#type: Option<String>,
    /// Units of `type`; 1 if left out.
    #[schema(maximum = 1_000_000_000_000_u64)]
    quantity: Option<u64>,
    /// Units of further meters.
    meters: Option<BTreeMap<String, u64>>,
    /// When it happened, at most 35 days ago; now if left out. Its units are charged in the period open now.
    #[schema(format = DateTime)]
    at: Option<String>,
    /// What histories are grouped and filtered by: texts, numbers, true or false.
    #[schema(schema_with = crate::openapi::any_object)]
    dimensions: Option<Value>,
    /// Kept as it comes.
    #[schema(schema_with = crate::openapi::any_object)]
    metadata: Option<Value>,
}
