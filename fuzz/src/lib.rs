//! What the fuzz targets of Eventbus check.
//!
//! Each target is a function over any bytes that panics where a promise is broken, and returns whether the input was accepted. Promises are more than not to panic: what is
//! accepted survives being written and read again, in this format and in the others, and what is refused is refused by name. The fuzz targets
//! in `fuzz_targets` and the test that runs the seeds call the same functions.

mod codec;
mod fields;
mod pattern;

pub use self::{
    codec::{batch, json, nats, redis},
    pattern::pattern,
};

use std::{env, fs, io};

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All targets. The seeds of each are in `seeds`, in the folder of its name.
pub const TARGETS: [Target; 5] = [("json", json), ("batch", batch), ("nats", nats), ("redis", redis), ("pattern", pattern)];

/// Gives a target the content of each file named as an argument of the program.
///
/// # Errors
/// Where a file cannot be read.
///
/// # Panics
/// Where the target finds a broken promise.
pub fn replay(target: fn(&[u8]) -> bool) -> io::Result<()> {
    for path in env::args_os().skip(1) {
        let verdict = if target(&fs::read(&path)?) { "accepted" } else { "refused" };
        println!("{}: {verdict}", path.display());
    }
    Ok(())
}
