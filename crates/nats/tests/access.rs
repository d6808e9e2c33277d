//! Who may connect, and how: passwords, tokens, nkeys, credentials, TLS, and what is refused.

mod common;

use common::{numbered, soon, unique};
use eventbus_core::{Bus, ErrorKind, Subscribe};
use eventbus_nats::{Mode, NatsBus, NatsConfig};
use eventbus_testing::{Probe, servers::NatsServer};
use nkeys::KeyPair;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// A bus with these settings works.
async fn works(config: NatsConfig) {
    let bus = config.prefix(unique()).connect().await.unwrap();
    let probe = Probe::new();
    bus.subscribe(Subscribe::to("a"), Arc::new(probe.clone())).await.unwrap();
    bus.publish(numbered("a", 1)).await.unwrap();
    probe.wait(1).await;
    bus.close().await.unwrap();
}

/// A bus with these settings is denied, in time and without showing a secret.
async fn is_denied(config: NatsConfig) -> String {
    let error = soon("the refusal", config.connect()).await.map(drop).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert_eq!(error.kind(), ErrorKind::Denied, "{shown}");
    assert!(!shown.contains("hunter") && !error.is_retryable(), "{shown}");
    shown
}

fn to(server: &NatsServer) -> NatsConfig {
    NatsBus::builder().server(&server.url())
}

fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    (directory, path)
}

#[tokio::test]
async fn a_user_with_a_password_is_let_in_and_another_is_not() {
    let server = NatsServer::builder().config("authorization { user: carla, password: \"hunter@2\" }").start().await;
    works(to(&server).user("carla", "hunter@2")).await;
    NatsBus::connect(&format!("nats://carla:hunter%402@{}?max_bytes=1MiB", server.address())).await.unwrap();
    is_denied(to(&server).user("carla", "hunter3")).await;
    is_denied(to(&server)).await;
    // However often it would be tried.
    is_denied(to(&server).user("carla", "hunter3").retry_on_connect(true)).await;
}

#[tokio::test]
async fn a_token_lets_in() {
    let server = NatsServer::builder().config("authorization { token: hunter2 }").start().await;
    works(to(&server).token("hunter2")).await;
    NatsBus::connect(&format!("nats://hunter2@{}?max_bytes=1MiB", server.address())).await.unwrap();
    is_denied(to(&server).token("hunter3")).await;
}

#[tokio::test]
async fn an_nkey_lets_in_and_its_seed_is_read_from_a_file() {
    let user = KeyPair::new_user();
    let server = NatsServer::builder().config(&format!("authorization {{ users = [ {{ nkey: {} }} ] }}", user.public_key())).start().await;
    let (_kept, seed) = file("user.nk", &format!("# a comment\n{}\n", user.seed().unwrap()));
    works(to(&server).nkey_file(&seed)).await;
    let (_kept, other) = file("other.nk", &KeyPair::new_user().seed().unwrap());
    is_denied(to(&server).nkey_file(&other)).await;
    let (_kept, none) = file("none.nk", "hunter2");
    for path in [none.as_path(), Path::new("/nowhere.nk")] {
        let error = to(&server).nkey_file(path).connect().await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("nkey_file") && !format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn credentials_let_in() {
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let unlimited = r#"{"subs":-1,"data":-1,"payload":-1,"imports":-1,"exports":-1,"wildcards":true,"conn":-1,"leaf":-1}"#;
    let of_operator = jwt(&operator, &operator, r#"{"type":"operator","version":2}"#);
    let of_account = jwt(&operator, &account, &format!(r#"{{"limits":{unlimited},"type":"account","version":2}}"#));
    let of_user = jwt(&account, &user, r#"{"subs":-1,"data":-1,"payload":-1,"type":"user","version":2}"#);
    let resolver = format!("operator: {of_operator}\nresolver: MEMORY\nresolver_preload: {{ {}: {of_account} }}", account.public_key());
    let server = NatsServer::builder().without_jetstream().config(&resolver).start().await;
    let seed = user.seed().unwrap();
    let credentials = format!(
        "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    let (_kept, path) = file("user.creds", &credentials);
    works(to(&server).mode(Mode::Core).credentials_file(&path)).await;
    is_denied(to(&server).mode(Mode::Core)).await;
    let (_kept, broken) = file("broken.creds", "hunter2");
    let error = to(&server).credentials_file(&broken).connect().await.map(drop).unwrap_err();
    assert!(error.to_string().contains("credentials_file") && !format!("{error:?}").contains("hunter2"), "{error:?}");
}

/// A JSON web token as NATS has them: who says something of whom.
fn jwt(issuer: &KeyPair, subject: &KeyPair, claims: &str) -> String {
    let encode = |bytes: &[u8]| {
        use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    };
    let header = encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let (issuer_key, subject_key) = (issuer.public_key(), subject.public_key());
    let body =
        format!(r#"{{"jti":"{subject_key}","iat":1700000000,"iss":"{issuer_key}","name":"test","sub":"{subject_key}","nats":{claims}}}"#);
    let signed = format!("{header}.{}", encode(body.as_bytes()));
    let signature = encode(&issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[tokio::test]
async fn what_a_user_may_not_do_is_denied_at_once() {
    let permissions = "authorization { users = [
        { user: nobody, password: hunter2, permissions: { publish: \"_INBOX.>\", subscribe: \"_INBOX.>\" } },
        { user: reader, password: hunter2, permissions: { publish: { deny: \"shop.secret.>\" } } } ] }";
    let server = NatsServer::builder().config(permissions).start().await;
    let shown = is_denied(to(&server).user("nobody", "hunter2")).await;
    assert!(shown.contains("$JS.API.STREAM.INFO"), "it says what was refused: {shown}");
    let bus = to(&server).user("reader", "hunter2").prefix("shop").max_bytes(1 << 20).connect().await.unwrap();
    let error = soon("the refusal", bus.publish(numbered("secret.a", 1))).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.to_string().contains("shop.secret.a"), "{error}");
    bus.publish(numbered("open.a", 1)).await.unwrap();
}

/// A certificate authority, and who it vouches for, as files.
struct Certificates {
    directory: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = ca.self_signed(&ca_key).unwrap();
        fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
        let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
        for name in ["server", "client"] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            fs::write(directory.path().join(format!("{name}.pem")), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
            fs::write(directory.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A server that shows its certificate and wants to see one.
    async fn server(&self, verify: bool) -> NatsServer {
        let config = format!(
            "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: {verify} }}\nauthorization {{ user: carla, password: hunter2 }}",
            self.path("server.pem"),
            self.path("server.key"),
            self.path("ca.pem")
        );
        NatsServer::builder().config(&config).start().await
    }
}

#[tokio::test]
async fn tls_with_certificates_of_both_sides() {
    let certificates = Certificates::new();
    let server = certificates.server(true).await;
    let config = || NatsBus::builder().server(&format!("tls://{}", server.address())).user("carla", "hunter2");
    let full =
        || config().tls_ca(certificates.path("ca.pem")).tls_cert(certificates.path("client.pem")).tls_key(certificates.path("client.key"));
    works(full()).await;
    // Without ours, with another authority, and with a file that is none.
    let error = soon("the refusal", config().tls_ca(certificates.path("ca.pem")).connect()).await.map(drop).unwrap_err();
    assert!(!error.to_string().contains("hunter"), "{error}");
    is_denied(config().tls_ca(Certificates::new().path("ca.pem"))).await;
    let error = full().tls_ca("/nowhere.pem").connect().await.map(drop).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("tls_ca"), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_an_error_in_time() {
    // It accepts and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = NatsBus::builder().server(&format!("nats://{}", silent.local_addr().unwrap())).connect_timeout(Duration::from_millis(200));
    let begun = tokio::time::Instant::now();
    let error = config.connect().await.map(drop).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout) && begun.elapsed() < Duration::from_secs(5), "{error}");
}
