//! The Redis backend of Eventbus: [`RedisBus`].

mod broker;
mod bus;
mod config;
mod connect;
mod ear;
mod encode;
mod entry;
mod error;
mod health;
mod letters;
mod link;
mod names;
mod publish;
mod replies;
mod reply;
mod script;
mod source;
mod tally;
mod trim;
mod url;

pub use self::{
    bus::RedisBus,
    config::{Idmp, Mode, RedisConfig},
};

/// The name of this backend in errors, metrics and spans.
const BACKEND: &str = "redis";
