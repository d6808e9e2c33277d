//! NATS: JetStream with its streams on disk, and core NATS.

mod core;
mod raw;
mod ruststream;
mod strev;

use self::{raw::Raw, ruststream::RustStream, strev::Strev};
use crate::{
    brokers::{Ours, concurrently, group, in_batches, one_by_one, sizes},
    contest::{Contest, Unit},
    costs,
};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// All of them, on the server at this URL.
pub fn contests(url: &str) -> Vec<Contest> {
    let mut all = Vec::new();
    for (size_name, size) in sizes() {
        let at = || url.to_owned();
        let bus = || Ours::connect(format!("{url}/{}", fresh("ours")), size);
        let contest = |name: &str, events, ours| Contest::new(format!("nats/{name}, {size_name}"), Unit::EventsPerSecond, events, ours);
        all.push(
            contest("publish one by one", 4_000, one_by_one(own(bus())))
                .against("async-nats", 0.95, one_by_one(own(Raw::connect(at(), size))))
                .against("ruststream-nats", 1.0, one_by_one(own(RustStream::connect(at(), size))))
                .against("strev-nats", 1.0, one_by_one(own(Strev::connect(at(), size)))),
        );
        all.push(
            contest("publish 512 at once", 20_000, concurrently(own(bus())))
                .against("async-nats", 0.95, concurrently(own(Raw::connect(at(), size))))
                .against("ruststream-nats", 1.0, concurrently(own(RustStream::connect(at(), size))))
                .against("strev-nats", 1.0, concurrently(own(Strev::connect(at(), size)))),
        );
        all.push(
            contest("publish 500 in a batch", 20_000, in_batches(own(bus())))
                .against("async-nats", 1.0, in_batches(own(Raw::connect(at(), size))))
                .against("strev-nats", 1.0, in_batches(own(Strev::connect(at(), size)))),
        );
        for members in [1, 4] {
            let name = if members == 1 { "consume, 1 member".to_owned() } else { format!("consume, {members} members") };
            all.push(
                contest(&name, 20_000, group(members, own(bus())))
                    .against("async-nats", 0.95, group(members, own(Raw::connect(at(), size))))
                    .against("ruststream-nats", 1.0, group(members, own(RustStream::connect(at(), size))))
                    .against("strev-nats", 1.0, group(members, own(Strev::connect(at(), size)))),
            );
        }
    }
    let clients =
        costs::of_clients(all.iter().filter(|contest| contest.name.contains("500 in a batch, ") || contest.name.contains("1 member")), url);
    all.extend(core::contests(url));
    all.extend(clients);
    all
}

/// A future that is there already, as something that opens a client.
fn own<F>(opening: F) -> impl FnOnce() -> F {
    move || opening
}

/// A name that nobody else on the server has.
fn fresh(who: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("bench-{who}-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed))
}
