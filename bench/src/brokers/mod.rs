//! The jobs that every client of a server does: publishing in three ways, and consuming in a group.
//!
//! A client of a contest is a [`Publish`] or a [`Consume`]; what is done with it is the same for all.

mod consume;
mod ours;
mod publish;
mod sample;

pub use self::{
    consume::{Consume, Members, group},
    ours::Ours,
    publish::{BATCH, Publish, concurrently, in_batches, one_by_one},
    sample::{Sample, sizes},
};
