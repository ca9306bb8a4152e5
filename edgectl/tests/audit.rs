//! Whom `--operator` names: who asks, or, behind `audit query`, who did what is asked about.

#[path = "../../edged/rpc/tests/fake/mod.rs"]
mod fake;
mod sample;

use std::process::Command;

use edged_rpc::*;
use fake::{Fake, welcome};
use sample::*;

/// Who asks and by whom the entries are to be, as a daemon hears it of this line, typed
/// where the environment says this.
fn heard(line: &str, env: Option<&str>) -> (Option<String>, Option<String>) {
    let (tell, told) = std::sync::mpsc::channel();
    let fake = Fake::run_raw(move |daemon| {
        let hello: Hello = frame::decode(&daemon.raw()).expect("a hello");
        daemon.send(&Greeting::Welcome(welcome(VERSION)));
        let request = daemon.hear();
        let (filter, answer) = if let Request::Audit(AuditAsk::Query(query)) = request {
            let (items, total, next) = (vec![], 0, None);
            (query.filter, Response::Audit(Page { items, total, next }))
        } else if let Request::Audit(AuditAsk::Summary(filter)) = request {
            (filter, Response::AuditSums(AuditSums::default()))
        } else {
            assert_eq!(request, Request::Version);
            (AuditFilter::default(), Response::Version(version()))
        };
        daemon.say(&answer);
        tell.send((hello.operator, filter.operator)).expect("heard");
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgectl"));
    command
        .args(line.split(' '))
        .env("EDGED_SOCKET", &fake.socket)
        .env_remove("AUTONOMY_OPERATOR")
        .envs(env.map(|name| ("AUTONOMY_OPERATOR", name)));
    let done = command.output().expect("the binary runs");
    assert!(done.status.success(), "{line}: {done:?}");
    fake.finish();
    told.recv().expect("it was heard")
}

#[test]
fn behind_an_audit_query_it_is_a_filter_and_everywhere_else_a_label() {
    let cases = [
        ("audit query", None, (None, None)),
        ("audit query", Some("ann"), (Some("ann"), None)),
        ("audit query --operator bob", None, (None, Some("bob"))),
        ("audit query --by bob", None, (None, Some("bob"))),
        ("audit summary --operator=bob", None, (None, Some("bob"))),
        ("--operator ann audit query", None, (Some("ann"), None)),
        ("audit --operator ann query", None, (Some("ann"), None)),
        ("--operator ann version", None, (Some("ann"), None)),
        ("version --operator ann", None, (Some("ann"), None)),
        ("version --operator ann", Some("eve"), (Some("ann"), None)),
    ];
    let owned = |name: Option<&str>| name.map(str::to_owned);

    for (line, env, (asks, did)) in cases {
        assert_eq!(
            heard(line, env),
            (owned(asks), owned(did)),
            "{line}, {env:?}"
        );
    }
    // A filter beside a label is a filter, whatever becomes of the label.
    let both = heard("audit query --operator bob", Some("ann"));
    assert_eq!(both.1.as_deref(), Some("bob"));
    let both = heard("--operator ann audit query --operator bob", None);
    assert_eq!(both.1.as_deref(), Some("bob"));
}

#[test]
fn the_help_of_a_query_says_what_it_filters() {
    let said = edgectl_at("/nowhere".as_ref(), &["audit", "query", "--help"], b"");

    said.has("Only by this operator");
    assert!(
        !said.out.contains("Who asks, for the audit"),
        "{}",
        said.out
    );
}
