//! The documentation of the control plane's codes.

use std::collections::BTreeSet;

use tollgate_admin_api::ProblemCode;

#[test]
fn every_code_stands_in_the_documentation_with_its_status() {
    let text = include_str!("../../../docs/ERRORS.md");
    let (_, section) = text.split_once("## From the operator API").expect("the section is there");
    let rows = section.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.trim_end_matches('`'), cells.next()?.parse::<u16>().ok()?))
    });
    let documented: BTreeSet<(&str, u16)> = rows.collect();
    // These mean what they mean at the gate, and are only named in the section's text.
    let shared = ["missing_key", "invalid_key", "account_disabled", "invalid_token", "not_allowed", "upgrade_required"];
    let ours: BTreeSet<(&str, u16)> = ProblemCode::ALL
        .iter()
        .map(|code| (code.as_str(), code.status().as_u16()))
        .filter(|(code, _)| !shared.contains(code))
        .collect();
    assert_eq!(documented, ours);
    for code in shared {
        assert!(section.contains(&format!("`{code}`")), "{code} is named");
    }
}
