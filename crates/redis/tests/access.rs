//! Who is let in, over which connection: passwords, users, certificates, and clients of the caller's own.

mod common;

use common::{PATIENCE, ask, client, numbered, prefix, words};
use eventbus_core::{Bus, ErrorKind, Start, Subscribe};
use eventbus_redis::{RedisBus, RedisConfig};
use eventbus_testing::{Probe, servers::RedisServer, settle};
use std::sync::Arc;

/// Publishes and gets it back.
async fn works(bus: &RedisBus) {
    let probe = Probe::new();
    bus.subscribe(Subscribe::to("a").group("g").from(Start::Earliest), Arc::new(probe.clone())).await.unwrap();
    bus.publish(numbered(1)).await.unwrap();
    probe.wait(1).await;
    settle(bus, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_password_lets_in_and_a_wrong_one_is_denied_without_being_shown() {
    let server = RedisServer::builder().config("requirepass correct-horse").start().await;
    let bus = RedisBus::connect(&format!("redis://:correct-horse@{}", server.address())).await.unwrap();
    works(&bus).await;
    bus.close().await.unwrap();
    for url in ["redis://:wrong-horse@", "redis://alice:wrong-horse@", "redis://"] {
        let error = RedisBus::connect(&format!("{url}{}", server.address())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("horse") && !shown.contains("alice"), "{shown}");
    }
}

#[tokio::test]
async fn a_user_may_do_what_its_rules_allow() {
    let server = RedisServer::start().await;
    let mut admin = client(&server.address().to_string()).await;
    let rules = "ACL SETUSER alice on >pass ~shop:* ~{shop:* resetchannels &shop:* +@all -@admin -@dangerous +client|id +client|unblock +info +config|get";
    let _: String = ask(&mut admin, &words(rules)).await;
    let config = || RedisConfig::new().address(server.address().to_string()).user("alice").password("pass");
    let bus = config().prefix("shop").connect().await.unwrap();
    works(&bus).await;
    // Of another prefix the user may see nothing.
    let error = config().prefix("bank").connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    // What is taken away while it runs is told at once, from a script, too.
    let _: String = ask(&mut admin, &words("ACL SETUSER alice -xadd")).await;
    let error = bus.publish(numbered(2)).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Denied, false), "{error}");
    let _: String = ask(&mut admin, &words("ACL SETUSER alice -evalsha")).await;
    let error = bus.publish(numbered(2)).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Denied, false), "{error}");
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_subscription_that_loses_its_permission_ends_with_the_reason() {
    let server = RedisServer::start().await;
    let mut admin = client(&server.address().to_string()).await;
    let _: String = ask(&mut admin, &words("ACL SETUSER alice on >pass ~* &* +@all")).await;
    let bus = RedisConfig::new().address(server.address().to_string()).user("alice").password("pass").connect().await.unwrap();
    let mut errors = bus.errors();
    let (grouped, alone) = (Probe::new(), Probe::new());
    let grouped = bus.subscribe(Subscribe::to("a").group("g"), Arc::new(grouped)).await.unwrap();
    let alone = bus.subscribe(Subscribe::to("a"), Arc::new(alone)).await.unwrap();
    let _: String = ask(&mut admin, &words("ACL SETUSER alice -xreadgroup -xread")).await;
    for subscription in [grouped, alone] {
        let ended = tokio::time::timeout(PATIENCE, subscription.ended()).await.expect("it is not silently idle");
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Denied);
    }
    assert_eq!(errors.next().await.unwrap().kind(), ErrorKind::Denied);
    bus.close().await.unwrap();
}

#[tokio::test]
async fn a_database_is_a_place_of_its_own() {
    let server = RedisServer::start().await;
    let bus = |number: u32| RedisConfig::new().address(server.address().to_string()).database(number).connect();
    let (first, second) = (bus(0).await.unwrap(), bus(3).await.unwrap());
    let (in_first, in_second) = (Probe::new(), Probe::new());
    first.subscribe(Subscribe::to("a"), Arc::new(in_first.clone())).await.unwrap();
    second.subscribe(Subscribe::to("a"), Arc::new(in_second.clone())).await.unwrap();
    second.publish(numbered(3)).await.unwrap();
    in_second.wait(1).await;
    settle(&first, PATIENCE).await.unwrap();
    assert_eq!(in_first.count(), 0);
    first.close().await.unwrap();
    second.close().await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_not_there_or_not_for_this_user_is_told_as_such() {
    let server = RedisServer::builder().config("requirepass secret").start().await;
    let mut admin = client(&format!(":secret@{}", server.address())).await;
    let _: String = ask(&mut admin, &words("ACL SETUSER alice on >pass ~* &* +@all -select")).await;
    let refused = async |user: &str, database: u32| {
        let error = RedisBus::connect(&format!("redis://{user}@{}/{database}", server.address())).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("alice") && shown.contains(&database.to_string()), "{shown}");
        (error.kind(), error.is_retryable())
    };
    assert_eq!(refused(":secret", 99).await, (ErrorKind::Invalid, false));
    assert_eq!(refused("alice:pass", 3).await, (ErrorKind::Denied, false));
    assert_eq!(refused("", 3).await, (ErrorKind::Denied, false));
}

#[tokio::test]
async fn the_callers_client_says_where_and_who_and_is_left_alone() {
    let server = RedisServer::builder().config("requirepass secret").start().await;
    let own = redis::Client::open(format!("redis://:secret@{}/2", server.address())).unwrap();
    let mut before = own.get_multiplexed_async_connection().await.unwrap();
    let bus = RedisBus::from_client(own.clone(), RedisConfig::new().prefix(prefix())).await.unwrap();
    works(&bus).await;
    bus.close().await.unwrap();
    let _: String = ask(&mut before, &redis::cmd("PING")).await;
    let mut after = own.get_multiplexed_async_connection().await.unwrap();
    let keys: i64 = ask(&mut after, &redis::cmd("DBSIZE")).await;
    assert!(keys > 0, "it was in the client's database");
    for second in [RedisConfig::new().address("elsewhere"), RedisConfig::new().database(0)] {
        let error = RedisBus::from_client(own.clone(), second).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "a second place: {error}");
    }
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use std::path::PathBuf;

    /// Files with certificates: of the authority, the server, and a client.
    struct Files {
        directory: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            let files = Self { directory: tempfile::tempdir().unwrap() };
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, "authority");
            let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            std::fs::write(files.path("ca.pem"), authority.pem()).unwrap();
            for name in ["server", "client"] {
                let key = KeyPair::generate().unwrap();
                let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
                let mut params = CertificateParams::new(names).unwrap();
                params.distinguished_name.push(DnType::CommonName, name);
                let certificate = params.signed_by(&key, &authority).unwrap();
                std::fs::write(files.path(&format!("{name}.pem")), certificate.pem()).unwrap();
                std::fs::write(files.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
            }
            files
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn shown(&self, name: &str) -> String {
            self.path(name).display().to_string()
        }
    }

    #[tokio::test]
    async fn certificates_are_checked_on_both_sides() {
        let files = Files::new();
        let server = RedisServer::builder().tls(&files.path("server.pem"), &files.path("server.key"), &files.path("ca.pem"));
        let server = server.config("tls-auth-clients yes").start().await;
        let url = format!("rediss://localhost:{}?connect_timeout=3s&tls_ca={}", server.address().port(), files.shown("ca.pem"));
        let own = format!("&tls_cert={}&tls_key={}", files.shown("client.pem"), files.shown("client.key"));
        let bus = RedisBus::connect(&format!("{url}{own}")).await.unwrap();
        works(&bus).await;
        bus.close().await.unwrap();
        // The server wants a certificate, and the client wants one that it can trust.
        let strangers = Files::new();
        for bad in [
            url.clone(),
            format!("{url}{own}").replace(&files.shown("ca.pem"), &strangers.shown("ca.pem")),
            format!("redis://localhost:{}?connect_timeout=3s", server.address().port()),
        ] {
            let error = RedisBus::connect(&bad).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Denied), "{bad}: {error}");
        }
        let error = RedisBus::connect(&format!("{url}&tls_cert=/none&tls_key=/none")).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("tls_cert /none"), "{error}");
    }
}
