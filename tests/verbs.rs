//! Every verb of an operator on every state of a delivery, with real daemons and the
//! binary that people type: the right answer, the right exit code, books that add up;
//! what was answered holds after SIGKILL at any moment (`kills`); and the verbs of a
//! consumer (`inbox`, `follow`); and who is said to have done what (`operator`).
//!
//! States are made with peers that behave: `beta` runs until it is frozen, `nobody` is
//! never there, `gamma` is played by the test and refuses what it is told to.

#[path = "verbs/follow.rs"]
mod follow;
#[path = "verbs/inbox.rs"]
mod inbox;
#[path = "verbs/kills.rs"]
mod kills;
#[path = "verbs/operator.rs"]
mod operator;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use edgectl::Exit;
use edged_rpc::{PutOptions, State};
use harness::daemon::{Ctl, Node, PATIENCE, Refuser, Said, Site, wait_for};
use harness::proxy::Proxy;
use harness::seeds::say;
use relay_core::change::Nack;

/// The binaries under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
const CTL: Ctl = Ctl(env!("CARGO_BIN_EXE_relay-ctl"));

/// Everything that can be typed at a delivery; `SEG` and `PEER` stand for it.
const VERBS: [&str; 9] = [
    "relay hold SEG PEER",
    "relay release SEG PEER",
    "segment cancel SEG --peer PEER",
    "relay deadletter force SEG PEER --reason test",
    "relay deadletter retry SEG PEER",
    "relay deadletter retry SEG PEER --ttl 1h",
    "relay deadletter purge --segment-id SEG --peer-id PEER --force",
    "relay deadletter purge --segment-id SEG --peer-id PEER",
    "relay deadletter inspect SEG PEER",
];

/// Done; holds already; refused for its state; no such thing.
const DONE: (Exit, &str) = (Exit::Done, "");
const STATE: (Exit, &str) = (Exit::Refused, "wrong_state");
const NOT_PARKED: (Exit, &str) = (Exit::NotFound, "not_deadlettered");

/// One state: its name, how its deliveries are made, what each verb says of one.
struct Stand {
    name: &'static str,
    peer: &'static str,
    state: State,
    says: [(Exit, &'static str); VERBS.len()],
}

const OPEN: [(Exit, &str); VERBS.len()] =
    [DONE, DONE, DONE, DONE, DONE, DONE, STATE, STATE, NOT_PARKED];
const PARKED: [(Exit, &str); VERBS.len()] =
    [STATE, STATE, STATE, STATE, DONE, DONE, DONE, DONE, DONE];
const CANCELLED: [(Exit, &str); VERBS.len()] =
    [STATE, STATE, DONE, STATE, DONE, DONE, DONE, DONE, DONE];
const FORCED: [(Exit, &str); VERBS.len()] =
    [STATE, STATE, STATE, DONE, DONE, DONE, DONE, DONE, DONE];
const ACKED: [(Exit, &str); VERBS.len()] = [
    STATE, STATE, STATE, STATE, STATE, STATE, DONE, DONE, NOT_PARKED,
];

const EXPIRED: [(Exit, &str); VERBS.len()] = [
    STATE,
    STATE,
    STATE,
    STATE,
    (Exit::Refused, "wrong_cause"),
    DONE,
    DONE,
    DONE,
    DONE,
];

const STANDS: [Stand; 10] = [
    stand("acked", "beta", State::Acked, ACKED),
    stand("scheduled", "nobody", State::Scheduled, OPEN),
    stand("held", "nobody", State::Scheduled, OPEN),
    stand("failed", "gamma", State::Failed, OPEN),
    stand("rejected", "gamma", State::Deadletter, PARKED),
    stand("cancelled", "nobody", State::Deadletter, CANCELLED),
    stand("forced", "nobody", State::Deadletter, FORCED),
    stand("retries_exhausted", "gamma", State::Deadletter, PARKED),
    stand("expired", "nobody", State::Deadletter, EXPIRED),
    // Last: beta is frozen for it.
    stand("inflight", "beta", State::Inflight, OPEN),
];

const fn stand(
    name: &'static str,
    peer: &'static str,
    state: State,
    says: [(Exit, &'static str); VERBS.len()],
) -> Stand {
    Stand {
        name,
        peer,
        state,
        says,
    }
}

/// What gamma says of a body.
fn by_its_first_word(body: &[u8]) -> Option<Nack> {
    if body.starts_with(b"rejected") {
        Some(Nack::NotAllowed)
    } else if body.starts_with(b"failed") || body.starts_with(b"retries_exhausted") {
        Some(Nack::BadDigest)
    } else {
        None
    }
}

/// Three peers and the node whose operator is at work.
struct World {
    alpha: Node,
    beta: Node,
    _gamma: Refuser,
    _to_beta: Proxy,
    _site: Site,
}

impl World {
    fn new() -> Self {
        let mut site = Site::new();
        let (to_alpha, to_beta) = (Proxy::new(9), Proxy::new(10));
        let mut beta = Node::new(NODE, site.home("beta", &[("alpha", to_alpha.address())]));
        let gamma = site.home("gamma", &[("alpha", to_alpha.address())]);
        let gamma = Refuser::start(&gamma, by_its_first_word);
        // Nobody answers at the discard port of this host.
        let nobody = "127.0.0.1:9".parse().expect("an address");
        let peers = [
            ("beta", to_beta.address()),
            ("gamma", gamma.address()),
            ("nobody", nobody),
        ];
        let home = site.home("alpha", &peers);
        // What fails rests for the whole test, and a frozen peer is waited for.
        home.configure(
            "10-test",
            "[relay]\nack_timeout = \"1h\"\n[relay.retry]\nfirst = \"1h\"\nlongest = \"2h\"\n\
             [lanes.hasty]\nclass = 4\nbudget = 1\n",
        );
        let mut alpha = Node::new(NODE, home);
        to_beta.aim(beta.start().process().quic());
        to_alpha.aim(alpha.start().process().quic());
        Self {
            alpha,
            beta,
            _gamma: gamma,
            _to_beta: to_beta,
            _site: site,
        }
    }

    fn ask(&self, line: &str) -> Said {
        CTL.ask(self.alpha.home.socket(), line)
    }

    /// A delivery that stands so.
    fn make(&self, at: &Stand, n: usize) -> String {
        let body = format!("{} {n}", at.name);
        let mut client = self.alpha.client();
        let options = PutOptions {
            ttl_seconds: (at.name == "expired").then_some(1),
            lane: if at.name == "retries_exhausted" {
                "hasty".to_owned()
            } else {
                "default".to_owned()
            },
            ..PutOptions::to_peer(at.peer)
        };
        let put = client.put(&options, body.as_bytes());
        let id = put.expect("put").segment_id.to_string();
        match at.name {
            "held" => self.must(&format!("relay hold {id} nobody")),
            "cancelled" => self.must(&format!("segment cancel {id}")),
            "forced" => self.must(&format!("relay deadletter force {id} nobody --reason test")),
            _ => {}
        }
        wait_for(at.name, PATIENCE, || {
            (self.state(&id) == Some(at.state)).then_some(())
        });
        id
    }

    fn must(&self, line: &str) {
        let said = self.ask(line);
        assert_eq!(said.exit, Exit::Done, "{line}: {said:?}");
    }

    fn state(&self, id: &str) -> Option<State> {
        let detail = self.alpha.client().inspect(id).ok()?;
        Some(detail.deliveries[0].delivery.state)
    }
}

#[test]
fn every_verb_on_every_state_gives_the_right_answer_and_the_books_add_up() {
    let world = World::new();
    wait_for("the link to beta", PATIENCE, || {
        let peers = world.alpha.status().peers;
        let up = |peer: &edged_rpc::PeerView| peer.state == edged_rpc::LinkState::Up;
        peers
            .iter()
            .any(|peer| peer.peer_id == "beta" && up(peer))
            .then_some(())
    });
    let (mut cases, mut wrong) = (0, Vec::new());
    for at in &STANDS {
        if at.name == "inflight" {
            world.beta.process().freeze();
        }
        for (n, (verb, wanted)) in VERBS.iter().zip(at.says).enumerate() {
            let id = world.make(at, n);
            let line = verb.replace("SEG", &id).replace("PEER", at.peer);

            let said = world.ask(&line);
            let json = world.ask(&format!("{line} --json"));

            cases += 1;
            if (said.exit, said.code()) != wanted {
                wrong.push(format!("{} on {}: {said:?}, not {wanted:?}", verb, at.name));
            }
            // The second time it holds already, or is refused in JSON.
            let told = if json.exit == Exit::Done {
                &json.out
            } else {
                &json.err
            };
            assert!(
                told.starts_with('{') && told.ends_with("}\n"),
                "{line}: {json:?}"
            );
            let books = world.alpha.books();
            assert_eq!(
                books.put,
                books.acked + books.deadletter + books.waiting + books.purged,
                "{line}: {books:?}"
            );
        }
    }
    say(&format!("  {cases} cases, {} wrong", wrong.len()));
    assert_eq!(wrong, Vec::<String>::new());
    world.beta.process().thaw();
}

/// What an operator can type that is not about one delivery.
const OTHERS: [(&str, Exit); 22] = [
    ("relay status", Exit::Done),
    ("relay status --books", Exit::Done),
    ("relay list --topic a/**", Exit::Done),
    ("relay config get", Exit::Done),
    (
        "relay config set-bandwidth --bytes-per-second 1048576",
        Exit::Done,
    ),
    (
        "relay config set-bandwidth --bytes-per-second 9 --dry-run",
        Exit::Done,
    ),
    (
        "relay config set-bandwidth --bytes-per-second 0 --peer nobody",
        Exit::Done,
    ),
    ("relay config set-bandwidth --reset", Exit::Done),
    (
        "relay config set-bandwidth --bytes-per-second 9 --peer stranger",
        Exit::NotFound,
    ),
    (
        "relay pause --peer nobody --lane bulk --until 1h",
        Exit::Done,
    ),
    ("relay pause --peer stranger", Exit::NotFound),
    ("relay pause --lane nowhere", Exit::NotFound),
    ("relay resume --peer nobody --lane bulk", Exit::Done),
    (
        "relay deadletter list --cause expired --older-than 1h",
        Exit::Done,
    ),
    (
        "relay deadletter retry --all --cause rejected --dry-run",
        Exit::Done,
    ),
    ("relay deadletter purge --all --peer nobody", Exit::Done),
    ("peer inspect nobody", Exit::Done),
    ("peer kick stranger", Exit::NotFound),
    ("peer drop stranger", Exit::NotFound),
    ("lane list", Exit::Done),
    ("lane set-budget bulk --bytes-per-day 1048576", Exit::Done),
    (
        "lane set-budget nowhere --attempts-per-hour 9",
        Exit::NotFound,
    ),
];

#[test]
fn every_verb_knows_what_is_not_there_and_says_so_without_a_daemon() {
    let mut world = World::new();
    let id = world.make(&STANDS[1], 0);
    let mut wrong = Vec::new();
    let mut check = |line: &str, wanted: Exit, said: &Said| {
        if said.exit != wanted {
            wrong.push(format!("{line}: {said:?}, not {wanted:?}"));
        }
    };

    for (line, wanted) in OTHERS {
        check(line, wanted, &world.ask(line));
    }
    for verb in VERBS {
        let strangers = [
            ("seg-ffffffff", "nobody"),
            (&id, "stranger"),
            (&id, "gamma"),
        ];
        for (segment, peer) in strangers {
            let line = verb.replace("SEG", segment).replace("PEER", peer);
            check(&line, Exit::NotFound, &world.ask(&line));
        }
    }
    let socket = world.alpha.home.socket().to_owned();
    world.alpha.end().terminate();
    let all = OTHERS.iter().map(|(line, _)| (*line).to_owned());
    let all = all.chain(
        VERBS
            .iter()
            .map(|verb| verb.replace("SEG", "s").replace("PEER", "p")),
    );
    for line in all {
        check(&line, Exit::NoDaemon, &CTL.ask(&socket, &line));
    }

    assert_eq!(wrong, Vec::<String>::new());
}

/// A daemon whose socket group is that of `nobody`, and the uid of that user; `None` where
/// nobody else can be acted as.
fn open_to_nobody() -> Option<(Site, Node, u32)> {
    if !nix::unistd::geteuid().is_root() {
        say("  skipped: only root can act as another user");
        return None;
    }
    let Ok(Some(nobody)) = nix::unistd::User::from_name("nobody") else {
        say("  skipped: this host has no user nobody");
        return None;
    };
    let group = nix::unistd::Group::from_gid(nobody.gid).ok().flatten();
    let group = group.expect("the user's group has a name").name;
    let mut site = Site::new();
    let home = site.home(
        "alpha",
        &[("beta", "127.0.0.1:9".parse().expect("an address"))],
    );
    home.configure("10-test", &format!("[rpc]\ngroup = \"{group}\"\n"));
    let mut alpha = Node::new(NODE, home);
    alpha.start();
    // The way to the socket is open to all, the socket is not.
    for folder in alpha.home.socket().ancestors().skip(1) {
        if folder.starts_with(site.path()) {
            let open = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(folder, open).expect("ours");
        }
    }
    Some((site, alpha, nobody.uid.as_raw()))
}

#[test]
fn a_user_that_connects_too_often_is_refused_by_name_and_others_are_served() {
    let Some((_site, alpha, nobody)) = open_to_nobody() else {
        return;
    };
    let (socket, over) = (alpha.home.socket(), AtomicBool::new(false));
    let ask = |line: &str| CTL.ask_as(nobody, socket, line);

    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // A full queue of callers is no refusal.
                    let _ = UnixStream::connect(socket);
                }
            });
        }
        let refused = wait_for("a refusal", PATIENCE, || {
            // One that is hung up on has heard nothing.
            let said = CTL.ask(socket, "relay status");
            said.err.contains("1000 times a second").then_some(said)
        });
        let served = (0..5).map(|_| ask("relay status")).collect::<Vec<_>>();
        over.store(true, Ordering::Relaxed);
        assert_eq!(refused.exit, Exit::Refused, "{refused:?}");
        for said in served {
            assert_eq!(said.exit, Exit::Done, "{said:?}");
        }
    });

    wait_for("it to be let in again", PATIENCE, || {
        (CTL.ask(socket, "relay status").exit == Exit::Done).then_some(())
    });
}

#[test]
fn members_of_the_group_may_read_and_put_and_nothing_more() {
    let Some((_site, alpha, uid)) = open_to_nobody() else {
        return;
    };
    let put = alpha.client().put(&PutOptions::to_peer("beta"), b"x");
    let id = put.expect("put").segment_id.to_string();
    let ask = |line: &str| CTL.ask_as(uid, alpha.home.socket(), line);

    for line in [
        "relay status",
        "relay list",
        "inbox list",
        "peer inspect beta",
        "config show",
    ] {
        let said = ask(line);
        assert_eq!(said.exit, Exit::Done, "{line}: {said:?}");
    }
    assert_eq!(ask("segment put /dev/null --peer beta").exit, Exit::Done);
    let orders = VERBS[..8]
        .iter()
        .map(|verb| verb.replace("SEG", &id).replace("PEER", "beta"));
    let others = [
        "relay pause",
        "relay resume",
        "relay config set-bandwidth --bytes-per-second 1",
        "lane set-budget bulk --bytes-per-day 1",
        "peer kick beta",
        "peer drop beta",
        "config reload",
    ];
    for line in orders.chain(others.map(str::to_owned)) {
        let said = ask(&line);
        assert_eq!(said.exit, Exit::Permission, "{line}: {said:?}");
        assert!(said.err.contains("permission denied"), "{line}: {said:?}");
    }
    assert_eq!(alpha.status().pauses, []);
}
