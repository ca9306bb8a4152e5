//! One node's scheduler, driven by hand: the promises that need no simulator.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks out the one effect it is about"
)]

mod ground;

use std::sync::Arc;
use std::time::Duration;

use ground::{SPACE, settings};
use relay_core::aim::To;
use relay_core::audit::AuditEvent;
use relay_core::change::{Change, Due, KeyName, Part, Sent, Snapshot};
use relay_core::delivery::{Cause, State, StateName, WaitingOn};
use relay_core::event::{
    Ack, BusyWhy, Caller, Effect, Greeting, Heading, Input, Known, Offer, Order, OrderId,
    OrderRefused, Put, Refusal, SendTrouble, Shape, Space, Target, Why,
};
use relay_core::id::{
    BootEpoch, LedgerId, LinkId, NodeId, NodeNo, PackNo, PutId, ReceiptNo, SegmentId, Sequence,
    StagedId, Ticket,
};
use relay_core::scheduler::Scheduler;
use relay_core::segment::Digest;
use relay_core::time::{Mono, Now, Unix};

const LINK: LinkId = LinkId(7);

/// A node `alpha` with one peer `beta`, and all it has asked for.
struct Node {
    scheduler: Scheduler,
    now: Now,
    asked: Vec<Effect>,
    puts: u64,
}

impl Node {
    fn new() -> Self {
        let settings = settings(name("alpha"), [name("beta")], true);
        let snapshot = Snapshot {
            ledger: LedgerId(1),
            epoch: BootEpoch(1),
            nodes: vec![(NodeNo::LOCAL, name("alpha"))],
            ..Snapshot::default()
        };
        let now = Now {
            mono: Mono(1_000_000),
            unix: Unix(1_000_000),
            wall: Unix(1_000_000),
        };
        let scheduler = Scheduler::new(settings, snapshot, 1, now);
        let mut node = Self {
            scheduler,
            now,
            asked: Vec::new(),
            puts: 0,
        };
        node.hear(Input::Wake);
        node.persisted();
        node
    }

    fn linked() -> Self {
        let mut node = Self::new();
        node.link_up();
        node
    }

    fn link_up(&mut self) {
        let greeting = Greeting {
            ledger: LedgerId(2),
            epoch: BootEpoch(1),
            dialled: true,
            max_segment: 1 << 32,
        };
        self.hear(Input::LinkUp {
            peer: name("beta"),
            link: LINK,
            greeting,
        });
    }

    fn hear(&mut self, input: Input) -> Vec<Effect> {
        self.scheduler.handle(self.now, input);
        let effects: Vec<Effect> = std::iter::from_fn(|| self.scheduler.poll()).collect();
        self.scheduler.check();
        self.asked.extend(effects.iter().cloned());
        effects
    }

    fn put(&mut self, count: u32) -> Vec<Effect> {
        self.puts += 1;
        let put = put(self.puts, count, "default", &["beta"]);
        self.hear(Input::Put(put))
    }

    fn persisted(&mut self) -> Vec<Effect> {
        let last = self.asked.iter().filter_map(|effect| match effect {
            Effect::Persist(ticket, _) => Some(*ticket),
            _ => None,
        });
        let last = last.max().unwrap_or(Ticket(0));
        self.hear(Input::Persisted(last, SPACE))
    }

    fn wait(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        self.now.unix = self.now.unix + time;
    }

    /// What a row waits on, as memory has it.
    fn waits_on(&self, due: Due) -> Vec<WaitingOn> {
        let rows = self.asked.iter().filter_map(|effect| match effect {
            Effect::Persist(_, changes) => Some(changes),
            _ => None,
        });
        let row = rows.flatten().find_map(|change| match change {
            Change::Owed(row) if row.due == due => Some(row),
            _ => None,
        });
        let reasons = self.scheduler.waits_on(self.now, row.expect("a row"));
        reasons.into_iter().map(|reason| reason.on).collect()
    }

    fn depth(&self, state: StateName) -> u64 {
        let picture = self.scheduler.picture(self.now);
        let depths = picture.peers.iter().flat_map(|peer| peer.depths.clone());
        depths
            .filter(|(_, s, _)| *s == state)
            .map(|(_, _, depth)| depth.count)
            .sum()
    }
}

fn name(text: &str) -> NodeId {
    text.parse().expect("a node id")
}

fn table(n: u64) -> Digest {
    Digest::of(&n.to_le_bytes())
}

fn put(n: u64, count: u32, lane: &str, peers: &[&str]) -> Put {
    let first = SegmentId::v7(n, 0);
    let last = first.after(u64::from(count - 1));
    Put {
        put: PutId(n),
        staged: StagedId(n),
        shape: Shape {
            count,
            bytes: 256 * u64::from(count),
            table_len: 56 * count,
            table: table(n),
            first,
            last,
        },
        lane: lane.parse().expect("a lane"),
        to: Arc::new(To::peers(
            peers.iter().map(|peer| name(peer)).collect::<Vec<_>>(),
        )),
        ttl: None,
        key: None,
        spooled: None,
    }
}

fn sends(effects: &[Effect]) -> usize {
    effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Send { .. }))
        .count()
}

fn ack(n: u64, receipt: u64) -> Ack {
    Ack {
        receipt: ReceiptNo(receipt),
        pack: PackNo(n),
        part: Part::Rest,
        table: table(n),
        count: 1,
        refused: Vec::new(),
    }
}

#[test]
fn nothing_is_accepted_or_sent_before_it_is_durable() {
    let mut node = Node::linked();

    let effects = node.put(3);
    assert!(
        effects.iter().all(|e| matches!(e, Effect::Persist(..))),
        "{effects:?}"
    );

    let effects = node.persisted();
    assert!(effects.contains(&Effect::Accept(PutId(1))));
    assert_eq!(sends(&effects), 1);
    assert_eq!(node.depth(StateName::Inflight), 3);
}

#[test]
fn an_ack_settles_and_is_settled_once_it_is_durable() {
    let mut node = Node::linked();
    node.put(3);
    node.persisted();

    let effects = node.hear(Input::Acked {
        link: LINK,
        ack: ack(1, 41),
    });
    assert!(!effects.iter().any(|e| matches!(e, Effect::Settle { .. })));
    assert_eq!(node.depth(StateName::Acked), 3);

    let effects = node.persisted();
    assert!(effects.contains(&Effect::Settle {
        link: LINK,
        receipt: ReceiptNo(41)
    }));
}

#[test]
fn a_dropped_link_returns_its_segments_to_the_queue_unspent() {
    let mut node = Node::linked();
    node.put(3);
    node.persisted();

    let effects = node.hear(Input::LinkDown {
        peer: name("beta"),
        link: Some(LINK),
        why: "cut".into(),
    });

    assert_eq!(node.depth(StateName::Scheduled), 3);
    let spent = effects.iter().any(|effect| match effect {
        Effect::Persist(_, changes) => changes
            .iter()
            .any(|c| matches!(c, Change::Owed(row) if row.spent > 0)),
        _ => false,
    });
    assert!(!spent);
    node.wait(Duration::from_secs(2));
    let effects = node.hear(Input::Wake);
    assert!(effects.contains(&Effect::Dial(name("beta"))));
}

#[test]
fn silence_after_the_last_byte_spends_the_budget_and_then_parks() {
    let mut node = Node::linked();
    node.put(1);
    let mut effects = node.persisted();

    for _ in 0..2 {
        let due = effects.iter().find_map(|effect| match effect {
            Effect::Send { parcel, bytes, .. } => Some((parcel.due, *bytes)),
            _ => None,
        });
        let (due, bytes) = due.expect("it is sent");
        node.hear(Input::Taken {
            link: LINK,
            due,
            bytes,
        });
        node.hear(Input::Delivered {
            link: LINK,
            dues: vec![due],
        });
        node.wait(Duration::from_secs(31));
        node.hear(Input::Wake);
        node.persisted();
        node.wait(Duration::from_secs(2));
        node.hear(Input::Wake);
        effects = node.persisted();
    }

    assert_eq!(node.depth(StateName::Deadletter), 1);
    assert_eq!(sends(&effects), 0);
}

#[test]
fn a_refused_member_is_parked_alone() {
    let mut node = Node::linked();
    node.put(3);
    node.persisted();
    let mut refusal = ack(1, 5);
    refusal.refused = vec![(1, relay_core::change::Nack::NotAllowed)];

    let effects = node.hear(Input::Acked {
        link: LINK,
        ack: refusal,
    });
    let due = effects.iter().find_map(|effect| match effect {
        Effect::Verify(due) => Some(*due),
        _ => None,
    });
    let due = due.expect("our own bytes are looked at first");
    let effects = node.hear(Input::Verified {
        due,
        bad: vec![],
        lengths: vec![256; 3],
    });

    assert_eq!(node.depth(StateName::Acked), 2);
    assert_eq!(node.depth(StateName::Deadletter), 1);
    let parked = effects.iter().any(|effect| match effect {
        Effect::Persist(_, changes) => changes.iter().any(|change| {
            matches!(change, Change::Owed(row)
                if row.due.part == Part::Member(1) && matches!(row.state, State::Deadletter { .. }))
        }),
        _ => false,
    });
    assert!(parked, "{effects:?}");
}

#[test]
fn bad_puts_are_refused_with_a_reason() {
    let mut node = Node::linked();
    let mut refusal = |put: Put| {
        let effects = node.hear(Input::Put(put));
        effects.into_iter().find_map(|effect| match effect {
            Effect::Refuse(_, why) => Some(why),
            _ => None,
        })
    };

    assert_eq!(
        refusal(put(1, 1, "default", &["gamma"])),
        Some(Refusal::UnknownPeer(name("gamma")))
    );
    assert!(matches!(
        refusal(put(2, 1, "control", &["beta"])),
        Some(Refusal::ReservedLane(_))
    ));
    assert!(matches!(
        refusal(put(3, 1, "nowhere", &["beta"])),
        Some(Refusal::UnknownLane(_))
    ));
    assert_eq!(refusal(put(4, 1, "default", &[])), Some(Refusal::NoPeer));
}

#[test]
fn a_drain_ends_when_everything_is_durable() {
    let mut node = Node::linked();
    node.put(2);
    node.persisted();

    let effects = node.hear(Input::Drain);
    assert!(!effects.contains(&Effect::Drained), "an ack may still come");
    node.wait(Duration::from_secs(3));
    node.hear(Input::Wake);
    let effects = node.persisted();

    assert!(effects.contains(&Effect::Drained));
    assert_eq!(node.depth(StateName::Scheduled), 2);
}

#[test]
fn who_withdraws_an_offer_is_not_told_that_we_are_busy() {
    for why in [Some(BusyWhy::Io), Some(BusyWhy::StorageFull), None] {
        let mut node = Node::linked();
        let sent = wanted(&mut node);

        let link = LINK;
        let effects = node.hear(Input::OfferLost { link, sent, why });

        let said = effects.iter().find_map(|effect| match effect {
            Effect::Busy { why, .. } => Some(*why),
            _ => None,
        });
        assert_eq!(said, why, "our own trouble is busy, theirs is not");
    }
}

#[test]
fn an_offer_repeated_while_it_is_looked_up_is_wanted_once() {
    let mut node = Node::linked();
    let asked = |effects: &[Effect]| {
        let numbers = effects.iter().filter_map(|effect| match effect {
            Effect::LookUp { question, .. } => Some(*question),
            _ => None,
        });
        numbers.collect::<Vec<_>>()
    };
    let wants = |effects: &[Effect]| {
        let want = |effect: &&Effect| matches!(effect, Effect::Want { .. });
        effects.iter().filter(want).count()
    };
    let (first, sent) = offer(Part::Member(0));
    let (again, _) = offer(Part::Member(0));
    let first = asked(&node.hear(first));
    assert!(asked(&node.hear(again)).is_empty(), "one at a time");

    let known = vec![Known::No];
    let question = first[0];
    let effects = node.hear(Input::LookedUp { question, known });
    assert_eq!(wants(&effects), 0, "the peer has let go of that offer");

    let (known, question) = (vec![Known::No], asked(&effects)[0]);
    let effects = node.hear(Input::LookedUp { question, known });
    assert_eq!(wants(&effects), 1);
    let (link, why) = (LINK, None);
    node.hear(Input::OfferLost { link, sent, why });
    let (once_more, _) = offer(Part::Member(0));
    assert_eq!(asked(&node.hear(once_more)).len(), 1, "nothing is held");
}

#[test]
fn bytes_that_cannot_be_read_wait_unspent_as_storage_and_go_again() {
    let mut node = Node::linked();
    node.put(1);
    node.persisted();
    let due = due(1);
    let (link, trouble) = (LINK, SendTrouble::Unreadable);

    let effects = node.hear(Input::SendFailed { link, due, trouble });
    assert!(!effects.contains(&Effect::Verify(due)), "not at once");
    node.persisted();
    assert_eq!(node.depth(StateName::Scheduled), 1);
    assert_eq!(node.waits_on(due), [WaitingOn::Storage]);

    assert_eq!(node.scheduler.deadline().expect("a wait").why, Why::Reread);
    node.wait(Duration::from_secs(1));
    assert!(node.hear(Input::Wake).contains(&Effect::Verify(due)));
    node.hear(unread(Effect::Verify(due)));
    node.wait(Duration::from_secs(1));
    assert!(!node.hear(Input::Wake).contains(&Effect::Verify(due)));
    node.wait(Duration::from_secs(1));
    assert!(node.hear(Input::Wake).contains(&Effect::Verify(due)));

    let (bad, lengths) = (Vec::new(), vec![256]);
    node.hear(Input::Verified { due, bad, lengths });
    assert_eq!(sends(&node.persisted()), 1);
}

#[test]
fn bytes_that_cannot_be_read_for_an_hour_are_given_up_as_corrupt() {
    let mut node = Node::linked();
    node.put(1);
    node.persisted();
    let due = due(1);
    let (link, trouble) = (LINK, SendTrouble::Unreadable);
    node.hear(Input::SendFailed { link, due, trouble });

    let mut tries = 0;
    while node.depth(StateName::Deadletter) == 0 {
        node.persisted();
        node.wait(Duration::from_secs(60));
        if node.hear(Input::Wake).contains(&Effect::Verify(due)) {
            node.hear(unread(Effect::Verify(due)));
            tries += 1;
        }
        assert!(tries <= 61, "it is given up some day");
    }

    assert!(
        tries >= 59,
        "not before an hour is over, at least once a minute"
    );
    let said = node.asked.iter().filter_map(|effect| match effect {
        Effect::Persist(_, changes) => Some(changes),
        _ => None,
    });
    let noted = |change: &&Change| matches!(change, Change::Audit(record) if record.event == AuditEvent::StorageUnreadable);
    let parked = |change: &&Change| match change {
        Change::Owed(row) => {
            row.state
                == State::Deadletter {
                    cause: Cause::Corrupt,
                }
        }
        _ => false,
    };
    assert_eq!(said.clone().flatten().filter(noted).count(), 1);
    assert_eq!(said.flatten().filter(parked).count(), 1);
}

#[test]
fn who_waits_for_what_cannot_be_read_is_told() {
    let mut node = Node::linked();
    let key = KeyName {
        uid: 7,
        key: "k".to_owned(),
    };
    let keyed = Put {
        key: Some((key.clone(), table(1))),
        ..put(1, 1, "default", &["beta"])
    };
    node.hear(Input::Put(keyed));
    let effects = node.hear(unread(Effect::FindKey(PutId(1), key)));
    assert!(effects.contains(&Effect::Refuse(PutId(1), Refusal::Unreadable)));

    let (offered, sent) = offer(Part::Member(0));
    let effects = node.hear(offered);
    let question = effects
        .into_iter()
        .find(|effect| matches!(effect, Effect::LookUp { .. }));
    let effects = node.hear(unread(question.expect("it is looked up")));
    let told = |effect: &Effect| match effect {
        Effect::Busy { sent: of, why, .. } => *of == sent && *why == BusyWhy::Io,
        _ => false,
    };
    assert!(effects.iter().any(told), "{effects:?}");

    let target = Target {
        due: due(9),
        length: 0,
    };
    let (id, caller) = (OrderId(1), Caller::default());
    let order = Order::Purge(vec![target]);
    node.hear(Input::Ordered { id, caller, order });
    node.hear(unread(Effect::Fetch(target.due)));
    let answered = node
        .persisted()
        .into_iter()
        .find_map(|effect| match effect {
            Effect::Answer(_, done) => done.ok(),
            _ => None,
        });
    let refused = answered.expect("an answer").refused;
    assert_eq!(refused, [(target.due, OrderRefused::Unreadable)]);
}

/// The rest of pack `n` of the node, owed to its peer.
fn due(n: u64) -> Due {
    Due {
        peer: NodeNo(1),
        pack: PackNo(n),
        part: Part::Rest,
    }
}

fn unread(question: Effect) -> Input {
    let (question, why) = (Box::new(question), "input/output error".to_owned());
    Input::Unread { question, why }
}

/// A large segment that the peer has offered and this node has asked for.
fn wanted(node: &mut Node) -> Sent {
    let (offer, sent) = offer(Part::Rest);
    let effects = node.hear(offer);
    let asked = |effect: &Effect| matches!(effect, Effect::Want { .. });
    assert!(effects.iter().any(asked), "{effects:?}");
    sent
}

/// A large segment that the peer offers; a member alone may have come before.
fn offer(part: Part) -> (Input, Sent) {
    let Put { shape, lane, .. } = put(1, 1, "default", &[]);
    let sent = Sent {
        ledger: LedgerId(2),
        pack: PackNo(1),
        part,
    };
    let offer = Offer {
        heading: Heading {
            sent,
            lane,
            origin: None,
            sequence: Sequence::of(sent.pack),
            hops: 1,
            ttl: None,
        },
        shape,
        ids: Arc::new([(shape.first, table(1))]),
    };
    let (link, offer) = (LINK, Box::new(offer));
    (Input::Offered { link, offer }, sent)
}

#[test]
fn a_node_that_fills_up_refuses_bulk_then_puts_and_tells_the_audit_of_each_step() {
    let mut node = Node::linked();
    let steps = [
        (79, "open", [true, true]),
        (80, "bulk_refused", [false, true]),
        (95, "puts_refused", [false, false]),
        (89, "puts_refused", [false, true]),
        (10, "open", [true, true]),
    ];
    let mut said = vec!["open".to_owned()];
    for (percent, rung, taken) in steps {
        let last = node.asked.iter().filter_map(|effect| match effect {
            Effect::Persist(ticket, _) => Some(*ticket),
            _ => None,
        });
        let space = Space {
            used: SPACE.ceiling / 100 * percent + 100,
            ..SPACE
        };
        let durable = last.max().unwrap_or(Ticket(0));
        node.hear(Input::Persisted(durable, space));

        for (lane, taken) in ["bulk", "default"].into_iter().zip(taken) {
            let (put, lane) = (PutId(node.puts), lane.parse().expect("a lane"));
            let to = To::peers(vec![name("beta")]);
            let effects = node.hear(Input::Announced {
                put,
                length: 10,
                lane,
                to: Arc::new(to),
            });
            let admitted = effects.contains(&Effect::Admit(put));
            assert_eq!(admitted, taken, "{percent} %: {effects:?}");
        }
        said.push(rung.to_owned());
    }

    said.dedup();
    let told = node.asked.iter().flat_map(|effect| match effect {
        Effect::Persist(_, changes) => changes.as_slice(),
        _ => &[],
    });
    let told = told.filter_map(|change| match change {
        Change::Audit(record) if record.event == AuditEvent::StorageLadder => {
            Some(record.resource.clone())
        }
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), said[1..]);
}
