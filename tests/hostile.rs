//! A peer with a certificate that says what it likes: whatever it is, it is refused by
//! name, takes no more room than its share, ends nothing but its own conversation, and
//! keeps no other peer from delivering.

use std::time::{Duration, Instant};

use edged_rpc::{Id, PutOptions};
use harness::daemon::{
    Ctl, Intruder, Node, PATIENCE, Site, Witness, bytes, hello, to_beta, wait_for,
};
use harness::files::{Body, allocated};
use harness::proxy::Proxy;
use harness::seeds::say;
use relay_core::change::{Nack, Part};
use relay_core::event::BusyWhy;
use relay_core::id::{PackNo, ReceiptNo, SegmentId};
use relay_core::pack::{Builder, Built, single_table};
use relay_core::segment::Digest;
use relay_core::wire::{Ack, Durability, Frame, Goodbye, Members, PackHeader};

/// The binary under test, and `edgectl`.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
const CTL: Ctl = Ctl(env!("CARGO_BIN_EXE_relay-ctl"));
const MIB: u64 = 1 << 20;
/// What the victim may take on disk.
const CEILING: u64 = 256 * MIB;
/// What it may take in memory beyond what it took before: the room of one link (8 MiB),
/// its window (12 MiB), and what tasks and tables of one peer take.
const MEMORY: u64 = 32 * MIB;
/// Long enough for a stream that may be opened to be open.
const FOR_A_STREAM: Duration = Duration::from_secs(5);
/// Long enough for what is not refused to be taken.
const SOON: Duration = Duration::from_millis(200);

/// A victim, an honest peer of it, and the home of one that is not.
struct Scene {
    alpha: Node,
    beta: Node,
    mallory: harness::daemon::Home,
    at_rest: u64,
    /// Segments the honest peer has put.
    put: u64,
    _to_beta: Proxy,
    _site: Site,
}

impl Scene {
    fn new() -> Self {
        Self::with("")
    }

    fn with(toml: &str) -> Self {
        let mut site = Site::new();
        let (to_beta, nobody) = (Proxy::new(5), Proxy::new(6));
        let peers = [("alpha", nobody.address()), ("mallory", nobody.address())];
        let home = site.home("beta", &peers);
        home.configure(
            "10-test",
            &format!("[storage]\nmax_bytes = {CEILING}\n{toml}"),
        );
        let mut beta = Node::new(NODE, home);
        to_beta.aim(beta.start().process().quic());
        let home = site.home("alpha", &[("beta", to_beta.address())]);
        home.configure("10-test", "[lanes.odd]\nclass = 4\n");
        let mut alpha = Node::new(NODE, home);
        alpha.start();
        let mallory = site.home("mallory", &[("beta", to_beta.address())]);
        let mut scene = Self {
            alpha,
            beta,
            mallory,
            at_rest: 0,
            put: 0,
            _to_beta: to_beta,
            _site: site,
        };
        scene.deliver_some();
        scene.at_rest = scene.beta.process().memory("VmRSS");
        scene
    }

    fn intrude(&self) -> Intruder {
        self.intrude_with(77)
    }

    fn intrude_with(&self, ledger: u64) -> Intruder {
        Intruder::meet(&self.mallory, self.beta.process().quic(), ledger)
    }

    /// The honest peer puts these, and they arrive.
    fn deliver(&mut self, bodies: impl IntoIterator<Item = Vec<u8>>) -> Vec<Id> {
        self.deliver_as(&to_beta(), bodies)
    }

    fn deliver_as(
        &mut self,
        options: &PutOptions,
        bodies: impl IntoIterator<Item = Vec<u8>>,
    ) -> Vec<Id> {
        let put = self.alpha.client().put_many(options, bodies);
        let put = put.expect("it answers");
        assert_eq!(put.refused, vec![]);
        self.put += put.ids.len() as u64;
        let books = self.alpha.wait_at_rest(PATIENCE);
        assert_eq!((books.acked, books.deadletter), (self.put, 0));
        put.ids
    }

    /// The honest peer delivers small ones and a large one; how long that takes.
    fn deliver_some(&mut self) -> Duration {
        let begun = Instant::now();
        let seed = self.put << 32;
        let small = (1..=100).map(|n| (seed + n, 1_000));
        let all = small.chain([(seed, 2 * MIB)]);
        self.deliver(all.map(|(seed, length)| Body { seed, length }.bytes()));
        begun.elapsed()
    }

    /// All that is promised of whoever is attacked.
    fn is_unharmed(&mut self, what: &str) {
        let took = self.deliver_some();
        let held = self.beta.process().memory("VmRSS");
        let disk = allocated(self.beta.home.state());
        say(&format!(
            "  {what}: another peer's 101 segments took {took:.1?}; {} KiB more in memory, {} MiB on disk",
            held.saturating_sub(self.at_rest) >> 10,
            disk / MIB
        ));
        assert!(
            held <= self.at_rest + MEMORY,
            "{what}: {held} B in memory, {} before",
            self.at_rest
        );
        assert!(disk <= CEILING, "{what}: {disk} B on disk");
        assert!(self.beta.process().is_alive());
    }
}

/// A pack of these bodies with this metadata.
fn pack_with(meta: &[u8], bodies: &[&[u8]]) -> Built {
    let mut pack = Builder::new();
    for body in bodies {
        pack.push(SegmentId::v7(1_700_000_000_000, 9), meta, body);
    }
    pack.finish().expect("it has members")
}

fn pack(bodies: &[&[u8]]) -> Built {
    pack_with(b"", bodies)
}

/// Metadata as postcard has it, whatever stands in it.
fn meta(topic: Option<&str>, labels: &[(&str, &str)]) -> Vec<u8> {
    postcard::to_stdvec(&(topic, labels)).expect("plain words")
}

#[track_caller]
fn refused(answer: &Frame, why: Nack) {
    let Frame::Ack(ack) = answer else {
        panic!("answered {answer:?}");
    };
    assert_eq!(ack.receipt, ReceiptNo(0), "nothing is stored");
    assert!(
        !ack.refused.is_empty() && ack.refused.iter().all(|(_, nack)| *nack == why),
        "{ack:?}"
    );
}

#[track_caller]
fn stored(answer: &Frame) {
    let Frame::Ack(ack) = answer else {
        panic!("answered {answer:?}");
    };
    assert!(
        ack.receipt > ReceiptNo(0) && ack.refused.is_empty(),
        "{ack:?}"
    );
}

#[track_caller]
fn closed(intruder: &Intruder, text: &str) {
    let (word, reason) = intruder.ended();
    assert_eq!(word, Goodbye::Protocol, "{reason}");
    assert!(reason.contains(text), "{reason}");
}

#[test]
fn what_it_may_not_send_is_refused_by_name_and_the_rest_is_stored() {
    let mut scene = Scene::new();
    let mut mallory = scene.intrude();

    let bodies = pack(&[b"one", b"two"]);
    let mut lie = bodies.clone();
    let mut spoiled = lie.bytes.to_vec();
    let at = lie.table_len as usize;
    spoiled[at..].copy_from_slice(b"onetwo".map(|b| b ^ 1).as_slice());
    lie.bytes = spoiled.into();
    let header = mallory.header(&lie);
    refused(&mallory.send(&header, &lie), Nack::BadDigest);

    for (origin, lane, hops, why) in [
        (Some("alpha"), "default", 1, Nack::NotAllowed),
        (Some("nobody"), "default", 1, Nack::NotAllowed),
        (None, "default", 200, Nack::HopLimit),
    ] {
        let header = PackHeader {
            origin: origin.map(|origin| origin.parse().expect("a node")),
            lane: lane.parse().expect("a lane"),
            hops,
            ..mallory.header(&bodies)
        };
        refused(&mallory.send(&header, &bodies), why);
    }

    let header = mallory.header(&bodies);
    stored(&mallory.send(&header, &bodies));
    // Under a number that was heard, ids are looked up.
    let other = pack(&[b"uno", b"due"]);
    let header = PackHeader {
        pack: header.pack,
        ..mallory.header(&other)
    };
    refused(&mallory.send(&header, &other), Nack::IdConflict);
    let mut lanes = 0;
    for n in 0..64 {
        let bodies = pack(&[&[n]]);
        let header = PackHeader {
            lane: format!("mallory-{n}").parse().expect("a lane"),
            ..mallory.header(&bodies)
        };
        match mallory.send(&header, &bodies) {
            Frame::Ack(ack) if ack.refused.is_empty() => lanes += 1,
            answer => refused(&answer, Nack::NotAllowed),
        }
    }
    assert_eq!(lanes, 16, "lanes that one peer may name first");
    let options = PutOptions {
        lane: "odd".to_owned(),
        ..to_beta()
    };
    scene.deliver_as(&options, [b"in a lane that beta does not know".to_vec()]);
    assert!(mallory.is_open(), "a refusal ends nothing");
    scene.is_unharmed("refusals");
}

#[test]
fn ids_of_another_peer_name_nothing_of_its() {
    let mut scene = Scene::new();
    let mut mallory = scene.intrude();
    let body = b"from alpha, says mallory";
    let id = scene.deliver([body.to_vec()])[0];

    let table = single_table(SegmentId(id.0), Digest::of(b"other"), 5, b"");
    let bytes: Vec<u8> = [&table[..], b"other"].concat();
    let other = Built {
        count: 1,
        table_len: table.len() as u32,
        bytes: bytes.into(),
        first: SegmentId(id.0),
        last: SegmentId(id.0),
    };
    let header = mallory.header(&other);
    stored(&mallory.send(&header, &other));

    scene.is_unharmed("another's id");
    let Scene { mut beta, .. } = scene;
    beta.end().terminate();
    let arrived = Witness::of(&beta.home).inbox();
    let same: Vec<_> = arrived.iter().filter(|item| item.id == id.0).collect();
    assert_eq!(same.len(), 2, "one of each origin");
    assert!(
        same.iter()
            .any(|item| item.found == *blake3::hash(body).as_bytes())
    );
}

#[test]
fn lies_about_lengths_and_places_end_that_conversation_by_name() {
    let mut scene = Scene::new();
    let sound = pack(&[b"one", b"two"]);
    let cases: [(&str, fn(&mut PackHeader), &str); 5] = [
        (
            "a body shorter than its table says",
            |h| h.body_len = 4,
            "bodies are",
        ),
        (
            "more members than a pack holds",
            |h| h.count = 1 << 20,
            "members",
        ),
        (
            "a table longer than a pack",
            |h| h.table_len = 1 << 30,
            "table of",
        ),
        (
            "bodies longer than a pack",
            |h| h.body_len = 1 << 40,
            "bodies of",
        ),
        (
            "members that are not there",
            |h| h.members = Members::Only(9),
            "members selected",
        ),
    ];
    for (what, lie, text) in cases {
        let mut mallory = scene.intrude();
        let mut header = mallory.header(&sound);
        lie(&mut header);
        let mut all = Vec::new();
        // What no encoder refuses is written as it is.
        all.extend_from_slice(&bytes(&Frame::Pack(header)));
        all.extend_from_slice(&sound.bytes);
        mallory.stream(&all, true, PATIENCE);
        let (word, reason) = mallory.ended();
        assert_eq!(word, Goodbye::Protocol, "{what}: {reason}");
        assert!(reason.contains(text), "{what}: {reason}");
    }

    let mut mallory = scene.intrude();
    let header = mallory.header(&sound);
    mallory.offer(&bytes(&Frame::Pack(header)), PATIENCE);
    closed(&mallory, "begins without an offer");

    let mut mallory = scene.intrude();
    let large = single_table(SegmentId::v7(1, 1), Digest::of(b"x"), 1 << 20, b"");
    let mut header = offer_header(&mut mallory, &large, 1 << 20);
    header.body_len = 2 << 20;
    let all = [bytes(&Frame::Offer(header)), large.to_vec()].concat();
    mallory.offer(&all, PATIENCE);
    closed(&mallory, "disagree about the length");

    let mut mallory = scene.intrude();
    mallory.stream(&u32::MAX.to_le_bytes(), false, PATIENCE);
    closed(&mallory, "at most");

    let mut mallory = scene.intrude();
    mallory.say(&hello("mallory".parse().expect("a node"), 77));
    closed(&mallory, "does not belong on the control stream");

    let mut mallory = scene.intrude();
    let again = bytes(&hello("mallory".parse().expect("a node"), 77));
    mallory.stream(&again, true, PATIENCE);
    closed(&mallory, "does not belong on a pack stream");

    scene.is_unharmed("lies about lengths");
}

fn offer_header(mallory: &mut Intruder, table: &[u8], length: u64) -> PackHeader {
    let none = pack(&[b""]);
    PackHeader {
        count: 1,
        table_len: table.len() as u32,
        body_len: length,
        ..mallory.header(&none)
    }
}

#[test]
fn topics_and_labels_that_are_paths_or_escapes_never_arrive() {
    let mut scene = Scene::new();
    let long = "x".repeat(300);
    for (topic, labels) in [
        (Some("/etc/passwd"), vec![]),
        (Some("..\\windows"), vec![]),
        (Some("~/.ssh/$(id)"), vec![]),
        (Some("\u{1b}[31mred"), vec![]),
        (Some("a\0b"), vec![]),
        (Some(long.as_str()), vec![]),
        (None, vec![("k", "\u{1b}]0;owned\u{7}")]),
        (None, vec![("k\n", "v")]),
        (None, vec![("k", long.as_str())]),
        (None, vec![("k", "v"); 17]),
    ] {
        let mut mallory = scene.intrude();
        let bad = pack_with(&meta(topic, &labels), &[b"body"]);
        let header = mallory.header(&bad);
        let all = [&bytes(&Frame::Pack(header))[..], &bad.bytes].concat();
        mallory.stream(&all, true, PATIENCE);
        closed(&mallory, "metadata of member 0");
    }
    // Known to the victim by then, which reads nothing of what is closed before.
    let mut mallory = scene.intrude();
    let sound = pack(&[b"here I am"]);
    let header = mallory.header(&sound);
    stored(&mallory.send(&header, &sound));
    mallory.close(b"\x1b[31mred\x1b]0;owned\x07\r\nERROR: fine");

    let log = wait_for("its last words", PATIENCE, || {
        let words = scene.beta.process().words();
        words.contains("ERROR: fine").then_some(words)
    });
    let said = CTL.ask(scene.beta.home.socket(), "peer inspect mallory");

    for shown in [log, said.out] {
        let plain = shown.chars().all(|c| c == '\n' || !c.is_control());
        assert!(plain, "{shown:?}");
    }
    scene.is_unharmed("paths and escapes");
}

#[test]
fn answers_to_what_was_never_sent_change_nothing() {
    let mut scene = Scene::new();
    let mut mallory = scene.intrude();
    for n in [0, 1, u64::MAX >> 1, u64::MAX] {
        mallory.say(&Frame::Ack(Ack {
            pack: PackNo(n),
            part: Part::Rest,
            receipt: ReceiptNo(n),
            table: Digest::of(b"none"),
            count: 1,
            durability: Durability::Written,
            refused: vec![],
        }));
        mallory.say(&Frame::Busy {
            pack: PackNo(n),
            part: Part::Member(7),
            why: BusyWhy::StorageFull,
            retry_after_ms: n,
        });
        mallory.say(&Frame::Settled {
            receipt: ReceiptNo(n),
        });
    }
    for n in 0..2_000 {
        mallory.say(&Frame::Settled {
            receipt: ReceiptNo(u64::MAX - n),
        });
    }

    let sound = pack(&[b"after all that"]);
    let header = mallory.header(&sound);
    stored(&mallory.send(&header, &sound));
    scene.is_unharmed("answers to nothing");
}

#[test]
fn thousands_of_offers_never_sent_reserve_a_quarter_and_no_more() {
    let mut scene = Scene::new();
    let mut mallory = scene.intrude();
    let length = 10 * MIB;
    let before = scene.beta.status().storage.used_bytes;
    let mut opened = 0;
    for n in 0..2_000_u64 {
        let id = SegmentId::v7(1_700_000_000_000 + n, 1);
        let table = single_table(id, Digest::of(&n.to_le_bytes()), length, b"");
        let header = offer_header(&mut mallory, &table, length);
        let all = [bytes(&Frame::Offer(header)), table.to_vec()].concat();
        // Beyond the streams it may have open it waits for ever.
        if !mallory.offer(&all, FOR_A_STREAM) {
            break;
        }
        opened += 1;
    }
    let used = scene.beta.status().storage.used_bytes;
    say(&format!(
        "  {opened} offers could be made; {used} B are taken, {before} before"
    ));
    assert!(
        used <= before + CEILING / 4,
        "{used} B are taken, {before} before"
    );
    let why = (0..opened).find_map(|_| match mallory.hear() {
        Some(Frame::Busy { why, .. }) => Some(why),
        _ => None,
    });
    assert_eq!(why, Some(BusyWhy::StorageFull), "it is told so");
    scene.is_unharmed("offers never sent");
    drop(mallory);
}

#[test]
fn a_slow_drip_on_every_stream_holds_nobody_else() {
    let mut scene = Scene::new();
    let mut mallory = scene.intrude();
    let big = vec![7; 15 << 10];
    let bodies = pack(&[&big, &big, &big, &big]);
    let mut opened = 0;
    for _ in 0..100 {
        let header = mallory.header(&bodies);
        let mut all = bytes(&Frame::Pack(header));
        // All but the last byte: room is taken, and never given back.
        all.extend_from_slice(&bodies.bytes[..bodies.bytes.len() - 1]);
        if !mallory.stream(&all, false, SOON) {
            break;
        }
        opened += 1;
    }
    say(&format!("  {opened} streams could be opened"));
    assert!(opened < 100, "streams of one peer are bounded");
    assert!(!mallory.datagram(), "nobody takes datagrams");
    scene.is_unharmed("slow drip");
    assert!(mallory.is_open());
}
