//! The dead letters of a bus, as its users see them.

use crate::{
    broker::{Arrival, Phase},
    core::Core,
};
use eventbus_core::{BusFuture, DeadLetter, DeadLetterFilter, DeadLetters, Error, Result};
use std::sync::{Arc, Weak};

pub(crate) struct Letters(pub(crate) Weak<Core>);

impl Letters {
    fn core(&self, operation: &'static str) -> Result<Arc<Core>> {
        let core = self.0.upgrade().filter(|core| core.broker().phase() != Phase::Closed);
        core.ok_or_else(|| Error::closed(operation))
    }

    async fn redrive(&self, filter: DeadLetterFilter) -> Result<usize> {
        let core = self.core("redrive")?;
        let numbers = core.broker().letter_numbers(&filter);
        let mut redriven = 0;
        for number in numbers {
            // Taken first, so that two redrives at once do not publish it twice.
            let Some(letter) = core.broker().take_letter(number) else { continue };
            let event = letter.event.clone();
            let taken = Taken { core: &core, number, letter: Some(letter) };
            // Its id was published before: it is meant to be published again.
            core.publish_when_room(Arrival::again(event, None), false)
                .await
                .map_err(|error| error.during("redrive").with("redriven", redriven))?;
            taken.keep_out();
            redriven += 1;
        }
        Ok(redriven)
    }
}

/// A letter that goes back unless its event was published, also where the redrive is dropped half-way.
struct Taken<'a> {
    core: &'a Core,
    number: u64,
    letter: Option<DeadLetter>,
}

impl Taken<'_> {
    fn keep_out(mut self) {
        self.letter = None;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(letter) = self.letter.take() {
            self.core.broker().put_back_letter(self.number, letter);
        }
    }
}

impl DeadLetters for Letters {
    fn list(&self, filter: DeadLetterFilter) -> BusFuture<'_, Result<Vec<DeadLetter>>> {
        BusFuture::ready(self.core("dead_letters").map(|core| core.broker().letters(&filter)))
    }

    fn redrive(&self, filter: DeadLetterFilter) -> BusFuture<'_, Result<usize>> {
        BusFuture::new(self.redrive(filter))
    }

    fn remove(&self, filter: DeadLetterFilter) -> BusFuture<'_, Result<usize>> {
        BusFuture::ready(self.core("dead_letters").map(|core| {
            let mut broker = core.broker();
            let numbers = broker.letter_numbers(&filter);
            numbers.into_iter().filter_map(|number| broker.take_letter(number)).count()
        }))
    }
}
