//! Who is said to have done what: `--operator` on an order, and behind `audit query`.

use std::collections::BTreeSet;

use edgectl::Exit;
use harness::daemon::{Node, Site};
use serde_json::Value;

use super::{CTL, NODE};

#[test]
fn an_audit_query_gives_what_one_operator_did_and_nothing_of_others() {
    let mut site = Site::new();
    let mut alpha = Node::new(NODE, site.home("alpha", &[]));
    alpha.start();
    let must = |line: &str| {
        let said = CTL.ask(alpha.home.socket(), line);
        assert_eq!(said.exit, Exit::Done, "{line}: {said:?}");
        said.out
    };
    let query = |line: &str| -> Vec<(String, String)> {
        let page: Value = serde_json::from_str(&must(line)).expect("JSON");
        let rows = page["items"].as_array().expect("rows").iter();
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        rows.map(|row| (text(row, "actor"), text(row, "event_name")))
            .collect()
    };

    must("--operator ann relay pause --lane bulk");
    must("relay resume --lane bulk --operator bob");
    must("relay pause --lane bulk");

    let row = |who: &str, what: &str| (who.to_owned(), what.to_owned());
    let by_ann = query("audit query --operator ann --json");
    assert_eq!(by_ann, [row("ann", "relay.paused")]);
    let by_bob = query("audit query --by bob --json");
    assert_eq!(by_bob, [row("bob", "relay.resumed")]);
    assert_eq!(query("audit query --operator eve --json"), []);
    let all = query("--operator ann audit query --json");
    let who: BTreeSet<&str> = all.iter().map(|(who, _)| who.as_str()).collect();
    assert!(who.is_superset(&["", "ann", "bob"].into()), "{all:?}");
    alpha.end().terminate();
}
