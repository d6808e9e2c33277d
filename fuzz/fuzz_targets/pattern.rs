//! Reads any lines as patterns, and the last as an event type.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    eventbus_fuzz::pattern(input);
});

/// Without a fuzzer: checks the inputs in the files named as arguments, such as one that a fuzzer has found.
#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    eventbus_fuzz::replay(eventbus_fuzz::pattern)
}
