//! What the server's answers bring.

use super::{BRIEF, Fetching, GRACE, LOOK, Place};
use crate::{
    entry::EntryId,
    source::{
        Token,
        group::{
            member::Member,
            reading::{Claimed, Read},
            ready::Ready,
        },
    },
};
use eventbus_core::Result;
use eventbus_runtime::{Fetched, Run};
use std::{
    collections::HashSet,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;

impl Fetching {
    pub(super) fn poll_passing(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(Poll::Ready((entries, outcome))) = self.passing.as_mut().map(|step| step.as_mut().poll(cx)) else { return false };
        self.passing = None;
        if outcome.is_ok() {
            entries.iter().for_each(|place| {
                self.held.remove(place);
            });
        } else {
            self.unwanted.extend(entries);
        }
        if let Err(error) = outcome {
            tracing::debug!(target: "eventbus", %error, "what no pattern wants could not be acknowledged, trying again");
            self.next_passing = Instant::now() + LOOK;
        }
        true
    }

    pub(super) fn poll_claiming(&mut self, member: &Arc<Member>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(Poll::Ready(claimed)) = self.claiming.as_mut().map(|step| step.as_mut().poll(cx)) else { return Poll::Pending };
        self.claiming = None;
        self.next_claim = Instant::now() + LOOK;
        self.is_incomplete |= claimed.is_err();
        for mut claimed in claimed? {
            if let Some(next) = claimed.next {
                self.next_claim = self.next_claim.min(Instant::now() + next);
            }
            if !claimed.cursor.is_empty() {
                self.next_claim = Instant::now();
            }
            self.cursors[claimed.partition as usize].clone_from(&claimed.cursor);
            let (partition, next, asked) = (claimed.partition, claimed.next, std::mem::take(&mut claimed.asked));
            self.take_over(member, claimed);
            self.put_off(partition, &asked, next);
        }
        Poll::Ready(Ok(()))
    }

    /// What was asked for and has not come back is not due yet by the server's clock, which may have been set back.
    pub(super) fn put_off(&mut self, partition: u32, asked: &[EntryId], next: Option<Duration>) {
        let now = Instant::now();
        let later = now + next.unwrap_or(LOOK).saturating_sub(GRACE).clamp(BRIEF, LOOK);
        for id in asked {
            if let Some((_, due)) = self.expected.get_mut(&(partition, *id)).filter(|(_, due)| *due <= now) {
                *due = later;
            }
        }
    }

    pub(super) fn poll_recovering(&mut self, member: &Arc<Member>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(Poll::Ready(recovered)) = self.recovering.as_mut().map(|step| step.as_mut().poll(cx)) else { return Poll::Pending };
        self.recovering = None;
        self.is_incomplete |= recovered.is_err();
        let let_go = std::mem::take(&mut self.let_go_meanwhile);
        for mut recovered in recovered? {
            let partition = recovered.partition;
            recovered.entries.retain(|(entry, attempt)| !let_go.contains(&((partition, entry.id), *attempt)));
            for reading in self.reading.iter_mut().flatten() {
                reading.overtaken.extend(recovered.entries.iter().map(|(entry, _)| (partition, entry.id)));
            }
            self.take_over(member, recovered);
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn take_over(&mut self, member: &Member, claimed: Claimed) {
        let Claimed { partition, entries, elsewhere, lease, .. } = claimed;
        for id in elsewhere {
            if let Some((ticket, _)) = self.expected.remove(&(partition, id)) {
                self.returned.push_back(Fetched::Elsewhere(ticket));
            }
        }
        self.expiry = self.expiry.min(lease.end());
        let mut ready = Ready::default();
        for (entry, attempt) in entries {
            let token = Token { partition, id: entry.id, lease: Some(Arc::clone(&lease)) };
            if self.held.insert((partition, entry.id), attempt) == Some(attempt) {
                // A read that went on meanwhile has brought it.
                continue;
            }
            let ticket = self.expected.remove(&(partition, entry.id)).map(|(ticket, _)| ticket);
            let Some(event) = member.sift(&entry, partition) else {
                self.unwanted.push((partition, entry.id));
                continue;
            };
            member.tally.fetched(1);
            match (event, ticket) {
                (Ok(event), None) => ready.push(event, token, attempt),
                (Ok(event), ticket) => self.returned.push_back(Fetched::Run(Run::one(event, token, attempt).with_ticket(ticket))),
                (Err((event, error)), ticket) => {
                    ready.put(Fetched::Undecodable(Run::one(event, token, attempt).with_ticket(ticket), error));
                }
            }
        }
        self.stash.extend(ready.into_fetched());
    }

    pub(super) fn poll_reading(&mut self, member: &Arc<Member>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut moved = Poll::Pending;
        for reader in 0..self.reading.len() {
            let Some(reading) = &mut self.reading[reader] else { continue };
            let Poll::Ready(read) = reading.step.as_mut().poll(cx) else { continue };
            let overtaken = std::mem::take(&mut reading.overtaken);
            self.reading[reader] = None;
            self.is_incomplete |= read.is_err();
            self.take_in(member, read?, &overtaken);
            moved = Poll::Ready(Ok(()));
        }
        moved
    }

    fn take_in(&mut self, member: &Member, read: Read, overtaken: &HashSet<Place>) {
        self.expiry = self.expiry.min(read.lease.end());
        let mut ready = Ready::default();
        let (mut all, mut wanted, mut bytes) = (0usize, 0usize, 0usize);
        for (partition, entries) in read.entries {
            for entry in entries {
                if overtaken.contains(&(partition, entry.id)) || self.held.insert((partition, entry.id), 1) == Some(1) {
                    // It was asked for again while this read went on.
                    continue;
                }
                all += 1;
                bytes += entry.size();
                match member.sift(&entry, partition) {
                    Some(event) => {
                        wanted += 1;
                        ready.read(event, Token { partition, id: entry.id, lease: Some(Arc::clone(&read.lease)) });
                    }
                    None => self.unwanted.push((partition, entry.id)),
                }
            }
        }
        if all > 0 {
            let smooth = |known: f64, now: f64| known + (now - known) * 0.5;
            self.wanted = smooth(self.wanted, wanted as f64 / all as f64);
            self.size = smooth(self.size, bytes as f64 / all as f64);
        }
        member.tally.fetched(wanted as u64);
        self.stash.extend(ready.into_fetched());
    }
}
