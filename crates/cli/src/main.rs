//! The eventbus program.
fn main() {}
