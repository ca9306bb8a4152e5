//! The inbox: listed, read, taken under a lease, confirmed.

use edged_rpc::{InboxConfirm, InboxFilter, InboxList, InboxTake, LeaseState, Paging};
use relay_core::change::{Change, Due, OwedRow, Part};
use relay_core::delivery::State;
use relay_core::id::{LaneNo, NodeNo, PackNo, SegmentId, Sequence, StagedId, Ticket};
use relay_core::ledger::{Ledger, Options, Staged};
use relay_core::pack::{Builder, Built, encode_meta};
use relay_core::segment::{Digest, Meta, PackInfo};
use relay_core::time::Unix;

use crate::world::{Home, bytes, refused, to_beta};

const BETA: NodeNo = NodeNo(1);
const LANE: LaneNo = LaneNo(1);

/// A home whose ledger holds `bodies` as they would have arrived from beta.
pub(crate) fn with_arrivals(bodies: &[&[u8]]) -> (Home, Vec<SegmentId>) {
    let (home, mut ids) = with_packs(&[bodies]);
    (home, ids.pop().expect("one pack"))
}

/// The same for several packs.
pub(crate) fn with_packs(packs: &[&[&[u8]]]) -> (Home, Vec<Vec<SegmentId>>) {
    let home = Home::new();
    edged::lock::StateLock::take(&home.config.node.state_dir).expect("ours");
    let mut options = Options::new(home.config.node.id.clone(), 256 << 20, 7);
    options.log_file_bytes = home.config.storage.log_file().0;
    let now = edged::clock::now().unix;
    let opened = Ledger::open(&home.config.node.state_dir, options, now);
    let (mut ledger, _) = opened.expect("a new ledger");
    let mut changes = vec![
        Change::Node(BETA, "beta".parse().expect("a node")),
        Change::Lane(LANE, "default".parse().expect("a lane")),
    ];
    let (mut bytes, mut ids) = (Vec::new(), Vec::new());
    for (n, bodies) in (1..).zip(packs) {
        let (built, members) = pack(bodies, Unix(now.0 + n));
        changes.push(Change::Pack {
            no: PackNo(n),
            staged: StagedId(n),
            info: info(&built, now),
        });
        changes.push(Change::Owed(row(PackNo(n), &built, now)));
        bytes.push(built.bytes);
        ids.push(members);
    }
    let mut staged = |id: StagedId| bytes.get(id.0 as usize - 1).cloned().map(Staged::Memory);
    let report = ledger.commit(&[(Ticket(1), changes)], &mut staged, now);
    assert!(report.expect("stored").refused.is_empty());
    (home, ids)
}

fn pack(bodies: &[&[u8]], now: Unix) -> (Built, Vec<SegmentId>) {
    let meta = encode_meta(&Meta {
        topic: "meter/daily".parse().ok(),
        labels: vec![("unit".into(), "kWh".into())],
    });
    let mut builder = Builder::new();
    let mut push = |body: &&[u8]| builder.push(SegmentId::v7(now.0, 77), &meta, body);
    let ids = bodies.iter().map(&mut push).collect();
    (builder.finish().expect("it has members"), ids)
}

fn info(built: &Built, now: Unix) -> PackInfo {
    let table = &built.bytes[..built.table_len as usize];
    PackInfo {
        lane: LANE,
        origin: BETA,
        via: BETA,
        hops: 0,
        sequence: Sequence::of(PackNo(1)),
        count: built.count,
        bytes: built.bytes.len() as u64 - u64::from(built.table_len),
        table_len: built.table_len,
        table: Digest::of(table),
        first: built.first,
        last: built.last,
        created: now,
        expires: None,
    }
}

fn row(pack: PackNo, built: &Built, now: Unix) -> OwedRow {
    OwedRow {
        due: Due {
            peer: NodeNo::LOCAL,
            pack,
            part: Part::Rest,
        },
        lane: LANE,
        count: built.count,
        bytes: built.bytes.len() as u64 - u64::from(built.table_len),
        state: State::Scheduled,
        spent: 0,
        attempt: None,
        rescued: false,
        held: false,
        standby: false,
        stuck: false,
        acked_late: false,
        evicted: false,
        expires: None,
        left: 0,
        place: None,
        queued: now,
        updated: now,
        error: None,
    }
}

fn take(max: u32) -> InboxTake {
    InboxTake {
        max,
        ..InboxTake::default()
    }
}

fn list() -> InboxList {
    InboxList {
        page: Paging {
            limit: 100,
            after: None,
        },
        ..InboxList::default()
    }
}

#[test]
fn what_arrived_is_listed_and_read_without_a_lease() {
    let (home, ids) = with_arrivals(&[b"one", b"", b"three"]);
    let daemon = home.start();
    let mut client = daemon.client();

    let page = client.inbox(&list()).expect("a page");
    let mut back = Vec::new();
    let view = client
        .inbox_get(&ids[2].to_string(), &mut back)
        .expect("here");

    assert_eq!((page.items.len(), page.total), (3, 3));
    let first = &page.items[0];
    assert_eq!(
        (first.origin.as_str(), first.via.as_str()),
        ("beta", "beta")
    );
    assert_eq!(first.topic.as_deref(), Some("meter/daily"));
    assert_eq!(first.state, LeaseState::Ready);
    assert_eq!(back, b"three");
    assert_eq!(view.state, LeaseState::Ready);
}

#[test]
fn an_item_is_taken_once_and_confirmed_once() {
    let (home, ids) = with_arrivals(&[b"one", b"", b"three"]);
    let daemon = home.start();
    let mut client = daemon.client();

    let taken = client.take(&take(2)).expect("items");
    let rest = client.take(&take(10)).expect("items");
    let nothing = client.take(&take(10)).expect("none");

    let bodies: Vec<&[u8]> = taken
        .iter()
        .chain(&rest)
        .map(|(_, body)| &body[..])
        .collect();
    assert_eq!(bodies, [&b"one"[..], b"", b"three"]);
    assert!(
        taken
            .iter()
            .all(|(item, _)| item.state == LeaseState::Leased)
    );
    assert!(nothing.is_empty());
    let first = taken[0].0.segment_id;
    let done = client.confirm(&[first]).expect("confirmed");
    assert_eq!((done.confirmed, done.already), (1, 0));
    let which = InboxConfirm {
        prefixes: vec![ids[0].to_string(), ids[1].to_string(), "seg-ffff".into()],
        ..InboxConfirm::default()
    };
    let again = client.confirm_with(which).expect("confirmed");
    assert_eq!((again.confirmed, again.already), (1, 1));
    assert_eq!(again.unknown, ["seg-ffff"]);
}

#[test]
fn leases_and_confirmations_outlive_the_daemon() {
    let (home, ids) = with_arrivals(&[b"one", b"two"]);
    let daemon = home.start();
    let mut client = daemon.client();
    client.take(&take(2)).expect("items");
    client
        .confirm(&[edged_rpc::Id(ids[0].0)])
        .expect("confirmed");
    drop(client);
    daemon.stop();

    let daemon = home.start();

    let mut client = daemon.client();
    let page = client.inbox(&list()).expect("a page");
    let states: Vec<_> = page
        .items
        .iter()
        .map(|item| (item.segment_id.0, item.state))
        .collect();
    assert!(
        states.contains(&(ids[0].0, LeaseState::Confirmed)),
        "{states:?}"
    );
    assert!(
        states.contains(&(ids[1].0, LeaseState::Leased)),
        "{states:?}"
    );
    assert!(client.take(&take(2)).expect("none").is_empty());
}

#[test]
fn a_filter_takes_only_what_it_asks_for() {
    let (home, _) = with_arrivals(&[b"one"]);
    let daemon = home.start();
    let mut client = daemon.client();
    let mut takes = |change: &dyn Fn(&mut InboxFilter)| {
        let mut which = take(10);
        change(&mut which.filter);
        client.take(&which).expect("an answer").len()
    };

    assert_eq!(takes(&|f| f.origin = Some("gamma".into())), 0);
    assert_eq!(takes(&|f| f.lane = Some("bulk".into())), 0);
    assert_eq!(takes(&|f| f.topic = Some("meter/hourly".into())), 0);
    assert_eq!(takes(&|f| f.topic = Some("meter/**".into())), 1);
}

#[test]
fn many_small_items_and_large_ones_come_in_one_take() {
    let small: Vec<Vec<u8>> = (0..900).map(|n| vec![n as u8; n % 50]).collect();
    let small: Vec<&[u8]> = small.iter().map(Vec::as_slice).collect();
    let large = bytes(700 << 10);
    let mut packs: Vec<&[&[u8]]> = small.chunks(300).collect();
    let one: [&[u8]; 1] = [&large];
    packs.insert(1, &one);
    packs.insert(2, &one);
    let (home, _) = with_packs(&packs);
    let daemon = home.start();
    let mut client = daemon.client();

    let taken = client.take(&take(2000)).expect("items");

    assert_eq!(taken.len(), 902);
    for ((item, body), sent) in taken.iter().zip(packs.concat()) {
        assert_eq!(item.len, body.len() as u64);
        assert!(body == sent, "{} differs", item.segment_id);
    }
}

#[test]
fn what_is_not_in_the_inbox_is_not_given() {
    let (home, _) = with_arrivals(&[b"one"]);
    let daemon = home.start();
    let mut client = daemon.client();
    let put = client.put(&to_beta(), b"outgoing").expect("put");

    let error = refused(client.inbox_get(&put.segment_id.to_string(), std::io::sink()));

    assert_eq!(error.code, "no_such_segment");
    let error = refused(client.inbox_get("seg-", std::io::sink()));
    assert_eq!(error.code, "bad_id");
}
