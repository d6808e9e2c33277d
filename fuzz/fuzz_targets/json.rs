//! Reads any bytes as one event in the CloudEvents JSON format.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    eventbus_fuzz::json(input);
});

/// Without a fuzzer: checks the inputs in the files named as arguments, such as one that a fuzzer has found.
#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    eventbus_fuzz::replay(eventbus_fuzz::json)
}
