//! The dead letters of a server, as users of the bus see them.

use super::{Broker, LetterStore, core::Core};
use eventbus_core::{BusFuture, DeadLetter, DeadLetterFilter, DeadLetters, Error, Result};
use std::sync::{Arc, Weak};

/// How many letters are read at once.
const PAGE: usize = 256;

type Place<B> = <<B as Broker>::Letters as LetterStore>::Place;

pub(super) struct Letters<B: Broker>(pub(super) Weak<Core<B>>);

impl<B: Broker> Letters<B> {
    fn core(&self, operation: &'static str) -> Result<Arc<Core<B>>> {
        let core = self.0.upgrade().ok_or_else(|| Error::closed(operation))?;
        core.check_not_closed(operation)?;
        Ok(core)
    }

    async fn list(&self, filter: DeadLetterFilter) -> Result<Vec<DeadLetter>> {
        let core = self.core("dead_letters")?;
        let mut chosen = Chosen::new(filter);
        let mut listed = Vec::new();
        while let Some(page) = chosen.next_page(&core).await? {
            listed.extend(page.into_iter().map(|(_, letter)| letter));
        }
        Ok(listed)
    }

    async fn redrive(&self, filter: DeadLetterFilter) -> Result<usize> {
        let core = self.core("redrive")?;
        let mut chosen = Chosen::new(filter);
        let mut redriven = 0;
        while let Some(page) = chosen.next_page(&core).await? {
            for (place, letter) in page {
                let published = core.with_letters(|letters| letters.republish(&place, &letter)).await;
                published.map_err(|error| error.during("redrive").with("id", letter.event.id()).with("redriven", redriven))?;
                redriven += usize::from(core.with_letters(|letters| letters.remove(&place)).await?);
            }
        }
        Ok(redriven)
    }

    async fn remove(&self, filter: DeadLetterFilter) -> Result<usize> {
        let core = self.core("dead_letters")?;
        let mut chosen = Chosen::new(filter);
        let mut removed = 0;
        while let Some(page) = chosen.next_page(&core).await? {
            for (place, _) in page {
                removed += usize::from(core.with_letters(|letters| letters.remove(&place)).await?);
            }
        }
        Ok(removed)
    }
}

/// The letters that a filter means, page by page.
struct Chosen<B: Broker> {
    filter: DeadLetterFilter,
    /// How many more the filter wants.
    wanted: usize,
    after: Option<Place<B>>,
}

impl<B: Broker> Chosen<B> {
    fn new(filter: DeadLetterFilter) -> Self {
        Self { wanted: filter.limit.unwrap_or(usize::MAX), filter, after: None }
    }

    /// The next letters that are meant, which may be none of a page. `None` at the end.
    async fn next_page(&mut self, core: &Core<B>) -> Result<Option<Vec<(Place<B>, DeadLetter)>>> {
        if self.wanted == 0 {
            return Ok(None);
        }
        let page = core.with_letters(|letters| letters.page(self.after.as_ref(), PAGE)).await?;
        let Some((last, _)) = page.last() else { return Ok(None) };
        self.after = Some(last.clone());
        let chosen: Vec<_> = page.into_iter().filter(|(_, letter)| self.filter.matches(letter)).take(self.wanted).collect();
        self.wanted -= chosen.len();
        Ok(Some(chosen))
    }
}

impl<B: Broker> Core<B> {
    /// Does something with the letters, trying again while the server is away.
    async fn with_letters<'a, T, F>(&'a self, mut act: impl FnMut(&'a B::Letters) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let backend = self.broker.capabilities().backend;
        let letters = self.broker.letters().ok_or_else(|| Error::unsupported("Bus::dead_letters", backend))?;
        self.until_reached(self.deadline(), || act(letters)).await
    }
}

impl<B: Broker> DeadLetters for Letters<B> {
    fn list(&self, filter: DeadLetterFilter) -> BusFuture<'_, Result<Vec<DeadLetter>>> {
        BusFuture::new(self.list(filter))
    }

    fn redrive(&self, filter: DeadLetterFilter) -> BusFuture<'_, Result<usize>> {
        BusFuture::new(self.redrive(filter))
    }

    fn remove(&self, filter: DeadLetterFilter) -> BusFuture<'_, Result<usize>> {
        BusFuture::new(self.remove(filter))
    }
}
