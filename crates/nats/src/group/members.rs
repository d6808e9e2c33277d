//! The members of this process, and what the server counted for them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::time::Instant;

/// Who of this process is in which group.
#[derive(Default)]
pub(crate) struct Members(Mutex<HashMap<String, Vec<Arc<Lag>>>>);

/// How much a group has not acknowledged, as the server said it last.
#[derive(Debug, Default)]
pub(crate) struct Lag(Mutex<Option<(Instant, u64)>>);

impl Members {
    fn members(&self) -> MutexGuard<'_, HashMap<String, Vec<Arc<Lag>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, group: &str, lag: &Arc<Lag>) {
        self.members().entry(group.to_owned()).or_default().push(Arc::clone(lag));
    }

    pub(crate) fn remove(&self, group: &str, lag: &Arc<Lag>) {
        let mut members = self.members();
        if let Some(of_group) = members.get_mut(group) {
            of_group.retain(|member| !Arc::ptr_eq(member, lag));
            if of_group.is_empty() {
                members.remove(group);
            }
        }
    }

    /// Tells the members of a group what the server says. Returns how many there are.
    pub(crate) fn tell(&self, group: &str, asked: Instant, lag: u64) -> u64 {
        let members = self.members();
        let of_group = members.get(group).map(Vec::as_slice).unwrap_or_default();
        of_group.iter().for_each(|member| member.note(asked, lag));
        of_group.len() as u64
    }
}

impl Lag {
    /// Takes in an answer, unless the answer to a later question is there.
    pub(crate) fn note(&self, asked: Instant, lag: u64) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.is_none_or(|(before, _)| before <= asked) {
            *noted = Some((asked, lag));
        }
    }

    pub(crate) fn get(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|(_, lag)| lag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_answer_to_the_latest_question_counts() {
        let (members, lag, now) = (Members::default(), Arc::new(Lag::default()), Instant::now());
        assert_eq!((members.tell("g", now, 3), lag.get()), (0, None));
        members.add("g", &lag);
        assert_eq!((members.tell("g", now, 3), lag.get()), (1, Some(3)));
        lag.note(now.checked_sub(Duration::from_millis(1)).unwrap(), 9);
        assert_eq!(lag.get(), Some(3));
        members.remove("g", &lag);
        assert_eq!(members.tell("g", now, 0), 0);
    }
}
