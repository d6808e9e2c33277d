//! The consumer engine on a source that loses leases, fails, and ends, as no in-process backend does.

mod batches;
mod endings;
mod failures;
mod leases;
mod retries;
mod script;
