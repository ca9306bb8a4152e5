//! Whole TLS handshakes in memory, as QUIC carries them: no sockets, no waiting.
//!
//! Each case says what the refusing side knows (its error, its noted gate) and what
//! the refused side can make of the one alert it hears.

mod world;

use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, HandshakeKind};

use self::world::{Fixed, NOW, World, YEAR, at, check_refused, dial, listen, meet, node, pair};
use crate::{Gate, Identity, IssueOptions, Refusal, SpiffeName, provider};

#[test]
fn two_nodes_of_one_domain_prove_themselves_to_each_other() {
    let world = World::new();

    let met = meet(world.dial("alpha"), world.listen("hub"));

    assert_eq!(met.client.error, None);
    assert_eq!(met.server.error, None);
    assert_eq!(
        met.client.peer.as_deref(),
        Some("spiffe://example.edge/node/hub")
    );
    assert_eq!(
        met.server.peer.as_deref(),
        Some("spiffe://example.edge/node/alpha")
    );
    assert_eq!((met.client.gate, met.server.gate), (None, None));
}

#[test]
fn a_second_handshake_with_the_same_configurations_is_full_again() {
    let world = World::new();
    let (dial, listen) = (world.dial("alpha"), world.listen("hub"));

    for _ in 0..3 {
        let met = meet(dial.clone(), listen.clone());

        assert_eq!(met.client.kind, Some(HandshakeKind::Full));
        assert_eq!(met.server.kind, Some(HandshakeKind::Full));
        assert_eq!(met.tickets, 0);
    }
}

#[test]
fn a_node_of_another_ca_is_refused_as_unknown_on_either_side() {
    let (ours, theirs) = (World::new(), World::new());

    let as_client = meet(theirs.dial("alpha"), ours.listen("hub"));
    let as_server = meet(ours.dial("alpha"), theirs.listen("hub"));

    // The dialler meets the listener's chain first, and it too sees a stranger.
    check_refused(
        &as_client.client,
        &as_client.server,
        Gate::UnknownCa,
        "unknown_ca",
    );
    check_refused(
        &as_server.client,
        &as_server.server,
        Gate::UnknownCa,
        "unknown_ca",
    );
}

#[test]
fn a_dialler_of_another_ca_who_trusts_ours_is_refused_by_the_listener() {
    let (ours, theirs) = (World::new(), World::new());
    let stranger = theirs.bundle("alpha", NOW);
    let dial = dial(&ours.identity_of(&stranger), NOW);

    let met = meet(dial, ours.listen("hub"));

    check_refused(&met.server, &met.client, Gate::UnknownCa, "unknown_ca");
}

#[test]
fn an_expired_leaf_is_refused_on_either_side() {
    let world = World::new();
    let old = world.identity_of(&world.bundle("old", NOW - YEAR));

    let as_client = meet(dial(&old, NOW), world.listen("hub"));
    let as_server = meet(world.dial("alpha"), listen(&old, NOW));

    let set = "expired or not_yet_valid";
    check_refused(&as_client.server, &as_client.client, Gate::Expired, set);
    check_refused(&as_server.client, &as_server.server, Gate::Expired, set);
    let heard = as_client.client.heard.expect("an alert");
    let narrowed = heard.narrow(old.leaf().validity, at(NOW));
    assert_eq!(narrowed.to_string(), "expired");
}

#[test]
fn a_leaf_from_the_future_is_refused_on_either_side() {
    let world = World::new();
    let young = world.identity_of(&world.bundle("young", NOW + YEAR));

    let as_client = meet(dial(&young, NOW), world.listen("hub"));
    let as_server = meet(world.dial("alpha"), listen(&young, NOW));

    let set = "expired or not_yet_valid";
    check_refused(&as_client.server, &as_client.client, Gate::NotYetValid, set);
    check_refused(&as_server.client, &as_server.server, Gate::NotYetValid, set);
    let heard = as_client.client.heard.expect("an alert");
    let narrowed = heard.narrow(young.leaf().validity, at(NOW));
    assert_eq!(narrowed.to_string(), "not_yet_valid");
}

#[test]
fn each_side_judges_by_the_clock_it_was_given() {
    let world = World::new();
    let (alpha, hub) = (world.identity("alpha"), world.identity("hub"));

    let met = meet(dial(&alpha, NOW), listen(&hub, NOW + YEAR));

    let set = "expired or not_yet_valid";
    check_refused(&met.server, &met.client, Gate::Expired, set);
    // Our leaf holds by our own clock: which of the two clocks is wrong is unknown.
    let heard = met.client.heard.expect("an alert");
    assert_eq!(heard.narrow(alpha.leaf().validity, at(NOW)), heard);
}

#[test]
fn a_clock_without_a_time_refuses_everyone() {
    #[derive(Debug)]
    struct Stopped;
    impl TimeProvider for Stopped {
        fn current_time(&self) -> Option<UnixTime> {
            None
        }
    }
    let world = World::new();
    let refusal = Refusal::new();
    let config = world
        .identity("hub")
        .server_config(Arc::new(Stopped), refusal.clone())
        .expect("config");

    let met = meet(world.dial("alpha"), (config, refusal));

    assert_eq!(met.server.error, Some(Error::FailedToGetCurrentTime));
}

#[test]
fn a_dialler_without_a_certificate_is_refused() {
    let world = World::new();
    let refusal = Refusal::new();
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(Fixed(at(NOW))))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(world.verifier(&refusal))
        .with_no_client_auth();
    config.alpn_protocols = vec![crate::ALPN.to_vec()];

    let met = meet((config, refusal), world.listen("hub"));

    assert_eq!(met.server.error, Some(Error::NoCertificatesPresented));
    assert_eq!(
        met.server.sent.map(|gates| gates.to_string()).as_deref(),
        Some("no_certificate")
    );
    assert_eq!(
        met.client.heard.map(|gates| gates.to_string()).as_deref(),
        Some("no_certificate")
    );
}

#[test]
fn another_protocol_or_none_is_refused() {
    let world = World::new();
    for protocols in [vec![b"edged/2".to_vec()], vec![b"h3".to_vec()], vec![]] {
        let mut dial = world.dial("alpha");
        dial.0.alpn_protocols = protocols;

        let met = meet(dial, world.listen("hub"));

        let error = met.server.error.as_ref().expect("refused");
        assert_eq!(Gate::of(error), Some(Gate::Alpn));
        assert_eq!(
            met.client.heard.map(|gates| gates.to_string()).as_deref(),
            Some("alpn")
        );
    }
}

#[test]
fn a_leaf_of_our_ca_for_another_trust_domain_is_refused_on_either_side() {
    let world = World::new();
    let name = SpiffeName {
        trust_domain: "other.edge".parse().expect("domain"),
        node: node("alpha"),
    };
    let other = world
        .authority
        .issue_as(&name, IssueOptions::at(at(NOW)))
        .expect("issue");
    let ours = world.bundle("alpha", NOW);

    // It shows the foreign leaf, while trusting our domain.
    let as_client = meet(world.dial_with(&other), world.listen("hub"));
    let as_server = meet(
        dial(&world.identity_of(&ours), NOW),
        world.listen_with(&other),
    );

    let set = "wrong_node or bad_signature";
    check_refused(&as_client.server, &as_client.client, Gate::WrongNode, set);
    check_refused(&as_server.client, &as_server.server, Gate::WrongNode, set);
}

#[test]
fn a_stolen_chain_without_its_key_is_refused() {
    let world = World::new();
    let (stolen, own) = (world.bundle("alpha", NOW), world.bundle("thief", NOW));
    let refusal = Refusal::new();
    let mut dial = world.dial("thief");
    dial.0.client_auth_cert_resolver = pair(stolen.chain().to_vec(), &own);
    dial.1 = refusal;

    let met = meet(dial, world.listen("hub"));

    check_refused(
        &met.server,
        &met.client,
        Gate::BadSignature,
        "bad_signature",
    );
}

#[test]
fn a_leaf_altered_after_signing_is_refused() {
    let world = World::new();
    let own = world.bundle("alpha", NOW);
    let mut altered = own.chain()[0].to_vec();
    let place = altered
        .windows(5)
        .rposition(|window| window == b"alpha")
        .expect("its DNS name");
    altered[place] = b'b';
    let mut dial = world.dial("alpha");
    dial.0.client_auth_cert_resolver = pair(vec![altered.into()], &own);

    let met = meet(dial, world.listen("hub"));

    check_refused(
        &met.server,
        &met.client,
        Gate::BadSignature,
        "bad_signature",
    );
}

#[test]
fn a_ca_is_no_node() {
    let world = World::new();
    let own = world.bundle("alpha", NOW);
    let mut dial = world.dial("alpha");
    let chain = vec![world.authority.certificate().clone()];
    dial.0.client_auth_cert_resolver = pair(chain, &own);

    let met = meet(dial, world.listen("hub"));

    assert_eq!(met.server.gate, Some(Gate::UnknownCa));
}

#[test]
fn both_cas_of_a_rollover_are_believed_at_once() {
    let (old, new) = (World::new(), World::new());
    let roots = || {
        vec![
            old.authority.certificate().clone(),
            new.authority.certificate().clone(),
        ]
    };
    let alpha = Identity::new(&old.bundle("alpha", NOW), roots()).expect("identity");
    let hub = Identity::new(&new.bundle("hub", NOW), roots()).expect("identity");

    let met = meet(dial(&alpha, NOW), listen(&hub, NOW));

    assert_eq!((met.client.error, met.server.error), (None, None));
}

#[test]
fn an_identity_knows_at_which_gate_it_would_be_refused() {
    let (ours, theirs) = (World::new(), World::new());
    let alpha = ours.identity("alpha");
    let stranger = ours.identity_of(&theirs.bundle("alpha", NOW));

    assert_eq!(alpha.check(at(NOW)), Ok(()));
    assert_eq!(alpha.check(at(NOW + YEAR)), Err(Gate::Expired));
    assert_eq!(alpha.check(at(NOW - YEAR)), Err(Gate::NotYetValid));
    assert_eq!(stranger.check(at(NOW)), Err(Gate::UnknownCa));
}

#[test]
fn configurations_never_resume_and_speak_nothing_old() {
    let world = World::new();
    let (client, server) = (world.dial("alpha").0, world.listen("hub").0);

    assert_eq!(server.send_tls13_tickets, 0);
    assert_eq!(server.max_early_data_size, 0);
    assert!(!server.session_storage.can_cache());
    assert!(!client.enable_early_data);
    assert_eq!(server.alpn_protocols, [b"edged/1"]);
    assert_eq!(client.alpn_protocols, server.alpn_protocols);
}
