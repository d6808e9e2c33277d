//! A bus from its URL: `memory:` with the settings of [`MemoryBuilder`](crate::MemoryBuilder) as parameters.

use crate::MemoryBuilder;
use eventbus_core::{Error, Result};
use eventbus_runtime::url::{BusUrl, Size};
use std::time::Duration;

impl MemoryBuilder {
    /// Reads the settings from a URL such as `memory:?strict=true&retain_events=5000`. Every method of this builder is a parameter of the
    /// same name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](eventbus_core::ErrorKind::Invalid) for anything but a scheme and known parameters, naming it.
    pub fn from_url(mut url: BusUrl) -> Result<Self> {
        if url.host().is_some() || !url.path().is_empty() {
            return Err(Error::invalid(
                "memory: takes neither host nor path, since such a bus lives in its own process; write memory: or memory:?strict=true",
            )
            .during("connect"));
        }
        let mut builder = Self::default();
        if let Some(events) = url.take("retain_events")? {
            builder = builder.retain_events(events);
        }
        if let Some(Size(bytes)) = url.take("retain_bytes")? {
            builder = builder.retain_bytes(bytes);
        }
        if let Some(age) = url.take::<Duration>("retain_age")? {
            builder = builder.retain_age(age);
        }
        if let Some(window) = url.take::<Duration>("dedup_window")? {
            builder = builder.dedup_window(window);
        }
        if let Some(events) = url.take("dedup_events")? {
            builder = builder.dedup_events(events);
        }
        if let Some(capacity) = url.take("hold")? {
            builder = builder.hold(capacity);
        }
        if url.take("inline")?.unwrap_or(false) {
            builder = builder.inline();
        }
        if url.take("strict")?.unwrap_or(false) {
            builder = builder.strict();
        }
        if let Some(Size(bytes)) = url.take("max_payload")? {
            builder = builder.max_payload(bytes);
        }
        if let Some(letters) = url.take("max_dead_letters")? {
            builder = builder.max_dead_letters(letters);
        }
        if let Some(timeout) = url.take::<Duration>("publish_timeout")? {
            builder = builder.publish_timeout(timeout);
        }
        if let Some(timeout) = url.take::<Duration>("close_timeout")? {
            builder = builder.close_timeout(timeout);
        }
        url.finish()?;
        Ok(builder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(url: &str) -> Result<MemoryBuilder> {
        MemoryBuilder::from_url(BusUrl::parse(url)?)
    }

    #[test]
    fn every_setting_is_a_parameter() {
        let url = "memory:?retain_events=1&retain_bytes=2KiB&retain_age=3s&dedup_window=4m&dedup_events=5&hold=6&inline=true&strict=true\
                   &max_payload=7&max_dead_letters=8&publish_timeout=9s&close_timeout=10s";
        let expected = MemoryBuilder::default()
            .retain_events(1)
            .retain_bytes(2048)
            .retain_age(Duration::from_secs(3))
            .dedup_window(Duration::from_secs(240))
            .dedup_events(5)
            .hold(6)
            .inline()
            .strict()
            .max_payload(7)
            .max_dead_letters(8)
            .publish_timeout(Duration::from_secs(9))
            .close_timeout(Duration::from_secs(10));
        assert_eq!(format!("{:?}", builder(url).unwrap()), format!("{expected:?}"));
        assert_eq!(format!("{:?}", builder("memory:").unwrap()), format!("{:?}", MemoryBuilder::default()));
        assert_eq!(format!("{:?}", builder("memory:?strict=false").unwrap()), format!("{:?}", MemoryBuilder::default()));
    }

    #[test]
    fn anything_else_is_refused() {
        for (url, part) in
            [("memory://host", "host"), ("memory:name", "path"), ("memory:?sticky=true", "sticky"), ("memory:?hold=x", "hold")]
        {
            let error = builder(url).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn bad_settings_are_refused_when_built() {
        for (builder, name) in [
            (MemoryBuilder::default().publish_timeout(Duration::ZERO), "publish_timeout"),
            (MemoryBuilder::default().close_timeout(Duration::MAX), "close_timeout"),
            (MemoryBuilder::default().dedup_window(Duration::MAX), "dedup_window"),
            (MemoryBuilder::default().retain_age(Duration::ZERO), "retain_age"),
            (MemoryBuilder::default().max_payload(0), "max_payload"),
            (MemoryBuilder::default().max_payload(usize::MAX), "max_payload"),
            (MemoryBuilder::default().hold(0), "hold"),
        ] {
            let error = builder.build().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
