//! The dead letters of a bus, bounded by number.

use eventbus_core::{DeadLetter, DeadLetterFilter, Error, ErrorKind, Result};
use std::collections::BTreeMap;

/// Letters by the order in which they came.
pub(super) struct Letters {
    most: usize,
    kept: BTreeMap<u64, DeadLetter>,
    next: u64,
}

impl Letters {
    pub(super) fn new(most: usize) -> Self {
        Self { most, kept: BTreeMap::new(), next: 0 }
    }

    /// Keeps a letter, unless the store is full: nothing is given up silently.
    pub(super) fn store(&mut self, letter: DeadLetter) -> Result<()> {
        if self.kept.len() >= self.most {
            return Err(Error::new(
                ErrorKind::Full { limit: self.most },
                format!("{} dead letters are kept already; redrive or remove some", self.most),
            ));
        }
        self.kept.insert(self.next, letter);
        self.next += 1;
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn list(&self, filter: &DeadLetterFilter) -> Vec<DeadLetter> {
        self.meant(filter).map(|(_, letter)| letter.clone()).collect()
    }

    /// The numbers of the letters that the filter means.
    pub(super) fn numbers(&self, filter: &DeadLetterFilter) -> Vec<u64> {
        self.meant(filter).map(|(number, _)| number).collect()
    }

    pub(super) fn take(&mut self, number: u64) -> Option<DeadLetter> {
        self.kept.remove(&number)
    }

    /// Puts back what was taken.
    pub(super) fn put_back(&mut self, number: u64, letter: DeadLetter) {
        self.kept.insert(number, letter);
    }

    fn meant<'a>(&'a self, filter: &'a DeadLetterFilter) -> impl Iterator<Item = (u64, &'a DeadLetter)> {
        let meant = self.kept.iter().filter(|(_, letter)| filter.matches(letter));
        meant.take(filter.limit.unwrap_or(usize::MAX)).map(|(number, letter)| (*number, letter))
    }
}
