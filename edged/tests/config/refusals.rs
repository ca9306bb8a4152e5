//! What a config is refused for, and the words that say so.

use edged::config::ConfigError;

use super::World;

#[test]
fn an_unknown_key_is_refused_with_the_nearest_name() {
    let world = World::with("[relay]\nack_timout = \"30s\"\n");

    let error = world.refused();

    let path = world.path("edged.toml");
    let expected = format!(
        "config {}:2: relay.ack_timout: unknown key (did you mean \"ack_timeout\"?)",
        path.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_unknown_table_is_refused_with_the_nearest_name() {
    let error = World::with("[band_width]\nbytes_per_second = 0\n").refused();

    assert!(
        error
            .to_string()
            .ends_with(":1: band_width: unknown key (did you mean \"bandwidth\"?)"),
        "{error}"
    );
}

#[test]
fn a_bad_unit_is_refused_with_file_line_key_value_and_remedy() {
    let world = World::with("# rates\n\n[bandwidth]\nbytes_per_second = \"5 mb\"\n");

    let error = world.refused();

    let expected = format!(
        "config {}:4: bandwidth.bytes_per_second: \"5 mb\" has no unit we know (try \"5MB/s\")",
        world.path("edged.toml").display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_is_refused_says_what_was_found_and_expected() {
    let cases = [
        (
            "[relay]\nworkers = \"4\"",
            "relay.workers: found \"4\", expected a whole number",
        ),
        (
            "[relay]\nworkers = 0",
            "relay.workers: 0 is out of range, expected 1 to 256",
        ),
        (
            "[relay]\nenabled = 1",
            "relay.enabled: found 1, expected true or false",
        ),
        (
            "[relay]\nack_timeout = 30",
            "relay.ack_timeout: \"30\" has no unit (try \"30s\", units ms s m h d)",
        ),
        (
            "[relay]\nack_timeout = \"2h\"",
            "relay.ack_timeout: \"2h\" is out of range, expected 10ms to 1h",
        ),
        (
            "[relay]\nretry = 5",
            "relay.retry: found 5, expected a table",
        ),
        (
            "[relay.retry]\nfirst = \"1m\"\nlongest = \"1s\"",
            "relay.retry.longest: \"1s\" is shorter than relay.retry.first, expected \"1m\" or more",
        ),
        (
            "[relay]\nsuccess_condition = \"some\"",
            "relay.success_condition: \"some\" is not all_peers, one_peer or a number from 1 to 65535",
        ),
        (
            "[storage]\nmax_bytes = \"1MiB\"",
            "storage.max_bytes: \"1MiB\" is out of range, expected 64 MiB to 1024 TiB",
        ),
        (
            "[storage]\nreserve = 16",
            "storage.reserve: 16 has no unit (try \"16MiB\")",
        ),
        (
            "[storage]\ndurability = \"maybe\"",
            "storage.durability: \"maybe\" is not one of synced, written",
        ),
        (
            "[bandwidth]\nbytes_per_second = -1",
            "bandwidth.bytes_per_second: -1 is less than nothing, expected 0 or more",
        ),
        (
            "[inbox]\nsink = \"file\"",
            "inbox.sink: \"file\" is not a sink (\"hold\", \"dir:/path\" or \"exec:/path/to/program\")",
        ),
        (
            "[listen]\nquic = \"7443\"",
            "listen.quic: \"7443\" is not an address to listen on (try \"0.0.0.0:7443\")",
        ),
        (
            "[node]\nid = \"Depot\"",
            "node.id: \"Depot\" is not a node id (1 to 63 of a-z, 0-9 and -)",
        ),
        (
            "[peers]\nid = \"b\"",
            "peers: found a table, expected a list of tables ([[…]])",
        ),
        (
            "[[peers]]\naddresses = []",
            "peers[0].id: missing, expected a node id or \"*\"",
        ),
        (
            "[[peers]]\nid = \"host\"",
            "peers[0].id: \"host\" is this node itself",
        ),
        (
            "[[peers]]\nid = \"b\"\naddresses = [\"b\"]",
            "peers[0].addresses: \"b\" is not an address (try \"depot-7.example:7443\")",
        ),
        (
            "[[peers]]\nid = \"b\"\nidle_timeout = \"20s\"",
            "peers[0].idle_timeout: \"20s\" is not longer than keep_alive, so an idle link would drop",
        ),
        (
            "[lanes.mine]\nclass = 0",
            "lanes.mine.class: 0 does not fit: class 0 belongs to the lane control alone, others take 1 to 7",
        ),
        (
            "[lanes.control]\nclass = 1",
            "lanes.control.class: 1 does not fit: class 0 belongs to the lane control alone, others take 1 to 7",
        ),
        (
            "[control_plane]\nupstream = \"hub\"",
            "control_plane.upstream: \"hub\" is no peer of this config",
        ),
        (
            "[[spool]]\ndir = \"/s\"\nroute = \"r\"",
            "spool[0].route: \"r\" is no route of this config",
        ),
        (
            "[[routes]]\nname = \"r\"\nlocal = true\nmatch = { lane = \"x\" }",
            "routes[0].match.lane: \"x\" is no lane of this config",
        ),
        (
            "[tls]\nrenew = \"upstream\"",
            "tls.renew: \"upstream\" needs tls.renew_from or control_plane.upstream",
        ),
    ];
    for (text, expected) in cases {
        let error = World::with(text).refused().to_string();
        assert!(
            error.ends_with(&format!(": {expected}")),
            "{text:?} gave {error:?}"
        );
    }
}

#[test]
fn text_that_is_no_toml_is_refused_at_its_line() {
    let error = World::with("[relay]\nworkers = = 4\n").refused();

    assert!(
        matches!(error, ConfigError::Syntax { line: 2, .. }),
        "{error}"
    );
}
