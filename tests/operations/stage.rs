//! The stage of one runbook: alpha, where the operator sits, beta, which may be away, and
//! gamma, which refuses readings until it is repaired.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use edged_rpc::{
    InboxList, InboxView, Ladder, LeaseState, PutOptions, RelayList, SegmentList, State,
};
use harness::daemon::{Ctl, Node, PATIENCE, Refuser, Site, wait_for};
use harness::proxy::Proxy;
use harness::small_disk::SmallDisk;
use relay_core::change::Nack;
use rusqlite::Connection;

use crate::stable::{Names, Places};

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// What the operator types.
const EDGECTL: Ctl = Ctl(env!("CARGO_BIN_EXE_relay-ctl"));
/// Where the page has alpha's state on another machine.
const NEW_STATE: &str = "/mnt/new/edged";
/// A disk smaller than the ceiling of alpha on it.
const SMALL: u64 = 48 << 20;
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
    disk: Option<SmallDisk>,
    site: Site,
    names: Names,
    places: Places,
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
        let report = site.path().join("report.csv");
        std::fs::write(&report, "42.1;C").expect("a file");
        let places = Places::new([
            (alpha.home.config(), "/etc/edged/edged.toml"),
            (alpha.home.state(), "/var/lib/edged"),
            (&site.path().join("moved"), NEW_STATE),
            (&site.path().join("spool"), "/var/spool/edged"),
            (&site.path().join("out"), "/var/lib/readings"),
            (&report, "report.csv"),
        ]);
        Self {
            alpha,
            beta,
            to_alpha,
            to_beta,
            _gamma: gamma,
            site,
            names: Names::default(),
            places,
            disk: None,
            puts: 0,
        }
    }

    /// What a command line prints, made stable.
    pub(crate) fn run(&mut self, command: &str) -> String {
        let line = self.places.real(&self.names.real(command));
        let words: Vec<&str> = line.split_whitespace().collect();
        let said = match words.as_slice() {
            ["edgectl", ..] => {
                let said = EDGECTL.ask(self.alpha.home.socket(), &line["edgectl ".len()..]);
                // What it prints says how it ended.
                said.out + &said.err
            }
            ["edged", args @ ..] => output(Command::new(NODE).args(args)),
            ["sudo", "systemctl", "stop", "edged"] => {
                self.alpha.end().terminate();
                String::new()
            }
            ["sudo", "systemctl", "start", "edged"] => {
                self.start();
                String::new()
            }
            ["cp" | "mv" | "ls", ..] => output(Command::new("sh").args(["-c", &line])),
            _ => panic!("no such program: {command:?}"),
        };
        self.names.stable(&self.places.shown(&said))
    }

    fn start(&mut self) {
        let quic = self.alpha.start().process().quic();
        self.to_alpha.aim(quic);
        self.wait_for_link("gamma", "up");
    }

    /// Makes the stage what a cue says; `false` if this machine cannot.
    pub(crate) fn set(&mut self, cue: &str) -> bool {
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
            ["alpha", "may", "hold", size] => {
                self.configure_only("size", &format!("[storage]\nmax_bytes = \"{size}\"\n"));
            }
            ["alpha", "has", "a", "small", "disk"] => return self.on_a_small_disk(),
            ["something", "else", "fills", "the", "disk"] => self.fill_disk(),
            ["something", "else", "gives", "room", "back"] => {
                self.disk.as_ref().expect("a disk").free();
                self.wait_for_ladder(|at| at == Ladder::Open);
            }
            ["alpha", "is", "full", "of", "what", peer, "shall", "get"] => self.fill(peer),
            ["everything", "to", peer, "is", "acked"] => {
                self.wait_until_acked(peer);
                self.wait_for_ladder(|at| at == Ladder::Open);
            }
            [
                "everything",
                "to",
                peer,
                "is",
                "acked",
                "on",
                "a",
                "full",
                "disk",
            ] => {
                self.wait_until_acked(peer);
            }
            ["a", "row", "of", "alpha", "is", "damaged"] => {
                self.damage(|path| {
                    let conn = Connection::open(path).expect("a database");
                    let sql = "UPDATE owed SET updated = updated + 1
                         WHERE pack = (SELECT max(pack) FROM owed)";
                    assert_eq!(conn.execute(sql, []).expect("it is written"), 1);
                });
            }
            ["the", "database", "of", "alpha", "is", "damaged"] => {
                self.damage(|path| {
                    let file = File::options().write(true).open(path).expect("a file");
                    file.write_all_at(b"damaged", 0).expect("it is written");
                });
            }
            ["alpha", "runs", "on", "the", "other", "machine"] => {
                let folder = self.places.real(NEW_STATE);
                self.alpha
                    .home
                    .configure("place", &format!("[node]\nstate_dir = {folder:?}\n"));
                self.start();
            }
            ["an", "earlier", "release", "ran"] => {
                self.alpha.end().terminate();
                harness::earlier::backdate(self.alpha.home.state(), 0);
            }
            ["a", "later", "release", "ran"] => {
                harness::earlier::postdate(self.alpha.home.state());
            }
            _ => panic!("no such cue: {cue:?}"),
        }
        true
    }

    /// Starts alpha anew with a layer of config.
    fn configure_only(&mut self, name: &str, toml: &str) {
        self.alpha.home.configure(name, toml);
        self.alpha.end().terminate();
        self.start();
    }

    /// Harms the database of alpha, which is not running.
    fn damage(&self, harm: impl FnOnce(&Path)) {
        harm(&self.alpha.home.state().join("ledger.db"));
    }

    /// Alpha begins anew, on a disk that is smaller than its ceiling.
    fn on_a_small_disk(&mut self) -> bool {
        self.alpha.end().terminate();
        let toml = "[storage]\nmax_bytes = \"64MiB\"\nreserve = \"4MiB\"\n";
        self.alpha.home.configure("size", toml);
        self.disk = SmallDisk::over(self.alpha.home.state(), SMALL);
        self.start();
        self.disk.is_some()
    }

    fn fill_disk(&self) {
        let disk = self.disk.as_ref().expect("a disk");
        wait_for("the disk to be full", PATIENCE, || {
            disk.leave(0);
            let _ = self
                .alpha
                .client()
                .put(&PutOptions::to_peer("beta"), b"report");
            (self.alpha.status().storage.ladder == Ladder::DiskFull).then_some(())
        });
        // What the reserve gave is wanted by others, too, but for a little.
        disk.leave(64);
    }

    /// Puts until nothing more is taken.
    fn fill(&self, peer: &str) {
        let mut client = self.alpha.client();
        let body = vec![b'x'; 1 << 20];
        while client.put(&PutOptions::to_peer(peer), &body[..]).is_ok() {}
        self.wait_for_ladder(|at| at == Ladder::PutsRefused);
    }

    fn wait_for_ladder(&self, wanted: impl Fn(Ladder) -> bool) {
        wait_for("a step of the ladder", PATIENCE, || {
            wanted(self.alpha.status().storage.ladder).then_some(())
        });
    }

    fn wait_until_acked(&self, peer: &str) {
        wait_for(peer, PATIENCE, || {
            let peers = self.alpha.status().peers;
            let found = peers.into_iter().find(|at| at.peer_id == peer)?;
            (found.waiting + found.inflight == 0).then_some(())
        });
    }

    /// Starts alpha anew with a folder that this config speaks of.
    fn configure(&mut self, name: &str, toml: impl FnOnce(&Path) -> String) {
        let folder = self.site.path().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        self.configure_only(name, &toml(&folder));
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

/// What a program printed.
fn output(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output();
    let done = done.unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let text = |bytes| String::from_utf8(bytes).expect("text");
    text(done.stdout) + &text(done.stderr)
}

fn number(word: &str) -> u64 {
    word.parse()
        .unwrap_or_else(|_| panic!("{word:?} is no number"))
}
