//! The stage of one runbook: alpha, where the operator sits, beta, which may be away, and
//! gamma, which refuses readings until it is repaired.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use edged_rpc::{InboxList, InboxView, LeaseState, PutOptions, RelayList, SegmentList, State};
use harness::daemon::{Ctl, Node, PATIENCE, Refuser, Site, wait_for};
use harness::proxy::Proxy;
use relay_core::change::Nack;

use crate::stable::Names;

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// What the operator types.
const EDGECTL: Ctl = Ctl(env!("CARGO_BIN_EXE_relay-ctl"));
/// Whether gamma takes everything. One stage stands at a time.
static REPAIRED: AtomicBool = AtomicBool::new(false);

/// What gamma says of a body.
fn judge(body: &[u8]) -> Option<Nack> {
    let broken = !REPAIRED.load(Ordering::SeqCst);
    (broken && body.starts_with(b"reading")).then_some(Nack::NotAllowed)
}

/// Three nodes and the network between them. Fields drop in order: processes before folders.
#[derive(Debug)]
pub(crate) struct Stage {
    alpha: Node,
    beta: Node,
    to_alpha: Proxy,
    to_beta: Proxy,
    _gamma: Refuser,
    site: Site,
    names: Names,
    puts: u64,
}

impl Stage {
    /// Alpha and gamma run, beta does not.
    pub(crate) fn new() -> Self {
        REPAIRED.store(false, Ordering::SeqCst);
        let mut site = Site::new();
        let (to_alpha, to_beta) = (Proxy::new(9), Proxy::new(10));
        let beta = Node::new(NODE, site.home("beta", &[("alpha", to_alpha.address())]));
        let gamma = site.home("gamma", &[("alpha", to_alpha.address())]);
        let gamma = Refuser::start(&gamma, judge);
        let peers = [("beta", to_beta.address()), ("gamma", gamma.address())];
        let mut alpha = Node::new(NODE, site.home("alpha", &peers));
        to_alpha.aim(alpha.start().process().quic());
        Self {
            alpha,
            beta,
            to_alpha,
            to_beta,
            _gamma: gamma,
            site,
            names: Names::default(),
            puts: 0,
        }
    }

    /// What a command line prints, made stable.
    pub(crate) fn run(&mut self, command: &str) -> String {
        let line = command
            .strip_prefix("edgectl ")
            .unwrap_or_else(|| panic!("no such program: {command:?}"));
        let said = EDGECTL.ask(self.alpha.home.socket(), &self.names.real(line));
        // What it prints says how it ended.
        self.names.stable(&(said.out + &said.err))
    }

    /// Makes the stage what a cue says.
    pub(crate) fn set(&mut self, cue: &str) {
        let words: Vec<&str> = cue.split_whitespace().collect();
        match words.as_slice() {
            ["beta", "comes"] => {
                let quic = self.beta.start().process().quic();
                self.to_beta.aim(quic);
            }
            ["beta", "goes"] => self.beta.end().terminate(),
            ["gamma", "is", "repaired"] => REPAIRED.store(true, Ordering::SeqCst),
            ["alpha", "has", "a", "spool"] => self.configure("spool", |folder| {
                format!("[[spool]]\ndir = {folder:?}\npeer = \"beta\"\ntopic = \"meter\"\n")
            }),
            ["alpha", "has", "a", "sink"] => self.configure("out", |folder| {
                let folder = folder.display();
                format!("[inbox]\nsink = \"dir:{folder}\"\n")
            }),
            ["drop", file, words] => self.drop_file(file, words),
            ["beta", "puts", count, words] => self.arrive(number(count), words.as_bytes()),
            ["link", peer, "is", wanted] => self.wait_for_link(peer, wanted),
            ["put", kib, "KiB", "to", peer, "in", lane] => {
                let body = vec![b'x'; usize::try_from(number(kib)).expect("a size") * 1024];
                self.put(1, &body, peer, lane);
            }
            ["put", count, words, "to", peer, "in", lane] => {
                self.put(number(count), words.as_bytes(), peer, lane);
            }
            [count, "to", peer, "are", state] => self.wait(number(count), state, peer),
            ["throttled"] => wait_for("a throttled admission", PATIENCE, || {
                (self.alpha.status().bandwidth.throttle_count > 0).then_some(())
            }),
            _ => panic!("no such cue: {cue:?}"),
        }
    }

    /// Starts alpha anew with a folder that this config speaks of.
    fn configure(&mut self, name: &str, toml: impl FnOnce(&Path) -> String) {
        let folder = self.site.path().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        self.alpha.home.configure(name, &toml(&folder));
        self.alpha.end().terminate();
        let quic = self.alpha.start().process().quic();
        self.to_alpha.aim(quic);
    }

    /// Drops a file into the spool, and waits until it is a segment.
    fn drop_file(&mut self, file: &str, words: &str) {
        let folder = self.site.path().join("spool");
        std::fs::write(folder.join(".new"), words).expect("a file");
        std::fs::rename(folder.join(".new"), folder.join(file)).expect("a name");
        wait_for("the file to go", PATIENCE, || {
            (!folder.join(file).exists()).then_some(())
        });
        let mut list = SegmentList::default();
        list.page.limit = 1;
        let page = self.alpha.client().list(&list).expect("a list");
        let newest = page.items.first().expect("it was put");
        self.names.name(&newest.segment_id.to_string());
    }

    /// Beta puts to alpha, whose sink takes all of it.
    fn arrive(&mut self, count: u64, words: &[u8]) {
        let mut client = self.beta.client();
        for _ in 0..count {
            let put = client
                .put(&PutOptions::to_peer("alpha"), words)
                .expect("put");
            self.names.name(&put.segment_id.to_string());
        }
        let mut which = InboxList::default();
        which.page.limit = 100;
        wait_for("all to be handed on", PATIENCE, || {
            let page = self.alpha.client().inbox(&which).expect("a list");
            let done = |item: &&InboxView| item.state == LeaseState::Confirmed;
            (page.items.iter().filter(done).count() as u64 == count).then_some(())
        });
    }

    fn put(&mut self, count: u64, words: &[u8], peer: &str, lane: &str) {
        let mut client = self.alpha.client();
        for _ in 0..count {
            self.puts += 1;
            let body = [words, format!(" {:08}", self.puts).as_bytes()].concat();
            let options = PutOptions {
                lane: lane.to_owned(),
                ..PutOptions::to_peer(peer)
            };
            let put = client.put(&options, &body).expect("put");
            self.names.name(&put.segment_id.to_string());
        }
    }

    fn wait_for_link(&self, peer: &str, wanted: &str) {
        wait_for(wanted, PATIENCE, || {
            let peers = self.alpha.status().peers;
            let found = peers.into_iter().find(|at| at.peer_id == peer)?;
            (found.state.to_string() == wanted).then_some(())
        });
    }

    /// Waits until so many stand so where it is durable.
    fn wait(&self, count: u64, state: &str, peer: &str) {
        let state = match state {
            "scheduled" => State::Scheduled,
            "acked" => State::Acked,
            "deadletter" => State::Deadletter,
            _ => panic!("no such state: {state:?}"),
        };
        let which = RelayList {
            state: Some(state),
            peer: Some(peer.to_owned()),
            ..RelayList::default()
        };
        wait_for(peer, PATIENCE, || {
            let page = self.alpha.client().deliveries(&which);
            (page.expect("it lists").total == count).then_some(())
        });
    }
}

fn number(word: &str) -> u64 {
    word.parse()
        .unwrap_or_else(|_| panic!("{word:?} is no number"))
}
