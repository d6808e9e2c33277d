//! From a URL to a bus.

use eventbus_core::{Bus, Error, ErrorKind, Result};
use eventbus_runtime::url::BusUrl;
use std::sync::Arc;

/// The backends that URLs choose from: scheme, feature, and whether it is on.
const BACKENDS: [(&str, &str, bool); 1] = [("memory", "memory", cfg!(feature = "memory"))];

/// Connects to the bus that a URL names.
///
/// | URL | backend | feature |
/// |---|---|---|
/// | `memory:` | within the process | `memory` (default) |
///
/// Parameters are the settings of the backend's builder, for instance `memory:?strict=true&retain_events=5000`. Each is checked: a typo is
/// an error.
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
/// backend whose feature is off, naming the feature, or that there is not. No error shows a user or password.
pub async fn connect(url: &str) -> Result<Arc<dyn Bus>> {
    let url = BusUrl::parse(url)?;
    match url.scheme() {
        #[cfg(feature = "memory")]
        "memory" => {
            let bus = eventbus_memory::MemoryBuilder::from_url(url)?.build().map_err(|error| error.during("connect"))?;
            Ok(Arc::new(bus))
        }
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
