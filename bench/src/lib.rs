//! Eventbus beside the raw clients and its peers, in one process on one machine.
//!
//! A [`contest`] has one job, our way of doing it, and rivals that do the same. It is run in [rounds](run) that give everybody a turn, and
//! what counts is the [median of the ratios](spread) of each round. `cargo xtask bench` runs them all.

pub mod all;
pub mod arguments;
pub mod brokers;
pub mod codec;
pub mod contest;
pub mod costs;
pub mod growth;
pub mod in_process;
pub mod latency;
pub mod nats;
pub mod redis;
pub mod report;
pub mod run;
pub mod show;
pub mod spread;
pub mod traffic;
