//! What operators did is told, counted, checked and pruned.

use edged::chronicle;
use edged_rpc::{
    AuditAsk, AuditFilter, AuditPrune, AuditQuery, Paging, RelayPause, RelayResume, Response, Scope,
};
use relay_core::ledger::Reader;

use crate::world::Home;

fn events(filter: AuditFilter) -> AuditQuery {
    AuditQuery {
        filter,
        page: Paging {
            limit: 50,
            after: None,
        },
    }
}

#[test]
fn an_order_is_in_the_chain_with_who_and_why() {
    let home = Home::with("");
    let daemon = home.start();
    let mut client = daemon.client();
    let scope = Scope {
        peer: Some("beta".into()),
        lane: None,
    };
    let pause = RelayPause {
        scope: scope.clone(),
        ..RelayPause::default()
    };

    client.pause(pause).expect("it is paused");
    client.resume(RelayResume { scope }).expect("it is resumed");
    let only = AuditFilter {
        event_type: Some("relay.*ed".into()),
        category: Some("relay".into()),
        ..AuditFilter::default()
    };
    let page = client.audit(&events(only)).expect("entries");
    let verdict = client.audit_verify().expect("a verdict");
    let sums = client.audit_summary(&AuditFilter::default()).expect("sums");

    let names: Vec<_> = page
        .items
        .iter()
        .map(|entry| entry.event_name.as_str())
        .collect();
    assert_eq!(names[..2], ["relay.resumed", "relay.paused"]);
    assert_eq!(
        page.items[1].uid,
        Some(nix::unistd::Uid::current().as_raw())
    );
    assert_eq!(
        (
            page.items[1].resource_type.as_str(),
            page.items[1].action.as_str()
        ),
        ("peer", "paused")
    );
    assert!(
        verdict.holds && verdict.seq == sums.total,
        "{verdict:?} {sums:?}"
    );
}

#[test]
fn pruning_leaves_a_chain_that_holds_and_a_dry_run_leaves_all() {
    let home = Home::with("");
    let daemon = home.start();
    let mut client = daemon.client();
    let all = |client: &mut edged_rpc::Client| client.audit_export(0).expect("entries").items;
    let before = all(&mut client);
    let now = AuditPrune {
        older_than_seconds: 0,
        force: false,
        upto: None,
    };

    // Entries of this very millisecond are not older than now.
    let planned = loop {
        let planned = client.audit_prune(&now).expect("a plan");
        if planned.count > 0 {
            break planned;
        }
        std::thread::yield_now();
    };
    assert_eq!(all(&mut client), before);
    let other = client.audit_prune(&AuditPrune {
        upto: Some(99),
        ..now.clone()
    });
    let pruned = client
        .audit_prune(&AuditPrune { force: true, ..now })
        .expect("pruned");
    let left = all(&mut client);
    let verdict = client.audit_verify().expect("a verdict");

    assert!(other.is_err(), "{other:?}");
    assert_eq!((planned.applied, pruned.applied), (false, true));
    assert_eq!(left.last().expect("one").event_name, "audit.pruned");
    assert_eq!(left.first().expect("one").seq, pruned.upto + 1);
    assert!(
        verdict.holds && verdict.pruned == pruned.upto,
        "{verdict:?}"
    );
}

#[test]
fn the_files_say_what_the_daemon_said() {
    let home = Home::with("");
    let daemon = home.start();
    let mut client = daemon.client();
    let told = client
        .audit(&events(AuditFilter::default()))
        .expect("entries");
    drop(client);
    let state = &home.config.node.state_dir;
    daemon.stop();

    let mut reader = Reader::of_folder(state).expect("a ledger");
    let ask = AuditAsk::Query(events(AuditFilter::default()));
    let Ok(Response::Audit(read)) = chronicle::answer(&mut reader, &ask) else {
        panic!("no entries");
    };
    let Ok(Response::AuditVerdict(verdict)) = chronicle::answer(&mut reader, &AuditAsk::Verify)
    else {
        panic!("no verdict");
    };

    assert_eq!(read.items, told.items);
    assert!(verdict.holds, "{verdict:?}");
}
