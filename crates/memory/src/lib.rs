//! The in-process backend of Eventbus: [`MemoryBus`], a real broker in miniature.

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

pub use self::{
    bus::MemoryBus,
    config::{MemoryBuilder, Retention},
};

/// The name of this backend in errors, metrics and spans.
const BACKEND: &str = "memory";
