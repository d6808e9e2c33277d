use eventbus::EventData;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, EventData)]
#[event(type = "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q")]
struct OrderPlaced {
    order_id: String,
    total_cents: u64,
}

fn main() {}
