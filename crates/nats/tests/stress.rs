//! All promises at once: every case of the conformance suite, several times, beside all the others.

#[path = "common/over_nats.rs"]
mod over_nats;

use eventbus_testing::conformance;
use over_nats::{CORE, JETSTREAM, OverNats};
use std::sync::Arc;

/// How many copies of each case run at once.
const COPIES: usize = 2;

fn stress(fixture: OverNats) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let failed = runtime.block_on(conformance::stress(Arc::new(fixture), COPIES));
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn copies_at_once_keep_every_promise_on_jetstream() {
    stress(JETSTREAM);
}

#[test]
fn copies_at_once_keep_every_promise_on_core() {
    stress(CORE);
}
