use super::*;

fn refused(config: &NatsConfig) -> String {
    config.check().unwrap_err().to_string()
}

#[test]
fn the_defaults_are_sound_and_documented() {
    let config = NatsConfig::default();
    config.check().unwrap();
    assert_eq!(config.stream_name(), "EVENTS");
    assert_eq!(config.addresses()[0].to_string(), "nats://127.0.0.1:4222");
}

#[test]
fn a_stream_is_named_after_its_prefix() {
    for (prefix, stream) in [("events", "EVENTS"), ("shop.eu-1", "SHOP_EU-1"), ("a:b/c", "A_B_C")] {
        assert_eq!(NatsConfig::default().prefix(prefix).stream_name(), stream);
    }
    assert_eq!(NatsConfig::default().prefix("a").stream("Own").stream_name(), "Own");
}

#[test]
fn bad_settings_are_refused_by_name() {
    let config = NatsConfig::default;
    for (config, name) in [
        (config().prefix(""), "prefix"),
        (config().prefix("a b"), "prefix"),
        (config().prefix("a.*"), "prefix"),
        (config().inbox_prefix("a.>"), "inbox_prefix"),
        (config().inbox_prefix(""), "inbox_prefix"),
        (config().stream("a.b"), "stream"),
        (config().stream(""), "stream"),
        (config().replicas(0), "replicas"),
        (config().replicas(6), "replicas"),
        (config().max_bytes(u64::MAX), "max_bytes"),
        (config().max_msgs(u64::MAX), "max_msgs"),
        (config().max_dead_letters(0), "max_dead_letters"),
        (config().max_age(Duration::MAX), "max_age"),
        (config().max_age(Duration::from_millis(1)), "max_age"),
        (config().dedup_window(Duration::ZERO), "dedup_window"),
        (config().max_age(Duration::from_secs(60)).dedup_window(Duration::from_secs(61)), "dedup_window"),
        (config().dedup_window(Duration::from_secs(25 * 3600)), "dedup_window"),
        (config().connect_timeout(Duration::ZERO), "connect_timeout"),
        (config().reconnect_wait(Duration::MAX), "reconnect_wait"),
        (config().publish_timeout(Duration::ZERO), "publish_timeout"),
        (config().close_timeout(Duration::MAX), "close_timeout"),
        (config().lease(Duration::from_millis(10)), "lease"),
        (config().ping_interval(Duration::ZERO), "ping_interval"),
        (config().max_reconnects(0), "max_reconnects"),
        (config().max_payload(0), "max_payload"),
        (config().hold(0), "hold"),
        (config().max_in_flight(0), "max_in_flight"),
        (config().tls_cert("c.pem"), "tls_key"),
        (config().tls_key("k.pem"), "tls_cert"),
        (config().token("t").user("u", "p"), "token"),
        (config().server("http://x"), "scheme"),
        (config().server("nats://u:p@x"), "server"),
        (config().server("nats:"), "host"),
    ] {
        let error = refused(&config);
        assert!(error.contains(name), "{error} does not name {name}");
    }
    config().max_age(Duration::ZERO).dedup_window(Duration::from_secs(48 * 3600)).check().unwrap();
}

#[test]
fn beside_a_client_settings_of_the_connection_are_refused_by_name() {
    let config = NatsConfig::default;
    for (config, name) in [
        (config().server("nats://elsewhere"), "server"),
        (config().user("u", "p"), "user"),
        (config().token("t"), "token"),
        (config().credentials_file("c.creds"), "credentials_file"),
        (config().nkey_file("k.nk"), "nkey_file"),
        (config().tls_ca("ca.pem"), "tls_ca"),
        (config().tls_cert("c.pem"), "tls_cert"),
        (config().tls_key("k.pem"), "tls_key"),
        (config().tls_first(true), "tls_first"),
        (config().name("till"), "name"),
    ] {
        let error = config.check_names_no_server().unwrap_err();
        assert_eq!(error.kind(), eventbus_core::ErrorKind::Invalid);
        assert!(error.to_string().contains(&format!("{name}: the client")), "{error} does not name {name}");
    }
    config().prefix("shop").max_bytes(1 << 20).check_names_no_server().unwrap();
}

#[test]
fn no_secret_is_shown() {
    let config = NatsConfig::default().user("carla", "hunter2").token("hunter3");
    let shown = format!("{config:?} {}", refused(&config));
    assert!(!shown.contains("hunter"), "{shown}");
    let error = refused(&NatsConfig::default().server("nats://carla:hunter2@ho st"));
    assert!(!error.contains("hunter"), "{error}");
}
