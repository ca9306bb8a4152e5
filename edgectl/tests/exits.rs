//! How commands end: each exit code, each form of error, and the binary itself.

#[path = "../../edged/rpc/tests/fake/mod.rs"]
mod fake;
mod sample;

use std::path::Path;
use std::process::Command;

use edgectl::Exit;
use edged_rpc::{ErrorKind, Greeting, Hello, Response, RpcError};
use fake::{Fake, welcome};
use sample::*;

/// Runs `peer list` against a daemon that says no in this way.
fn refused(kind: ErrorKind, extra: &[&str]) -> Said {
    let fake = Fake::run(move |daemon| {
        daemon.hear();
        let error = RpcError::new(kind, "some_code", "found\x1b[2J this").with_hint("try that");
        daemon.say(&Response::Error(error));
    });
    let said = edgectl_at(&fake.socket, &[&["peer", "list"], extra].concat(), b"");
    fake.finish();
    said
}

#[test]
fn each_kind_of_no_has_its_code() {
    let kinds = [
        (ErrorKind::Refused, Exit::Refused),
        (ErrorKind::NotFound, Exit::NotFound),
        (ErrorKind::Permission, Exit::Permission),
        (ErrorKind::Unsupported, Exit::Refused),
        (ErrorKind::Invalid, Exit::Usage),
        (ErrorKind::Failed, Exit::Refused),
    ];

    for (kind, exit) in kinds {
        let text = "edgectl: found\\u{1b}[2J this (some_code)\nhint: try that\n";
        refused(kind, &[]).is(exit, "", text);
    }
    refused(ErrorKind::NotFound, &["--json"]).is(
        Exit::NotFound,
        "",
        "{\"error\":{\"code\":\"some_code\",\"message\":\"found\\u001b[2J this\",\"hint\":\"try that\"}}\n",
    );
}

#[test]
fn no_daemon_is_3() {
    let dir = tempfile::tempdir().expect("a temporary folder");

    let said = edgectl_at(&dir.path().join("rpc.sock"), &["relay", "status"], b"");

    assert_eq!((said.exit, said.out.as_str()), (Exit::NoDaemon, ""));
    said.errs("edgectl: no daemon at ");
    assert!(said.err.contains("(no_daemon)\nhint: "), "{}", said.err);
}

#[test]
fn silence_is_6() {
    let fake = Fake::run(|daemon| daemon.until_gone());

    let said = edgectl_at(&fake.socket, &["peer", "list", "--timeout", "50ms"], b"");

    assert_eq!(said.exit, Exit::TimedOut);
    said.errs("edgectl: no progress for 50ms (timed_out)\n");
    fake.finish();
}

#[test]
fn a_caller_turned_away_is_5() {
    let fake = Fake::run_raw(|daemon| {
        daemon.raw();
        let error = RpcError::new(ErrorKind::Permission, "not_in_group", "uid 7 may not");
        daemon.send(&Greeting::Refused(error));
    });

    let said = edgectl_at(&fake.socket, &["peer", "list"], b"");

    said.is(
        Exit::Permission,
        "",
        "edgectl: uid 7 may not (not_in_group)\n",
    );
    fake.finish();
}

#[test]
fn wrong_usage_is_2() {
    let wrong: [&[&str]; 8] = [
        &["segment", "put"],
        &["segment", "put", "--peer", "b", "--route", "r"],
        &["segment", "put", "--peer", "b", "--label", "k"],
        &["segment", "put", "--peer", "b", "--success", "0"],
        &["relay", "list", "--state", "lost"],
        &["relay", "list", "--limit", "1001"],
        &["peer", "list", "--timeout", "10"],
        &["polish"],
    ];

    for args in wrong {
        let said = edgectl_at(Path::new("/nowhere"), args, b"");
        assert_eq!(said.exit, Exit::Usage, "{args:?}");
        assert_eq!(said.out, "");
        said.errs("edgectl: ");
        assert!(said.err.contains(" (usage)\n"), "{}", said.err);
    }
    edgectl_at(Path::new("/nowhere"), &["polish", "--output", "json"], b"")
        .errs("{\"error\":{\"code\":\"usage\",");
}

#[test]
fn a_file_that_cannot_be_read_is_refused_before_the_daemon_is_asked() {
    let said = edgectl_at(
        Path::new("/nowhere"),
        &["segment", "put", "/nowhere", "--peer", "b"],
        b"",
    );

    assert_eq!(said.exit, Exit::Refused);
    said.errs("edgectl: cannot read /nowhere: No such file or directory");
}

#[test]
fn help_is_data_and_done() {
    let said = edgectl_at(Path::new("/nowhere"), &["segment", "put", "--help"], b"");

    said.has("Store a segment for delivery and print its id");
    said.has("--success");
    assert_eq!(said.err, "");
}

#[test]
fn the_binary_says_who_asks_and_why_and_ends_with_the_code() {
    let fake = Fake::run_raw(|daemon| {
        let hello: Hello = edged_rpc::frame::decode(&daemon.raw()).expect("a hello");
        assert_eq!(hello.operator.as_deref(), Some("ann"));
        assert_eq!(hello.reason.as_deref(), Some("a test"));
        daemon.send(&Greeting::Welcome(welcome(1)));
        daemon.hear();
        daemon.say(&Response::Error(RpcError::new(
            ErrorKind::NotFound,
            "no_such_segment",
            "none",
        )));
    });

    let done = Command::new(env!("CARGO_BIN_EXE_edgectl"))
        .args(["segment", "inspect", "seg-01", "--reason", "a test"])
        .env("EDGED_SOCKET", &fake.socket)
        .env("AUTONOMY_OPERATOR", "ann")
        .output()
        .expect("the binary runs");

    assert_eq!(done.status.code(), Some(4));
    assert_eq!(
        String::from_utf8_lossy(&done.stderr),
        "edgectl: none (no_such_segment)\n"
    );
    assert!(done.stdout.is_empty());
    fake.finish();
}
