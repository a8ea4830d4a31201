//! Plans and routes that most tests run under.

/// `free` without the API, `pro`, `team` above it with a feature, anonymous callers at 30 a minute; routes of each access.
pub const STANDARD: &str = r#"
[accounts]
default_plan = "free"

[plans.public]
rate = "30/minute"
[plans.free]
api = false
[plans.pro]
rank = 1
rate = "600/minute"
burst = 60
quota = "10_000/month"
[plans.team]
rank = 2
rate = "3_000/minute"
burst = 300
quota = "100_000/month"
features = ["llm"]

[[routes]]
name = "public-feed"
path = "/events/public"
access = "public"
[[routes]]
name = "auth"
path = "/auth/*"
access = "pass"
[[routes]]
name = "reports"
path = "/reports/*"
min_plan = "team"
[[routes]]
name = "llm"
path = "/llm/*"
feature = "llm"
[[routes]]
name = "events"
path = "/events/*"
"#;

/// One plan and no route: whatever the plan says holds everywhere.
pub fn one_plan(limits: &str) -> String {
    format!("[plans.pro]\n{limits}\n")
}
