//! Redis: Streams and Pub/Sub.

mod omniqueue;
mod pubsub;
mod raw;
mod ruststream;
mod sea_streamer;
mod strev;

use self::{omniqueue::Omniqueue, raw::Raw, ruststream::RustStream, sea_streamer::SeaStreamer, strev::Strev};
use crate::{
    brokers::{Ours, concurrently, group, in_batches, one_by_one, sizes},
    contest::{Contest, Unit},
    costs,
};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// All of them, on the server at this URL.
///
/// Nobody but us can store an event once, so that is turned off where we are compared. What it costs is compared alone.
pub fn contests(url: &str) -> Vec<Contest> {
    let mut all = Vec::new();
    for (size_name, size) in sizes() {
        let at = || url.to_owned();
        let bus = || Ours::connect(format!("{url}/?prefix={}&dedup_window=0s&max_msgs=100000", fresh("ours")), size);
        let once = || Ours::connect(format!("{url}/?prefix={}&max_msgs=100000", fresh("once")), size);
        // Everything stays in the server's memory until the contest is over.
        let less = if size > 1024 { 4 } else { 1 };
        let contest =
            |name: &str, events: u64, ours| Contest::new(format!("redis/{name}, {size_name}"), Unit::EventsPerSecond, events / less, ours);
        all.push(
            contest("publish one by one", 8_000, one_by_one(own(bus())))
                .against("redis", 0.95, one_by_one(own(Raw::connect(at(), size))))
                .against("sea-streamer-redis", 1.5, one_by_one(own(SeaStreamer::connect(at(), size))))
                .against("omniqueue", 1.5, one_by_one(own(Omniqueue::connect(at(), size))))
                .against("ruststream-fred", 1.5, one_by_one(own(RustStream::connect(at(), size))))
                .against("strev-redis", 1.5, one_by_one(own(Strev::connect(at(), size)))),
        );
        all.push(
            contest("publish 512 at once", 40_000, concurrently(own(bus())))
                .against("redis", 1.2, concurrently(own(Raw::connect(at(), size))))
                .against("sea-streamer-redis", 1.5, concurrently(own(SeaStreamer::connect(at(), size))))
                .against("omniqueue", 1.5, concurrently(own(Omniqueue::connect(at(), size))))
                .against("ruststream-fred", 1.5, concurrently(own(RustStream::connect(at(), size))))
                .against("strev-redis", 1.5, concurrently(own(Strev::connect(at(), size)))),
        );
        all.push(
            contest("publish 500 in a batch", 40_000, in_batches(own(bus())))
                .against("redis", 0.95, in_batches(own(Raw::connect(at(), size))))
                .against("strev-redis", 1.5, in_batches(own(Strev::connect(at(), size)))),
        );
        all.push(contest("publish 500 in a batch, each stored once", 40_000, in_batches(own(once()))).against(
            "redis without that",
            None,
            in_batches(own(Raw::connect(at(), size))),
        ));
        all.push(
            contest("consume, 1 member", 20_000, group(1, own(bus())))
                .against("redis", 0.95, group(1, own(Raw::connect(at(), size))))
                .against("sea-streamer-redis", 1.5, group(1, own(SeaStreamer::connect(at(), size))))
                .against("omniqueue", 1.5, group(1, own(Omniqueue::connect(at(), size))))
                .against("ruststream-fred", 1.5, group(1, own(RustStream::connect(at(), size))))
                .against("strev-redis", 1.5, group(1, own(Strev::connect(at(), size)))),
        );
    }
    let clients =
        costs::of_clients(all.iter().filter(|contest| contest.name.contains("500 in a batch, ") || contest.name.contains("1 member")), url);
    all.extend(pubsub::contests(url));
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
