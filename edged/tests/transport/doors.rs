//! Who is refused, at which gate, what each side says of it, and what garbage ends.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use certs::{DefaultTimeProvider, Identity, IssueOptions, Refusal, SERVER_NAME};
use edged::transport::Admit;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, Endpoint, ReadError, ReadToEndError, VarInt};
use relay_core::event::{Effect, Input, Parcel};
use relay_core::id::{BootEpoch, LedgerId, LinkId, PackNo};
use relay_core::wire::{
    Durability, Frame, Goodbye, Hello, Members, OLDEST, PackHeader, VERSION, encode,
};

use super::world::{self, Node, PATIENCE, authority, bundle, identity, known, linked};

/// Both sides of a refusal by the answering side: it counts `gate`, hears nothing; the
/// dialler hears that its dial came to nothing, and the gate.
async fn refused_by(door: &mut Node, dialler: &mut Node, gate: &str) {
    dialler.dial(door);

    let (link, why) = dialler.down().await;
    assert!(link.is_none() && why.contains(gate), "{why}");
    let (counted, text) = door.refusal().await;
    assert_eq!(counted, gate);
    assert!(text.contains(gate), "{text}");
    assert!(dialler.transport.refusals().counts.is_empty());
    let told = dialler.transport.refusals().last;
    assert!(told[door.id.as_str()].contains(gate), "{told:?}");
    assert!(door.unheard().is_empty());
}

#[tokio::test]
async fn a_stranger_is_refused_at_unknown_ca() {
    let (ours, theirs) = (authority(), authority());
    let mut door = Node::of("alpha", &ours);
    // It trusts our CA, so that it is for us to refuse.
    let stranger = identity(&bundle(&theirs, "beta"), &ours);
    let mut stranger = Node::with("beta", stranger, Admit::Any);

    refused_by(&mut door, &mut stranger, "unknown_ca").await;
}

#[tokio::test]
async fn a_dialler_refuses_a_door_it_does_not_know() {
    let (ours, theirs) = (authority(), authority());
    let door = Node::of("alpha", &ours);
    let mut dialler = Node::of("beta", &theirs);

    dialler.dial(&door);

    let (link, why) = dialler.down().await;
    assert!(
        link.is_none() && why.contains("refused here: unknown_ca"),
        "{why}"
    );
    assert_eq!(dialler.refusal().await.0, "unknown_ca");
    let heard = async {
        loop {
            if let Some(text) = door.transport.refusals().last.into_values().next() {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    let heard = tokio::time::timeout(PATIENCE, heard)
        .await
        .expect("the alert comes in time");
    assert!(heard.contains("refused by the peer: unknown_ca"), "{heard}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_before_any_byte() {
    let ca = authority();
    let mut door = Node::of("alpha", &ca);
    let options = IssueOptions::at(world::earlier(Duration::from_secs(7_200)));
    let options = options.valid_for(Duration::from_secs(3_600));
    let leaf = ca
        .issue(&"beta".parse().expect("a node"), options)
        .expect("a leaf");
    let mut late = Node::with("beta", identity(&leaf, &ca), Admit::Any);

    refused_by(&mut door, &mut late, "expired").await;
}

#[tokio::test]
async fn a_node_that_is_no_peer_is_refused_at_wrong_node() {
    let ca = authority();
    let leaf = identity(&bundle(&ca, "alpha"), &ca);
    let mut door = Node::with("alpha", leaf, known(&["gamma"]));
    let mut beta = Node::of("beta", &ca);

    refused_by(&mut door, &mut beta, "wrong_node").await;
}

#[tokio::test]
async fn a_door_that_is_another_node_is_refused_at_wrong_node() {
    let ca = authority();
    let (mut door, mut dialler) = (Node::of("alpha", &ca), Node::of("beta", &ca));

    dialler.dial_as(&door, "gamma");

    let (link, why) = dialler.down().await;
    assert!(
        link.is_none() && why.contains("wrong_node: dialled gamma"),
        "{why}"
    );
    assert_eq!(dialler.refusal().await.0, "wrong_node");
    assert!(door.unheard().is_empty());
}

#[tokio::test]
async fn a_dialler_without_certificate_is_refused() {
    let ca = authority();
    let mut door = Node::of("alpha", &ca);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.certificate().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![certs::ALPN.to_vec()];

    let (_endpoint, connection) = raw(&door, tls, "alpha").await;

    let reason = ended(&connection).await;
    assert!(
        matches!(reason, ConnectionError::ConnectionClosed(_)),
        "{reason:?}"
    );
    assert_eq!(door.refusal().await.0, "no_certificate");
    assert!(door.unheard().is_empty());
}

/// A peer with a valid certificate that speaks QUIC as it likes.
async fn rogue(door: &Node, identity: &Identity) -> (Endpoint, quinn::Connection) {
    let clock = Arc::new(DefaultTimeProvider);
    let tls = identity
        .client_config(clock, Refusal::new())
        .expect("TLS 1.3");
    raw(door, tls, SERVER_NAME).await
}

async fn raw(door: &Node, tls: rustls::ClientConfig, name: &str) -> (Endpoint, quinn::Connection) {
    let endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let crypto = QuicClientConfig::try_from(tls).expect("a cipher suite");
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint
        .connect_with(config, door.address(), name)
        .expect("an address");
    let connection = tokio::time::timeout(PATIENCE, connecting)
        .await
        .expect("in time");
    (
        endpoint,
        connection.expect("the dialler's half of the handshake"),
    )
}

async fn ended(connection: &quinn::Connection) -> ConnectionError {
    tokio::time::timeout(PATIENCE, connection.closed())
        .await
        .expect("it ends in time")
}

fn hello(node: &str) -> Frame {
    Frame::Hello(Hello {
        min_version: OLDEST,
        max_version: VERSION,
        node: world::node_id(node),
        ledger: LedgerId(77),
        boot_epoch: BootEpoch(1),
        max_segment: 1 << 20,
        durability: Durability::Written,
    })
}

fn bytes(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::new();
    encode(frame, &mut out).expect("a frame of ours fits");
    out
}

fn header() -> PackHeader {
    PackHeader {
        pack: PackNo(1),
        members: Members::All,
        lane: "default".parse().expect("a lane"),
        origin: None,
        sequence: None,
        hops: 1,
        ttl_left_ms: None,
        count: 1,
        table_len: 56,
        body_len: 4,
    }
}

/// What `first` on control, then `pack` on a second stream, ends a rogue's link with; a
/// good link beside it must stay.
async fn ends_with(first: &[u8], pack: &[u8]) -> ConnectionError {
    let ca = authority();
    let (mut alpha, mut beta) = (Node::of("alpha", &ca), Node::of("beta", &ca));
    alpha.dial(&beta);
    let link = alpha.link().await;
    beta.link().await;
    let leaf = identity(&bundle(&ca, "rogue"), &ca);
    let (_endpoint, connection) = rogue(&beta, &leaf).await;

    let mut control = connection.open_uni().await.expect("a stream");
    control
        .write_all(first)
        .await
        .expect("it takes a few bytes");
    if !pack.is_empty() {
        let mut stream = connection.open_uni().await.expect("a stream");
        stream.write_all(pack).await.expect("it takes a few bytes");
    }
    let reason = ended(&connection).await;

    let parcel = alpha.packs.keep(1, &[b"still here"]);
    alpha.send(link, &parcel, 10);
    let (arrival, _) = beta.arrival().await;
    assert_eq!(arrival.heading.sent.pack, PackNo(1));
    reason
}

fn assert_closed(reason: &ConnectionError, word: Goodbye, text: &str) {
    let ConnectionError::ApplicationClosed(close) = reason else {
        panic!("not closed by an application: {reason:?}");
    };
    assert_eq!(close.error_code, VarInt::from_u32(word.code()));
    let said = String::from_utf8_lossy(&close.reason);
    assert!(said.contains(text), "{said}");
}

#[tokio::test]
async fn garbage_in_place_of_a_hello_ends_that_conversation_alone() {
    let reason = ends_with(&[3, 0, 0, 0, 255, 255, 255], &[]).await;

    assert_closed(&reason, Goodbye::Protocol, "unreadable");
}

#[tokio::test]
async fn a_length_out_of_bounds_ends_that_conversation_alone() {
    let reason = ends_with(&u32::MAX.to_le_bytes(), &[]).await;
    assert_closed(&reason, Goodbye::Protocol, "at most 65536 may come");

    let reason = ends_with(&bytes(&hello("rogue")), &u32::MAX.to_le_bytes()).await;
    assert_closed(&reason, Goodbye::Protocol, "at most 65536 may come");
}

#[tokio::test]
async fn a_header_out_of_bounds_ends_that_conversation_alone() {
    let long = Frame::Pack(PackHeader {
        body_len: 1 << 40,
        ..header()
    });

    let reason = ends_with(&bytes(&hello("rogue")), &bytes(&long)).await;

    assert_closed(&reason, Goodbye::Protocol, "bodies of 1099511627776 B");
}

#[tokio::test]
async fn a_table_of_garbage_ends_that_conversation_alone() {
    let mut pack = bytes(&Frame::Pack(header()));
    pack.extend_from_slice(&[0xff; 60]);

    let reason = ends_with(&bytes(&hello("rogue")), &pack).await;

    assert_closed(&reason, Goodbye::Protocol, "member 0");
}

#[tokio::test]
async fn a_frame_out_of_place_ends_that_conversation_alone() {
    let offer = bytes(&Frame::Have {
        pack: PackNo(1),
        part: relay_core::change::Part::Rest,
    });

    let reason = ends_with(&bytes(&hello("rogue")), &offer).await;

    assert_closed(&reason, Goodbye::Protocol, "does not belong");
}

#[tokio::test]
async fn a_hello_by_another_name_is_refused_at_wrong_node() {
    let reason = ends_with(&bytes(&hello("gamma")), &[]).await;

    assert_closed(&reason, Goodbye::WrongNode, "rogue calls itself gamma");
}

#[tokio::test]
async fn a_peer_of_another_time_is_told_the_versions() {
    let Frame::Hello(hello) = hello("rogue") else {
        panic!("it is a Hello")
    };
    let later = Frame::Hello(Hello {
        min_version: 7,
        max_version: 9,
        ..hello
    });

    let reason = ends_with(&bytes(&later), &[]).await;

    assert_closed(&reason, Goodbye::Version, "versions 7 to 9 there");
}

#[tokio::test]
async fn garbage_on_the_port_disturbs_nobody() {
    let ((alpha, a), (mut beta, _)) = linked().await;
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    for length in (0..1_400).step_by(7) {
        socket
            .send_to(&world::noise(length), beta.address())
            .expect("loopback takes it");
    }

    let parcel = alpha.packs.keep(1, &[b"still here"]);
    alpha.send(a, &parcel, 10);

    let (arrival, _) = beta.arrival().await;
    assert_eq!(arrival.heading.sent.pack, PackNo(1));
    assert!(
        !beta
            .unheard()
            .iter()
            .any(|input| matches!(input, Input::LinkDown { .. }))
    );
}

#[tokio::test]
async fn a_peer_without_fsync_is_known_for_it() {
    let ca = authority();
    let mut door = Node::of("alpha", &ca);
    let (_endpoint, connection) = rogue(&door, &identity(&bundle(&ca, "rogue"), &ca)).await;
    let mut control = connection.open_uni().await.expect("a stream");

    control
        .write_all(&bytes(&hello("rogue")))
        .await
        .expect("it takes a few bytes");

    let link = door.link().await;
    let stats = door.transport.stats(link).expect("it is up");
    assert_eq!(stats.promised, Durability::Written);
}

/// Asks `alpha` to send the first half of a pack, and then to take it back.
async fn half(alpha: &mut Node, link: LinkId, parcel: &Parcel) {
    alpha.transport.perform(Effect::Send {
        link,
        parcel: parcel.clone(),
        from: 0,
        bytes: 100,
        last: false,
    });
    alpha.taken(parcel.due).await;
    let due = parcel.due;
    alpha.transport.perform(Effect::Reset { link, due });
}

#[tokio::test]
async fn a_pack_taken_back_half_sent_is_reset_and_what_went_before_it_arrives() {
    let ca = authority();
    let mut alpha = Node::of("alpha", &ca);
    let leaf = identity(&bundle(&ca, "rogue"), &ca);
    let (_endpoint, connection) = rogue(&alpha, &leaf).await;
    let mut ours = connection.open_uni().await.expect("a stream");
    ours.write_all(&bytes(&hello("rogue")))
        .await
        .expect("it takes a few bytes");
    let link = alpha.link().await;
    let _control = connection.accept_uni().await.expect("alpha's control");
    let body = vec![7; 5_000];
    let [first, second, third] = [1, 2, 3].map(|no| alpha.packs.keep(no, &[&body]));

    half(&mut alpha, link, &first).await;

    let mut stream = connection.accept_uni().await.expect("a lane");
    let cut = stream.read_to_end(1 << 20).await;
    let code = VarInt::from_u32(relay_core::wire::TAKEN_BACK);
    assert!(
        matches!(cut, Err(ReadToEndError::Read(ReadError::Reset(found))) if found == code),
        "{cut:?}"
    );

    alpha.send(link, &second, 5_000);
    half(&mut alpha, link, &third).await;

    let mut stream = connection.accept_uni().await.expect("the lane's next");
    let whole = stream.read_to_end(1 << 20).await.expect("it ends in order");
    let length = |parcel: &Parcel| parcel.info.length() as usize;
    assert!(whole.len() > length(&second) + 100, "{}", whole.len());
    assert!(whole.len() < length(&second) + length(&third));
}
