use super::*;
use crate::{entry::Entry, names::Names, source::Lease, source::group::Home};
use eventbus_core::{Capabilities, Event, Plan, Subscribe};
use eventbus_runtime::Reporter;
use std::sync::Mutex;

const TICKET: Ticket = Ticket::numbered(7);

/// A member that asks nobody.
fn member() -> Member {
    let home = Home { names: Names::new("t", 1), links: Vec::new(), readers: Vec::new(), lease: LOOK, reporter: Reporter::new() };
    Member::new(home, &Plan::new(Subscribe::to("a").group("g"), &Capabilities::all("test"), "test").unwrap())
}

fn entry() -> Entry {
    let fields = [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "a")];
    Entry { id: "5-0".parse().unwrap(), fields: fields.map(|(name, value)| (name.into(), value.into())).into() }
}

/// The answer where nothing is to be taken over.
fn nothing(lease: Arc<Lease>) -> Claimed {
    let (cursor, entries, asked, elsewhere) = (String::new(), Vec::new(), Vec::new(), Vec::new());
    Claimed { partition: 0, next: None, cursor, entries, asked, elsewhere, lease }
}

/// A delivery that others wait for.
fn awaited() -> Run<Token> {
    let token = Token { partition: 0, id: "5-0".parse().unwrap(), lease: Some(Lease::until(1000)) };
    Run::one(Event::json("a", 1).unwrap(), token, 2).with_ticket(Some(TICKET))
}

#[tokio::test(start_paused = true)]
async fn what_the_server_does_not_take_for_due_is_asked_for_later() {
    let mut fetching = Fetching::new(&member());
    fetching.announce(&awaited(), TICKET);
    fetching.expect(&awaited(), Instant::now(), Some(TICKET));
    assert_eq!(fetching.claim_at(0), Instant::now(), "it is due by the clock here");
    for (next, later) in [(Some(Duration::from_secs(3600)), LOOK), (None, BRIEF), (Some(Duration::ZERO), BRIEF)] {
        tokio::time::advance(LOOK).await;
        fetching.put_off(0, &[awaited().first().1.id], next);
        assert_eq!(fetching.claim_at(0), Instant::now() + later, "{next:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_retries_are_claimed_a_few_at_a_time_and_all_at_once_after_each_other() {
    const MANY: u64 = 1000;
    let member = Arc::new(member());
    let mut fetching = Fetching::new(&member);
    let now = Instant::now();
    fetching.next_claim = now + LONG;
    let ids = (1..=MANY).map(|number| format!("{number}-0").parse::<EntryId>().unwrap());
    fetching.expected.extend(ids.map(|id| ((0, id), (TICKET, now))));
    let mut all = Vec::new();
    while all.len() < MANY as usize {
        assert_eq!((fetching.claim_at(0), fetching.claim_at(1)), (now, now), "after {}", all.len());
        let own = fetching.want(0..1, now).remove(0).own;
        assert!((1..=256).contains(&own.len()), "{}", own.len());
        all.extend(own.iter().copied());
        // None of them is due by the server's clock.
        let answer = Claimed { asked: own, next: Some(LONG), ..nothing(Lease::until(1000)) };
        fetching.claiming = Some(Box::pin(async { Ok(vec![answer]) }));
        assert!(fetching.advance(&member, &mut Context::from_waker(Waker::noop())).unwrap());
    }
    assert!(all.is_sorted() && all.len() == MANY as usize, "each was asked for once");
    assert_eq!(fetching.claim_at(0), now + LOOK, "all of them were put off");
}

#[tokio::test]
async fn a_claim_of_several_partitions_brings_no_more_than_one_of_one() {
    let mut fetching = Fetching::new(&member());
    let now = Instant::now();
    fetching.cursors = vec![String::new(); 3];
    for partition in 0..3 {
        let ids = (1..=200).map(|number| format!("{number}-0").parse::<EntryId>().unwrap());
        fetching.expected.extend(ids.map(|id| ((partition, id), (TICKET, now))));
    }
    let own: Vec<_> = fetching.want([1, 2, 0].into_iter(), now).iter().map(|wanted| (wanted.partition, wanted.own.len())).collect();
    assert_eq!(own, [(1, 200), (2, 56), (0, 0)]);
}

#[tokio::test]
async fn what_waits_here_is_looked_through_when_a_lease_may_be_over() {
    let member = member();
    let mut fetching = Fetching::new(&member);
    let lease = Lease::until(1000);
    fetching.expiry = u64::MAX;
    fetching.take_over(&member, Claimed { entries: vec![(entry(), 2)], ..nothing(Arc::clone(&lease)) });
    for (now, renewed_to, next) in [(900, 1000, 1000), (900, 2000, 1000), (1500, 2000, 2000)] {
        lease.extend(renewed_to);
        member.tell(now);
        fetching.give_up_expired(&member);
        assert_eq!((fetching.expiry, fetching.stash.len()), (next, 1), "at {now}");
    }
    member.tell(2000);
    fetching.give_up_expired(&member);
    assert_eq!((fetching.expiry, fetching.stash.len()), (u64::MAX, 0));
    assert!(fetching.is_incomplete);
}

#[tokio::test]
async fn an_answer_that_was_overtaken_brings_nothing_again() {
    let (member, mut cx) = (Arc::new(member()), Context::from_waker(Waker::noop()));
    let (answer, late) = tokio::sync::oneshot::channel();
    let mut fetching = Fetching::new(&member);
    fetching.reading = vec![Some(Reading { step: Box::pin(async { late.await.unwrap() }), overtaken: HashSet::new() })];
    let (lease, entries) = (Lease::until(1000), vec![(entry(), 1)]);
    let again = Claimed { entries, ..nothing(Arc::clone(&lease)) };
    fetching.recovering = Some(Box::pin(async { Ok(vec![again]) }));
    assert!(fetching.poll_reading(&member, &mut cx).is_pending());
    assert!(matches!(fetching.poll_recovering(&member, &mut cx), Poll::Ready(Ok(()))));
    let Some(Fetched::Run(run)) = fetching.take(10) else { panic!("it was asked for again") };
    fetching.let_go(&run);
    answer.send(Ok(Read { entries: vec![(0, vec![entry()])], lease })).ok().unwrap();
    assert!(matches!(fetching.poll_reading(&member, &mut cx), Poll::Ready(Ok(()))));
    assert!(fetching.take(10).is_none(), "it is settled");
}

#[tokio::test]
async fn what_arrives_while_nobody_fetches_waits_here_and_its_failures_are_told() {
    let member = Arc::new(member());
    let mut fetching = Fetching::new(&member);
    let read = Read { entries: vec![(0, vec![entry()])], lease: Lease::until(1000) };
    let answers = [Ok(read), Err(crate::error::unavailable("gone"))];
    let reading = answers.map(|answer| Some(Reading { step: Box::pin(async { answer }), overtaken: HashSet::new() }));
    fetching.reading = reading.into();
    fetching.catch_up(&member);
    assert_eq!(fetching.waiting().len(), 1, "its lease is renewed");
    assert!(fetching.is_incomplete && fetching.recovering.is_none(), "nothing is begun");
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(fetching.poll(&member, 10, &mut cx), Poll::Ready(Ok(Fetched::Run(_)))));
    let Poll::Ready(Err(error)) = fetching.poll(&member, 10, &mut cx) else { panic!("the failure was forgotten") };
    assert!(error.to_string().contains("gone"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn whoever_fetches_is_woken_though_somebody_else_has_looked() {
    let member = Arc::new(member());
    let mut fetching = Fetching::new(&member);
    let (answer, read) = tokio::sync::oneshot::channel();
    fetching.reading = vec![Some(Reading { step: Box::pin(async { read.await.unwrap() }), overtaken: HashSet::new() })];
    // No claim is due that would wake, too.
    (fetching.next_claim, fetching.next_search) = (Instant::now() + LONG, Instant::now() + LONG);
    let fetching = Arc::new(Mutex::new(fetching));
    let fetched = tokio::spawn({
        let (fetching, member) = (Arc::clone(&fetching), Arc::clone(&member));
        async move { std::future::poll_fn(|cx| fetching.lock().unwrap().poll(&member, 10, cx)).await }
    });
    tokio::task::yield_now().await;
    fetching.lock().unwrap().catch_up(&member);
    tokio::task::yield_now().await;
    answer.send(Ok(Read { entries: vec![(0, vec![entry()])], lease: Lease::until(1000) })).ok().unwrap();
    let fetched = tokio::time::timeout(LONG / 60, fetched).await.expect("it is woken").unwrap();
    assert!(matches!(fetched, Ok(Fetched::Run(_))));
}

#[tokio::test]
async fn what_is_lost_while_a_loss_is_made_good_is_asked_for_next() {
    let (member, mut cx) = (Arc::new(member()), Context::from_waker(Waker::noop()));
    let mut fetching = Fetching::new(&member);
    fetching.is_incomplete = true;
    fetching.begin(&member, 10);
    assert!(fetching.recovering.is_some() && fetching.claiming.is_none(), "nothing else is asked for");
    let (answer, recovered) = tokio::sync::oneshot::channel();
    fetching.recovering = Some(Box::pin(async { recovered.await.unwrap() }));
    let failed = Box::pin(async { Err(crate::error::unavailable("gone")) });
    fetching.reading = vec![Some(Reading { step: failed, overtaken: HashSet::new() })];
    assert!(fetching.advance(&member, &mut cx).is_err());
    fetching.begin(&member, 10);
    assert!(fetching.claiming.is_none() && fetching.reading[0].is_none(), "it is not over yet");
    answer.send(Ok(Vec::new())).ok().unwrap();
    assert!(fetching.advance(&member, &mut cx).unwrap());
    assert!(fetching.is_incomplete, "the answer may be older than the second loss");
    fetching.begin(&member, 10);
    fetching.recovering = Some(Box::pin(async { Err(crate::error::unavailable("gone")) }));
    assert!(fetching.advance(&member, &mut cx).is_err() && fetching.is_incomplete, "it is asked for once more");
}

#[tokio::test]
async fn a_loss_opens_the_gate_of_those_that_waited_for_it() {
    let mut fetching = Fetching::new(&member());
    fetching.returned.push_back(Fetched::Run(awaited()));
    let lost = fetching.waiting().pop().unwrap();
    assert!(fetching.forget(&lost));
    assert!(matches!(fetching.take(0), Some(Fetched::Elsewhere(TICKET))));
    assert!(fetching.take(1).is_none());
}

#[tokio::test]
async fn what_waited_here_for_longer_than_its_lease_is_asked_for_again() {
    let member = member();
    let mut fetching = Fetching::new(&member);
    for (now, expires) in [(900, false), (1000, true)] {
        member.tell(now);
        fetching.held.insert((0, "5-0".parse().unwrap()), 2);
        fetching.returned.push_back(Fetched::Run(awaited()));
        fetching.give_up_expired(&member);
        assert_eq!((fetching.take(0).is_none(), fetching.is_incomplete, fetching.held.is_empty()), (expires, expires, expires));
        assert_eq!(fetching.expected.len(), usize::from(expires), "others still wait for it");
    }
}
