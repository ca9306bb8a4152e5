//! Three real nodes in a row: what is put at alpha goes by a route to beta, and by
//! beta's route to gamma, who may be away while beta may die.
//!
//! What arrived is read from gamma's disk, every byte hashed anew.

use std::collections::{BTreeMap, BTreeSet};

use edged_rpc::{Client, ClientError, InboxList, Paging, PutOptions, Target};
use harness::daemon::{Node, PATIENCE, Site, Witness};
use harness::files::Body;
use harness::proxy::Proxy;
use harness::seeds::Dice;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// Log files of 32 MiB, not 64: less to fill ahead.
const SMALLER: &str = "[storage]\nmax_bytes = \"1GiB\"\n";

/// Fields drop in order: the processes end before the folder goes.
struct Chain {
    alpha: Node,
    beta: Node,
    gamma: Node,
    before: [Proxy; 3],
    _site: Site,
}

impl Chain {
    fn new(seed: u64) -> Self {
        let mut site = Site::new();
        let before = [Proxy::new(seed), Proxy::new(seed ^ 1), Proxy::new(seed ^ 2)];
        let at = |n: usize| before[n].address();
        let alpha = site.home("alpha", &[("beta", at(1))]);
        let beta = site.home("beta", &[("alpha", at(0)), ("gamma", at(2))]);
        let gamma = site.home("gamma", &[("beta", at(1))]);
        let route = |name: &str, topic: &str, peer: &str| {
            format!(
                "{SMALLER}\n[[routes]]\nname = {name:?}\nmatch = {{ topic = {topic:?} }}\npeers = [{peer:?}]\n"
            )
        };
        alpha.configure("10-test", &route("north", "meter/**", "beta"));
        beta.configure("10-test", &route("further", "meter/*", "gamma"));
        gamma.configure("10-test", SMALLER);
        gamma.configure_peers("forward_for = [\"alpha\"]");
        let node = |home| Node::new(NODE, home);
        Self {
            alpha: node(alpha),
            beta: node(beta),
            gamma: node(gamma),
            before,
            _site: site,
        }
    }

    fn start(&mut self, n: usize) {
        let node = match n {
            0 => &mut self.alpha,
            1 => &mut self.beta,
            _ => &mut self.gamma,
        };
        node.start();
        let quic = node.process().quic();
        self.before[n].aim(quic);
    }
}

fn by_route(name: &str, topic: &str) -> PutOptions {
    PutOptions {
        target: Target::Route(name.to_owned()),
        topic: Some(topic.to_owned()),
        ..PutOptions::to_peer("beta")
    }
}

fn put_all(
    client: &mut Client,
    options: &PutOptions,
    seed: u64,
    count: u64,
) -> BTreeMap<[u8; 16], Body> {
    let mut dice = Dice::new(seed);
    let mut put = BTreeMap::new();
    for _ in 0..count {
        let body = Body {
            seed: dice.draw(),
            length: dice.spread(1, 256 << 10),
        };
        let accepted = client.put(options, &body.bytes()).expect("there is room");
        put.insert(accepted.segment_id.0, body);
    }
    put
}

#[test]
fn a_chain_of_three_delivers_once_though_its_end_is_away_and_its_middle_dies() {
    let mut chain = Chain::new(7);
    let options = by_route("north", "meter/7");
    chain.start(1);
    chain.start(0);

    let mut put = put_all(&mut chain.alpha.client(), &options, 1, 30);
    let first: BTreeSet<_> = put.keys().copied().collect();
    assert_eq!(chain.alpha.wait_at_rest(PATIENCE).acked, 30);
    assert!(chain.beta.books().waiting > 0, "gamma is away");
    chain.beta.end().kill9();
    chain.start(1);
    chain.start(2);
    put.extend(put_all(&mut chain.alpha.client(), &options, 2, 30));
    chain.beta.end().kill9();
    chain.start(1);
    put.extend(put_all(&mut chain.alpha.client(), &options, 3, 10));
    chain.gamma.end().kill9();
    chain.start(2);

    let at_alpha = chain.alpha.wait_at_rest(PATIENCE);
    let at_beta = chain.beta.wait_at_rest(PATIENCE);
    let counted = |books: &edged_rpc::BookView| (books.put, books.acked, books.deadletter);
    assert_eq!(counted(&at_alpha), (70, 70, 0));
    assert_eq!(
        counted(&at_beta),
        (70, 70, 0),
        "forwarded counts as put here"
    );
    in_put_order(&mut chain.gamma.client(), &first);
    for node in [&mut chain.alpha, &mut chain.beta, &mut chain.gamma] {
        node.end().terminate();
    }
    assert_eq!(
        Witness::of(&chain.beta.home).inbox().len(),
        0,
        "beta keeps none"
    );
    let found = Witness::of(&chain.gamma.home).inbox();
    assert_eq!(found.len(), put.len(), "each is there once");
    for item in &found {
        let body = put.get(&item.id).expect("it was put at alpha");
        assert_eq!((item.length, item.found), (body.length, body.digest()));
    }
}

/// What came to gamma says that it came by beta, and where alpha put it: each in a place
/// of its own, those of `first` before all that were put later.
fn in_put_order(gamma: &mut Client, first: &BTreeSet<[u8; 16]>) {
    let page = InboxList {
        page: Paging {
            limit: 100,
            after: None,
        },
        ..InboxList::default()
    };
    let found = gamma.inbox(&page).expect("the inbox").items;
    assert!(
        found
            .iter()
            .all(|item| (item.origin.as_str(), item.via.as_str()) == ("alpha", "beta"))
    );
    let mut places: Vec<(u64, bool)> = found
        .iter()
        .map(|item| (item.lane_sequence, !first.contains(&item.segment_id.0)))
        .collect();
    places.sort_unstable();
    assert!(
        places.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1),
        "{places:?}"
    );
    assert_eq!(
        places.iter().filter(|(_, later)| !later).count(),
        first.len()
    );
}

#[test]
fn a_put_that_no_route_takes_is_refused_by_name() {
    let mut chain = Chain::new(8);
    chain.start(0);
    let mut client = chain.alpha.client();
    let mut refusal = |options: &PutOptions| match client.put(options, b"x") {
        Err(ClientError::Refused(error)) => error.code,
        other => panic!("{other:?}"),
    };

    assert_eq!(refusal(&by_route("nowhere", "meter/7")), "unknown_route");
    let nobody = PutOptions {
        target: Target::Peers(Vec::new()),
        ..by_route("", "alarm/7")
    };
    assert_eq!(refusal(&nobody), "no_route");
    chain.alpha.end().terminate();
}
