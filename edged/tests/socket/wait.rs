//! Waiting for arrivals.

use std::time::Instant;

use edged_rpc::{Followed, InboxTake, InboxWait, LeaseState, Paging};

use crate::inbox::{with_arrivals, with_packs};
use crate::world::{Home, PATIENCE};

fn wait(limit: u32, after: Option<String>) -> InboxWait {
    InboxWait {
        seconds: 0,
        page: Paging { limit, after },
        ..InboxWait::default()
    }
}

#[test]
fn a_window_on_the_inbox_shows_each_item_once_whatever_becomes_of_it() {
    let (home, ids) = with_packs(&[&[b"a", b"b", b"c"], &[b"d", b"e"]]);
    let daemon = home.start();
    let mut client = daemon.client();
    let (mut seen, mut after) = (Vec::new(), None);

    loop {
        let page = client.wait(&wait(2, after.clone())).expect("a page");
        seen.extend(page.items.iter().map(|item| item.segment_id.0));
        // The rows of what was just seen are split while the window moves on.
        if let Some(item) = page.items.first() {
            client.confirm(&[item.segment_id]).expect("confirmed");
        }
        if page.items.is_empty() {
            break;
        }
        after = page.next.or(after);
    }

    let all: Vec<[u8; 16]> = ids.concat().iter().map(|id| id.0).collect();
    assert_eq!(seen, all);
}

#[test]
fn a_wait_for_work_passes_over_what_is_taken_or_done() {
    let (home, ids) = with_arrivals(&[b"a", b"b", b"c"]);
    let daemon = home.start();
    let mut client = daemon.client();
    client
        .confirm(&[edged_rpc::Id(ids[0].0)])
        .expect("confirmed");
    let ready = |page| InboxWait {
        ready: true,
        ..page
    };

    let found = client.wait(&ready(wait(10, None))).expect("a page");
    let take = InboxTake {
        max: 10,
        ..InboxTake::default()
    };
    client.take(&take).expect("taken");
    let none = client.wait(&ready(wait(10, None))).expect("a page");
    let window = client.wait(&wait(10, None)).expect("a page");

    assert_eq!(found.items.len(), 2);
    assert_eq!(none.items, []);
    let states: Vec<LeaseState> = window.items.iter().map(|item| item.state).collect();
    assert_eq!(
        states,
        [
            LeaseState::Confirmed,
            LeaseState::Leased,
            LeaseState::Leased
        ]
    );
}

#[test]
fn a_follower_works_off_what_is_there_and_parks_what_it_cannot_use() {
    let (home, ids) = with_arrivals(&[b"good", b"bad", b"last"]);
    let daemon = home.start();
    let mut client = daemon.client();
    let mut heard = Vec::new();

    client
        .follow(&InboxTake::default(), |item, body| {
            let mut bytes = Vec::new();
            body.copy_to(&mut bytes)?;
            heard.push(item.segment_id.0);
            Ok(match bytes.as_slice() {
                b"bad" => Followed::Again,
                b"last" => Followed::Last,
                _ => Followed::Done,
            })
        })
        .expect("followed");
    let refused = client.refuse(&[edged_rpc::Id(ids[1].0)]).expect("parked");
    let again = client.refuse(&[edged_rpc::Id(ids[1].0)]).expect("parked");
    let window = client.wait(&wait(10, None)).expect("a page");

    assert_eq!(heard, ids.iter().map(|id| id.0).collect::<Vec<_>>());
    assert_eq!((refused.confirmed, again.already), (1, 1));
    let states: Vec<LeaseState> = window.items.iter().map(|item| item.state).collect();
    assert_eq!(
        states,
        [
            LeaseState::Confirmed,
            LeaseState::Refused,
            LeaseState::Confirmed
        ]
    );
}

#[test]
fn a_wait_ends_when_the_daemon_does() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    let long = InboxWait {
        seconds: 20,
        ..wait(1, None)
    };
    let begun = Instant::now();
    let waiting = std::thread::spawn(move || client.wait(&long));

    daemon.stop();

    let ended = waiting.join().expect("no panic");
    assert!(ended.is_err(), "{ended:?}");
    assert!(begun.elapsed() < PATIENCE);
}
