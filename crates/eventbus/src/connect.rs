//! From a URL to a bus.

use eventbus_core::{Bus, Error, ErrorKind, Result};
use eventbus_runtime::url::BusUrl;
use std::sync::Arc;

/// The backends that URLs choose from: scheme, feature, and whether it is on.
const BACKENDS: [(&str, &str, bool); 5] = [
    ("memory", "memory", cfg!(feature = "memory")),
    ("nats", "nats", cfg!(feature = "nats")),
    ("tls", "nats", cfg!(feature = "nats")),
    ("redis", "redis", cfg!(feature = "redis")),
    ("rediss", "redis-tls", cfg!(feature = "redis-tls")),
];

/// Connects to the bus that a URL names.
///
/// | URL | backend | feature |
/// |---|---|---|
/// | `memory:` | within the process | `memory` (default) |
/// | `nats://host:4222`, `tls://host:4222` | NATS JetStream; `?mode=core` for core NATS | `nats` |
/// | `redis://host:6379` | Redis Streams; `?mode=pubsub` for Pub/Sub | `redis` |
/// | `rediss://host:6379` | the same, encrypted | `redis-tls` |
///
/// Parameters are the settings of the backend's builder, for instance `memory:?strict=true&retain_events=5000` or
/// `nats://localhost/shop?max_age=7d`. Each is checked: a typo is an error.
///
/// ```
/// # #[tokio::main] async fn main() -> eventbus::Result<()> {
/// let bus = eventbus::connect("memory:").await?;
/// bus.close().await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`ErrorKind::Invalid`] for what is no URL or has a parameter that is unknown or wrong, naming it; [`ErrorKind::Unsupported`] for a
/// backend whose feature is off, naming the feature, or that there is not; [`ErrorKind::Unavailable`] for a server that cannot be reached
/// within the connect timeout; [`ErrorKind::Denied`] for one that refuses the credentials. No error shows a user or password.
pub async fn connect(url: &str) -> Result<Arc<dyn Bus>> {
    let url = BusUrl::parse(url)?;
    match url.scheme() {
        #[cfg(feature = "memory")]
        "memory" => {
            let bus = eventbus_memory::MemoryBuilder::from_url(url)?.build().map_err(|error| error.during("connect"))?;
            Ok(Arc::new(bus))
        }
        #[cfg(feature = "nats")]
        "nats" | "tls" => Ok(Arc::new(eventbus_nats::NatsConfig::from_url(url)?.connect().await?)),
        #[cfg(feature = "redis")]
        "redis" => Ok(Arc::new(eventbus_redis::RedisConfig::from_url(url)?.connect().await?)),
        #[cfg(feature = "redis-tls")]
        "rediss" => Ok(Arc::new(eventbus_redis::RedisConfig::from_url(url)?.connect().await?)),
        scheme => Err(no_backend(scheme)),
    }
}

fn no_backend(scheme: &str) -> Error {
    let message = match BACKENDS.iter().find(|(name, ..)| *name == scheme) {
        Some((_, feature, _)) => format!(
            "{scheme}: needs the feature {feature:?} of the crate eventbus, which is off; add features = [{feature:?}] to the dependency"
        ),
        None => {
            let known: Vec<_> =
                BACKENDS.iter().map(|(name, _, on)| if *on { format!("{name}:") } else { format!("{name}: (feature off)") }).collect();
            format!("there is no backend for {scheme:?} URLs; there are {}", known.join(", "))
        }
    };
    Error::new(ErrorKind::Unsupported, message).during("connect")
}
