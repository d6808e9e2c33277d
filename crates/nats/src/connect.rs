//! Making a connection.

use crate::{
    broker::NatsBroker,
    config::NatsConfig,
    link::{Link, Signals},
};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr, rustls};
use eventbus_core::{Error, ErrorKind, Result};
use std::{error::Error as StdError, path::Path, sync::Arc, time::Duration};

/// How many commands may wait for the connection to take them.
const COMMANDS: usize = 2048;

/// Connects and gets ready, as often as the settings say.
pub(crate) async fn connect(config: &NatsConfig) -> Result<NatsBroker> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let ready = async { NatsBroker::open(connect_once(config).await?, true, config).await };
        let error = match ready.await {
            Ok(broker) => return Ok(broker),
            Err(error) => error,
        };
        if !config.retry_on_connect || !error.is_retryable() {
            return Err(error);
        }
        if let Some(most) = config.max_reconnects.filter(|most| attempts > *most) {
            return Err(error.with("max_reconnects", most));
        }
        let wait = backoff(attempts + 1, config.reconnect_wait);
        tracing::warn!(target: "eventbus", %error, ?wait, "connecting to NATS failed, trying again");
        tokio::time::sleep(wait).await;
    }
}

async fn connect_once(config: &NatsConfig) -> Result<Link> {
    let signals = Signals::new(config.max_reconnects);
    let addresses = config.addresses();
    let servers: Vec<ServerAddr> = addresses
        .iter()
        .map(|server| server.to_string().parse().map_err(|fault| Error::invalid(format!("server {server}: {fault}"))))
        .collect::<Result<_>>()?;
    let connecting = options(config, addresses.len(), &signals)?.connect(servers);
    let connected: Result<Client> = match tokio::time::timeout(config.connect_timeout, connecting).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(refused(&error, signals.refused().as_deref())),
        Err(_) => Err(Error::new(ErrorKind::Timeout, format!("no server answered within {:?}", config.connect_timeout))),
    };
    let named = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    connected.map(|client| Link::own(client, &signals)).map_err(|error| error.with("servers", named))
}

fn options(config: &NatsConfig, servers: usize, signals: &Signals) -> Result<ConnectOptions> {
    choose_crypto();
    let wait = config.reconnect_wait;
    let hearing = signals.clone();
    let mut options = ConnectOptions::new()
        .name(config.name.clone().unwrap_or_else(program))
        .connection_timeout(config.connect_timeout)
        .ping_interval(config.ping_interval)
        // The client counts attempts over all servers.
        .max_reconnects(config.max_reconnects.map(|attempts| attempts.saturating_mul(servers)))
        .reconnect_delay_callback(move |attempt| backoff(attempt, wait))
        .client_capacity(COMMANDS)
        .custom_inbox_prefix(&config.inbox_prefix)
        .event_callback(move |event| {
            hearing.hear(event);
            std::future::ready(())
        });
    options = config.credentials.apply(options)?;
    let tls = &config.tls;
    if let Some(path) = &tls.ca_file {
        check_readable("tls_ca", path)?;
        options = options.add_root_certificates(path.clone());
    }
    if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
        check_readable("tls_cert", cert)?;
        check_readable("tls_key", key)?;
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    if tls.ca_file.is_some() || tls.cert_file.is_some() || tls.first {
        options = options.require_tls(true);
    }
    if tls.first {
        options = options.tls_first();
    }
    Ok(options)
}

/// How long to wait before an attempt, counted from 1.
fn backoff(attempt: usize, wait: Duration) -> Duration {
    let share = match attempt {
        0 | 1 => 0.05,
        2 => 0.25,
        3 => 0.5,
        _ => 1.0,
    };
    wait.mul_f64(share * rand::random_range(0.75..=1.0))
}

/// Where several kinds of cryptography are linked in, one has to be chosen for the process before TLS is used.
fn choose_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only where somebody else has just chosen.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

fn check_readable(option: &str, path: &Path) -> Result<()> {
    std::fs::File::open(path)
        .map(|_| ())
        .map_err(|fault| Error::invalid(format!("{option} {}: it cannot be read: {fault}", path.display())).during("connect"))
}

fn program() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    Path::new(&path).file_stem().map_or_else(|| "eventbus".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Says why connecting failed.
fn refused(error: &async_nats::ConnectError, said: Option<&str>) -> Error {
    let cause: Arc<str> = error.to_string().into();
    let of_kind = |kind, message: &str| Error::new(kind, format!("{message}: {}", said.unwrap_or(&cause)));
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation => Error::new(ErrorKind::Denied, "the server rejected the credentials, or requires some"),
        ConnectErrorKind::Authentication => Error::new(ErrorKind::Denied, "the credentials could not be used to sign in"),
        ConnectErrorKind::ServerParse => of_kind(ErrorKind::Invalid, "the address of a server cannot be read"),
        ConnectErrorKind::Tls => of_kind(ErrorKind::Denied, "TLS could not be set up"),
        _ if is_tls(error) => of_kind(ErrorKind::Denied, "the TLS handshake failed"),
        ConnectErrorKind::TimedOut => of_kind(ErrorKind::Timeout, "the server did not answer in time"),
        _ => of_kind(ErrorKind::Unavailable, "no server can be reached"),
    }
}

/// Whether TLS is behind an error.
fn is_tls(error: &async_nats::ConnectError) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return true;
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(inner) = inner
            && inner.is::<rustls::Error>()
        {
            return true;
        }
        cause = error.source();
    }
    false
}
