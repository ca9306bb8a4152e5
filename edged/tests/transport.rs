//! What the transport promises, shown over loopback with real certificates.
#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    reason = "a test looks for one thing among all that may be heard"
)]

use std::sync::Arc;
use std::time::Duration;

use edged::staging::Staged;
use relay_core::change::{Due, Nack, Part, Sent};
use relay_core::event::{BusyWhy, CloseWhy, Effect, Input, SendTrouble};
use relay_core::id::{BootEpoch, LedgerId, LinkId, PackNo, ReceiptNo};
use relay_core::segment::Digest;

#[path = "transport/doors.rs"]
mod doors;
#[path = "transport/world.rs"]
mod world;

use world::{Node, bodies, linked, noise, two};

fn sent_by(node: &Node, pack: u64, part: Part) -> Sent {
    let ledger = LedgerId(node.id.as_str().bytes().map(u64::from).sum());
    Sent {
        ledger,
        pack: PackNo(pack),
        part,
    }
}

#[tokio::test]
async fn a_hello_each_way_brings_a_link_up_on_both_sides() {
    let (mut alpha, mut beta) = two();

    alpha.dial(&beta);

    for (node, peer, dialled) in [(&mut alpha, "beta", true), (&mut beta, "alpha", false)] {
        let (named, greeting) = node
            .hear(|event| match event.input {
                Input::LinkUp { peer, greeting, .. } => Some((peer, greeting)),
                _ => None,
            })
            .await;
        assert_eq!(named.as_str(), peer);
        assert_eq!((greeting.epoch, greeting.dialled), (BootEpoch(1), dialled));
    }
    let link = alpha.transport.links()[0];
    assert_eq!(alpha.transport.stats(link).unwrap().peer.as_str(), "beta");
    alpha.transport.close().await;
    let (link, why) = beta.down().await;
    assert!(link.is_some() && why.contains("draining"), "{why}");
}

#[tokio::test]
async fn a_pack_arrives_as_it_was_sent() {
    let ((mut alpha, a), (mut beta, _)) = linked().await;
    let parcel = alpha.packs.keep(7, &[b"one", b"", b"three"]);

    alpha.send(a, &parcel, 8);

    let (arrival, staged) = beta.arrival().await;
    assert_eq!(bodies(&arrival, staged), [&b"one"[..], b"", b"three"]);
    assert_eq!(arrival.heading.sent, sent_by(&alpha, 7, Part::Rest));
    assert_eq!(
        (arrival.heading.lane.as_str(), arrival.heading.hops),
        ("default", 1)
    );
    assert_eq!(arrival.heading.ttl, Some(Duration::from_secs(60)));
    assert_eq!((arrival.indexes, arrival.refused), (None, vec![]));
    assert_eq!(arrival.table, parcel.info.table);
    assert_eq!(alpha.taken(parcel.due).await, parcel.info.length());
}

#[tokio::test]
async fn a_pack_cut_into_pieces_arrives_whole_and_in_order() {
    let ((alpha, a), (mut beta, _)) = linked().await;
    let body = noise(10_000);
    let first = alpha.packs.keep(1, &[&body, b"x", &body]);
    let second = alpha.packs.keep(2, &[b"next"]);

    // Pieces end inside the table as well.
    let length = first.info.length();
    for from in (0..length).step_by(60) {
        let bytes = 60.min(length - from);
        let (parcel, last) = (first.clone(), from + bytes == length);
        alpha.transport.perform(Effect::Send {
            link: a,
            parcel,
            from,
            bytes,
            last,
        });
    }
    alpha.send(a, &second, 4);

    let (arrival, staged) = beta.arrival().await;
    assert_eq!(bodies(&arrival, staged), [&body[..], b"x", &body]);
    let (arrival, staged) = beta.arrival().await;
    assert_eq!(bodies(&arrival, staged), [&b"next"[..]]);
}

#[tokio::test]
async fn some_members_of_a_pack_arrive_as_a_pack_of_their_own() {
    let ((alpha, a), (mut beta, _)) = linked().await;
    let whole = alpha.packs.keep(7, &[b"one", b"two2", b"", b"three"]);
    let mut rest = whole.clone();
    rest.except = Arc::from([1]);
    let mut member = whole.clone();
    member.due = Due {
        part: Part::Member(1),
        ..whole.due
    };

    alpha.send(a, &rest, 8);
    alpha.send(a, &member, 4);

    let (arrival, staged) = beta.arrival().await;
    assert_eq!(bodies(&arrival, staged), [&b"one"[..], b"", b"three"]);
    assert_eq!(arrival.indexes.as_deref(), Some(&[0, 2, 3][..]));
    assert_eq!(arrival.table, whole.info.table);
    let (arrival, staged) = beta.arrival().await;
    assert_eq!(bodies(&arrival, staged), [&b"two2"[..]]);
    assert_eq!(arrival.heading.sent.part, Part::Member(1));
    assert_eq!(arrival.indexes.as_deref(), Some(&[1][..]));
    assert_eq!(arrival.table, whole.info.table);
}

#[tokio::test]
async fn a_bad_body_is_refused_and_the_others_arrive() {
    let ((alpha, a), (mut beta, _)) = linked().await;
    let parcel = alpha.packs.keep(7, &[b"one", b"two2", b"three"]);
    alpha.packs.spoil(7, 4);

    alpha.send(a, &parcel, 12);

    let (arrival, staged) = beta.arrival().await;
    assert_eq!(arrival.refused, [(1, Nack::BadDigest)]);
    assert_eq!(arrival.indexes.as_deref(), Some(&[0, 2][..]));
    assert_eq!(arrival.table, parcel.info.table);
    assert_eq!(bodies(&arrival, staged), [&b"one"[..], b"three"]);
}

#[tokio::test]
async fn a_pack_whose_bytes_are_gone_is_told_and_the_next_arrives() {
    let ((mut alpha, a), (mut beta, _)) = linked().await;
    let lost = alpha.packs.keep(1, &[b"lost"]);
    alpha.packs.lose(1);
    let kept = alpha.packs.keep(2, &[b"kept"]);

    alpha.send(a, &lost, 4);
    alpha.send(a, &kept, 4);

    let (arrival, staged) = beta.arrival().await;
    assert_eq!(bodies(&arrival, staged), [&b"kept"[..]]);
    let trouble = alpha
        .hear(|event| match event.input {
            Input::SendFailed { due, trouble, .. } => Some((due, trouble)),
            _ => None,
        })
        .await;
    assert_eq!(trouble, (lost.due, SendTrouble::Missing));
}

/// Offers a segment, wants it there, sends it in chunks.
async fn deliver_large(
    (alpha, a): (&mut Node, LinkId),
    (beta, b): (&mut Node, LinkId),
    parcel: relay_core::event::Parcel,
) {
    let due = parcel.due;
    alpha.transport.perform(Effect::Offer {
        link: a,
        parcel: parcel.clone(),
    });
    let offer = offered(beta).await;
    assert_eq!(offer.shape.bytes, parcel.info.bytes);
    beta.transport.perform(Effect::Want {
        link: b,
        sent: offer.heading.sent,
        from: 0,
        partial: None,
    });
    let from = alpha
        .hear(|event| match event.input {
            Input::Wanted { due: of, from, .. } if of == due => Some(from),
            _ => None,
        })
        .await;
    let mut at = from;
    while at < parcel.info.bytes {
        let bytes = (parcel.info.bytes - at).min(256 << 10);
        let last = at + bytes == parcel.info.bytes;
        let parcel = parcel.clone();
        alpha.transport.perform(Effect::Send {
            link: a,
            parcel,
            from: at,
            bytes,
            last,
        });
        assert_eq!(alpha.taken(due).await, bytes);
        at += bytes;
    }
}

async fn offered(node: &mut Node) -> relay_core::event::Offer {
    node.hear(|event| match event.input {
        Input::Offered { offer, .. } => Some(*offer),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_large_segment_arrives_in_memory() {
    let ((mut alpha, a), (mut beta, b)) = linked().await;
    let body = noise(20 << 10);
    let parcel = alpha.packs.keep_large(3, body.clone());

    deliver_large((&mut alpha, a), (&mut beta, b), parcel.clone()).await;

    let (arrival, staged) = beta.arrival().await;
    assert_eq!(bodies(&arrival, staged), [body]);
    assert_eq!(arrival.table, parcel.info.table);
    assert_eq!(arrival.heading.sent, sent_by(&alpha, 3, Part::Rest));
}

#[tokio::test]
async fn a_larger_segment_arrives_in_a_file() {
    let ((mut alpha, a), (mut beta, b)) = linked().await;
    let body = noise(3 << 20);
    let parcel = alpha
        .packs
        .keep_file(3, &body, &alpha.folder.path().join("body"));

    deliver_large((&mut alpha, a), (&mut beta, b), parcel.clone()).await;

    let (arrival, staged) = beta.arrival().await;
    let Some(Staged::File { table, name }) = staged else {
        panic!("in a file: {staged:?}")
    };
    assert_eq!(table, alpha.packs.table(3));
    let kept = std::fs::read(beta.folder.path().join(name)).unwrap();
    assert!(kept == body, "the file holds the body");
    assert_eq!((arrival.shape.bytes, arrival.shape.count), (3 << 20, 1));
    assert_eq!(arrival.table, parcel.info.table);
}

#[tokio::test]
async fn a_large_segment_with_a_bad_digest_is_refused_and_not_kept() {
    let ((mut alpha, a), (mut beta, b)) = linked().await;
    for (no, length) in [(1, 20 << 10), (2, 3 << 20)] {
        let parcel = alpha.packs.keep_large(no, noise(length));
        alpha.packs.spoil(no, 9);

        deliver_large((&mut alpha, a), (&mut beta, b), parcel.clone()).await;

        let (arrival, staged) = beta.arrival().await;
        assert!(staged.is_none());
        assert_eq!(
            (arrival.shape.count, arrival.refused),
            (0, vec![(0, Nack::BadDigest)])
        );
        assert_eq!(arrival.table, parcel.info.table);
    }
    assert_eq!(std::fs::read_dir(beta.folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_offer_that_is_not_wanted_moves_no_bytes() {
    let ((mut alpha, a), (mut beta, b)) = linked().await;
    for (no, busy) in [(1, false), (2, true)] {
        let parcel = alpha.packs.keep_large(no, noise(1 << 20));

        alpha.transport.perform(Effect::Offer { link: a, parcel });
        let sent = offered(&mut beta).await.heading.sent;
        if busy {
            let (why, retry_after) = (BusyWhy::StorageFull, Duration::from_secs(5));
            beta.transport.perform(Effect::Busy {
                link: b,
                sent,
                why,
                retry_after,
            });
        } else {
            beta.transport.perform(Effect::Have { link: b, sent });
            let effect = ack(b, sent, Digest([1; 32]), vec![]);
            beta.transport.perform(effect);
        }

        let heard = alpha
            .hear(|event| match event.input {
                Input::PeerBusy {
                    pack,
                    why,
                    retry_after,
                    ..
                } => {
                    assert_eq!(
                        (why, retry_after),
                        (BusyWhy::StorageFull, Duration::from_secs(5))
                    );
                    Some(pack)
                }
                Input::Acked { ack, .. } => Some(ack.pack),
                Input::Wanted { .. } => panic!("nothing is wanted"),
                _ => None,
            })
            .await;
        assert_eq!(heard, PackNo(no));
    }
    let left = beta.unheard();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_reset_segment_is_lost_and_the_link_stays() {
    let ((mut alpha, a), (mut beta, b)) = linked().await;
    let parcel = alpha.packs.keep_large(5, noise(3 << 20));
    alpha.transport.perform(Effect::Offer {
        link: a,
        parcel: parcel.clone(),
    });
    let sent = offered(&mut beta).await.heading.sent;
    beta.transport.perform(Effect::Want {
        link: b,
        sent,
        from: 0,
        partial: None,
    });
    alpha
        .hear(|event| matches!(event.input, Input::Wanted { .. }).then_some(()))
        .await;
    let (half, bytes) = (parcel.clone(), 1 << 20);
    alpha.transport.perform(Effect::Send {
        link: a,
        parcel: half,
        from: 0,
        bytes,
        last: false,
    });
    alpha.taken(parcel.due).await;

    alpha.transport.perform(Effect::Reset {
        link: a,
        due: parcel.due,
    });

    let lost = beta
        .hear(|event| match event.input {
            Input::OfferLost { sent, .. } => Some(sent),
            _ => None,
        })
        .await;
    assert_eq!(lost, sent);
    let next = alpha.packs.keep(6, &[b"next"]);
    alpha.send(a, &next, 4);
    let (arrival, _) = beta.arrival().await;
    assert_eq!(arrival.heading.sent.pack, PackNo(6));
    assert_eq!(std::fs::read_dir(beta.folder.path()).unwrap().count(), 0);
}

fn ack(link: LinkId, sent: Sent, table: Digest, refused: Vec<(u16, Nack)>) -> Effect {
    Effect::Ack {
        link,
        receipt: ReceiptNo(9),
        sent,
        table,
        count: 3,
        refused,
    }
}

#[tokio::test]
async fn answers_go_both_ways_and_repeat_what_they_answer() {
    let ((mut alpha, a), (mut beta, b)) = linked().await;
    let sent = sent_by(&alpha, 7, Part::Member(2));
    let (table, why) = (Digest([3; 32]), BusyWhy::Unsettled);

    beta.transport
        .perform(ack(b, sent, table, vec![(2, Nack::HopLimit)]));
    let retry_after = Duration::from_millis(1_500);
    beta.transport.perform(Effect::Busy {
        link: b,
        sent,
        why,
        retry_after,
    });
    alpha.transport.perform(Effect::Settle {
        link: a,
        receipt: ReceiptNo(9),
    });

    let ack = alpha
        .hear(|event| match event.input {
            Input::Acked { ack, .. } => Some(ack),
            _ => None,
        })
        .await;
    assert_eq!(
        (ack.pack, ack.part, ack.receipt),
        (PackNo(7), Part::Member(2), ReceiptNo(9))
    );
    assert_eq!(
        (ack.table, ack.count, ack.refused),
        (table, 3, vec![(2, Nack::HopLimit)])
    );
    let busy = alpha
        .hear(|event| match event.input {
            Input::PeerBusy {
                pack,
                part,
                why,
                retry_after,
                ..
            } => Some((pack, part, why, retry_after)),
            _ => None,
        })
        .await;
    assert_eq!(busy, (PackNo(7), Part::Member(2), why, retry_after));
    let settled = beta
        .hear(|event| match event.input {
            Input::PeerSettled { receipt, .. } => Some(receipt),
            _ => None,
        })
        .await;
    assert_eq!(settled, ReceiptNo(9));
}

#[tokio::test]
async fn a_closed_link_is_down_once_on_both_sides_and_says_why() {
    let ((mut alpha, a), (mut beta, b)) = linked().await;

    alpha.transport.perform(Effect::Close {
        link: a,
        why: CloseWhy::Duplicate,
    });

    for (node, link) in [(&mut alpha, a), (&mut beta, b)] {
        let (down, why) = node.down().await;
        assert_eq!(down, Some(link));
        assert!(why.contains("duplicate"), "{why}");
        assert!(node.transport.stats(link).is_none());
        // An order for a link that is gone is passed over.
        node.transport.perform(Effect::Settle {
            link,
            receipt: ReceiptNo(1),
        });
        assert!(node.unheard().is_empty());
    }
}

#[tokio::test]
async fn a_dial_that_nobody_answers_comes_to_nothing() {
    let (mut alpha, _) = two();
    let peer = world::node_id("beta");

    alpha.transport.dial(peer.clone(), vec![], world::PATIENCE);
    let (link, why) = alpha.down().await;
    assert!(link.is_none() && why.contains("no address"), "{why}");

    // A socket that never answers.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    alpha
        .transport
        .dial(peer, vec![address], Duration::from_millis(50));
    let (link, why) = alpha.down().await;
    assert!(link.is_none() && why.contains("no Hello in time"), "{why}");
}
