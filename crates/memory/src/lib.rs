//! The in-process backend of Eventbus: [`MemoryBus`], a real broker in miniature.
//!
//! # Parameters
//!
//! `memory:[?parameter=value&…]`. Each parameter is a method of [`MemoryBuilder`] of the same name, too.
//!
//! | parameter | default | meaning |
//! |---|---|---|
//! | `retain_events` | `1024` | how many events are retained for replay; 0 retains none |
//! | `retain_bytes` | `64MiB` | how many bytes of data are |
//! | `retain_age` | any | how old they may be |
//! | `dedup_window` | `2m` | for how long the same (source, id) is stored once; 0 turns it off |
//! | `dedup_events` | `100000` | how many events the window remembers at most |
//! | `hold` | none | how many events are held back until the start |
//! | `inline` | `false` | whether `publish` waits for the handlers |
//! | `strict` | `false` | whether every event goes through the codec |
//! | `max_payload` | `1MiB` | the largest payload |
//! | `max_dead_letters` | `10000` | how many dead letters are kept; a full store leaves further events where they are |
//! | `publish_timeout` | `30s` | how long a publish waits for room |
//! | `close_timeout` | `30s` | how long a close waits for handlers |

mod broker;
mod bus;
mod clock;
mod config;
mod core;
mod dead_letters;
mod inline;
mod replies;
mod source;
mod subscription;
mod url;
mod watch;

pub use self::{
    bus::MemoryBus,
    config::{MemoryBuilder, Retention},
};

/// The name of this backend in errors, metrics and spans.
const BACKEND: &str = "memory";
