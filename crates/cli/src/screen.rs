//! The terminal as a whole screen, and its way back.

use ratatui::DefaultTerminal;
use std::{
    io,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes over the terminal. A panic gives it back.
pub(crate) fn take() -> io::Result<DefaultTerminal> {
    let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
    TAKEN.store(true, SeqCst);
    Ok(terminal)
}

/// Gives the terminal back, if it was taken.
pub(crate) fn give_back() {
    if TAKEN.swap(false, SeqCst) {
        ratatui::restore();
    }
}
