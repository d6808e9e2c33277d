//! Every mistake with `#[derive(EventData)]` is answered with what to write instead.
//!
//! The mistakes are the files in `ui`, the answers stand beside them. Only messages of the macro itself are among them, so that they hold for
//! every compiler. After a change: `TRYBUILD=overwrite cargo test -p eventbus-derive --test messages`, then read the difference.

#[test]
fn every_mistake_is_answered_with_what_to_write() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

#[test]
fn every_answer_says_what_to_write() {
    let ui = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let mut seen = 0;
    for entry in std::fs::read_dir(ui).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "stderr") {
            continue;
        }
        let answer = std::fs::read_to_string(&path).unwrap();
        let message = answer.lines().next().unwrap();
        let says = ["write ", "add ", "keep one", "use ", "leave this out", "implement EventData by hand"]
            .iter()
            .any(|what| message.contains(what));
        assert!(says && message.starts_with("error: "), "{}: {message}", path.display());
        assert_eq!(answer.lines().filter(|line| line.starts_with("error")).count(), 1, "{}: one mistake, one error", path.display());
        seen += 1;
    }
    assert!(seen >= 25, "{seen}");
}
