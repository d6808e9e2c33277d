use super::*;

fn token(sequence: u64, delivered: u64) -> Token {
    Token { sequence, delivered, ..Token::of_message(10) }
}

fn event(number: u64) -> Event {
    Event::json("a", number).unwrap()
}

fn arrive(ledger: &mut Ledger, sequence: u64, delivered: u64) -> bool {
    ledger.arrive(event(sequence), token(sequence, delivered), None) == Arrival::Waiting
}

/// What is taken: places and attempt, or nothing.
fn take(ledger: &mut Ledger, max: usize) -> Option<(Vec<u64>, u32)> {
    match ledger.take(max)? {
        Fetched::Run(run) | Fetched::Undecodable(run, _) => Some((run.iter().map(|(_, token)| token.sequence).collect(), run.attempt())),
        _ => None,
    }
}

#[test]
fn what_arrived_together_is_taken_together_up_to_the_room() {
    let mut ledger = Ledger::default();
    (1..=5).for_each(|sequence| assert!(arrive(&mut ledger, sequence, 1)));
    assert_eq!(take(&mut ledger, 3), Some((vec![1, 2, 3], 1)));
    assert_eq!(take(&mut ledger, 3), Some((vec![4, 5], 1)));
    assert_eq!(take(&mut ledger, 3), None);
    assert_eq!(ledger.unstarted.bytes(4), 10);
}

#[test]
fn a_redelivery_is_not_taken_before_its_attempts_are_known() {
    let mut ledger = Ledger::default();
    arrive(&mut ledger, 1, 4);
    arrive(&mut ledger, 2, 1);
    assert_eq!(ledger.uncounted(), [1]);
    assert_eq!(take(&mut ledger, 9), None, "order is kept");
    ledger.count(1, 2);
    assert_eq!(take(&mut ledger, 9), Some((vec![1], 2)), "4 deliveries, of which 2 count for nothing");
    assert_eq!(take(&mut ledger, 9), Some((vec![2], 1)));
}

#[test]
fn what_was_put_back_here_comes_back_without_a_question() {
    let mut ledger = Ledger::default();
    arrive(&mut ledger, 1, 1);
    take(&mut ledger, 1);
    ledger.put_back(&token(1, 1), Instant::now(), None);
    arrive(&mut ledger, 1, 2);
    assert!(ledger.uncounted().is_empty());
    assert_eq!(take(&mut ledger, 1), Some((vec![1], 2)));
    // Another member may have had it in between.
    ledger.is_shared = true;
    ledger.put_back(&token(1, 2), Instant::now(), None);
    arrive(&mut ledger, 1, 4);
    assert_eq!(ledger.uncounted(), [1]);
}

#[test]
fn what_was_lost_on_its_way_back_is_no_attempt() {
    let mut ledger = Ledger::default();
    arrive(&mut ledger, 1, 1);
    take(&mut ledger, 1);
    ledger.put_back(&token(1, 1), Instant::now(), None);
    arrive(&mut ledger, 1, 3);
    assert!(ledger.uncounted().is_empty());
    assert_eq!(take(&mut ledger, 1), Some((vec![1], 2)), "the second delivery was lost");
    // And where nobody has tried it yet.
    ledger.give_back(&token(2, 1));
    arrive(&mut ledger, 2, 4);
    arrive(&mut ledger, 2, 6);
    assert_eq!(take(&mut ledger, 1), Some((vec![2], 1)));
}

#[test]
fn what_the_engine_has_does_not_arrive_again() {
    let mut ledger = Ledger::default();
    arrive(&mut ledger, 1, 1);
    take(&mut ledger, 1);
    assert!(!arrive(&mut ledger, 1, 2));
    ledger.let_go(&token(1, 1));
    assert!(arrive(&mut ledger, 1, 3));
    assert_eq!(ledger.waiting(), 1);
    assert!(arrive(&mut ledger, 1, 4), "the newer delivery takes the place of the older");
    assert_eq!(ledger.waiting(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_stays_away_is_with_another_member_once_the_server_has_shown_that_it_is_well() {
    let mut engine = ticket_maker();
    let (mut ledger, second) = (Ledger::default(), Duration::from_secs(1));
    ledger.put_back(&token(1, 1), Instant::now(), Some(engine()));
    assert!(ledger.overdue(second).next().is_none());
    ledger.give_up_waiting(0, 9, second, 1);
    tokio::time::advance(second).await;
    assert!(ledger.overdue(second).next().is_some());
    ledger.give_up_waiting(0, 9, second, 1);
    assert!(ledger.take(1).is_none(), "it has shown it once");
    ledger.wait_on();
    ledger.give_up_waiting(0, 9, second, 1);
    assert!(ledger.take(1).is_none(), "since it was away, once again");
    ledger.give_up_waiting(0, 9, second, 1);
    assert!(matches!(ledger.take(0), Some(Fetched::Elsewhere(_))));
    // What the server has still to deliver comes when it gets there.
    ledger.put_back(&token(10, 1), Instant::now() - second, Some(engine()));
    (0..9).for_each(|_| ledger.give_up_waiting(0, 9, second, 1));
    assert!(ledger.take(1).is_none());
    // What is settled needs no showing.
    ledger.put_back(&token(7, 1), Instant::now() - second, Some(engine()));
    ledger.give_up_waiting(7, 9, second, 9);
    assert!(matches!(ledger.take(0), Some(Fetched::Elsewhere(_))));
}

#[test]
fn what_a_server_forgot_that_it_delivered_is_still_known() {
    let mut ledger = Ledger::default();
    (1..=3).for_each(|sequence| assert!(arrive(&mut ledger, sequence, 1)));
    take(&mut ledger, 3);
    ledger.put_back(&token(2, 1), Instant::now(), Some(ticket_maker()()));
    assert!(!arrive(&mut ledger, 1, 1), "the engine has it");
    assert!(arrive(&mut ledger, 2, 1));
    assert!(arrive(&mut ledger, 4, 1));
    assert_eq!(take(&mut ledger, 0), Some((vec![2], 2)), "others wait for it, and its attempts grow");
    assert_eq!(take(&mut ledger, 9), Some((vec![4], 1)));
}

#[test]
fn what_others_wait_for_is_not_forgotten_when_it_goes_back_unseen() {
    let (mut ledger, mut engine) = (Ledger::default(), ticket_maker());
    arrive(&mut ledger, 1, 1);
    take(&mut ledger, 1);
    ledger.put_back(&token(1, 1), Instant::now(), Some(engine()));
    // It comes back, and goes back with all the rest, such as what is behind a gap.
    arrive(&mut ledger, 1, 2);
    assert_eq!(ledger.take_arrived().len(), 1);
    arrive(&mut ledger, 1, 3);
    assert_eq!(take(&mut ledger, 0), Some((vec![1], 2)));
    // It comes twice before it is asked for.
    ledger.put_back(&token(1, 3), Instant::now(), Some(engine()));
    arrive(&mut ledger, 1, 4);
    arrive(&mut ledger, 1, 5);
    assert_eq!(take(&mut ledger, 0), Some((vec![1], 3)), "and counts once");
    // The stream is made anew.
    ledger.put_back(&token(1, 5), Instant::now(), Some(engine()));
    arrive(&mut ledger, 1, 6);
    ledger.forget();
    assert!(matches!(ledger.take(0), Some(Fetched::Elsewhere(_))));
}

/// A group whose consumer has delivered up to a place.
fn delivered(stream_seq: u64) -> ConsumerInfo {
    let place = serde_json::json!({ "consumer_seq": stream_seq, "stream_seq": stream_seq });
    let info = serde_json::json!({
        "name": "g", "created": "", "config": { "deliver_policy": "all", "ack_policy": "explicit" }, "delivered": place,
        "ack_floor": { "consumer_seq": 0, "stream_seq": 0 }, "num_ack_pending": 0, "num_waiting": 0, "num_pending": 0
    });
    serde_json::from_value(info).unwrap()
}

#[test]
fn what_was_settled_and_forgotten_by_the_server_is_settled_again() {
    let mut ledger = Ledger::default();
    (1..=4).for_each(|sequence| assert!(arrive(&mut ledger, sequence, 1)));
    take(&mut ledger, 4);
    ledger.settle(&token(1, 1));
    ledger.settle(&token(4, 1));
    ledger.let_go(&token(2, 1));
    let again = |ledger: &mut Ledger, sequence, delivered| ledger.arrive(event(sequence), token(sequence, delivered), None);
    assert_eq!(again(&mut ledger, 4, 2), Arrival::Settled, "it did not hear of it");
    ledger.resume(&delivered(0));
    let came = [1, 2, 3, 4].map(|sequence| again(&mut ledger, sequence, 1));
    assert_eq!(came, [Arrival::Settled, Arrival::Waiting, Arrival::Held, Arrival::Settled]);
    // It has caught up. What comes after that comes on purpose.
    assert_eq!(again(&mut ledger, 5, 1), Arrival::Waiting);
    assert_eq!(again(&mut ledger, 1, 1), Arrival::Waiting);
    ledger.settle_to(9);
    assert_eq!(again(&mut ledger, 7, 2), Arrival::Settled);
    ledger.begin_again(&delivered(0));
    assert_eq!(again(&mut ledger, 7, 2), Arrival::Waiting);
}

#[test]
fn a_place_that_was_given_to_another_event_is_noticed() {
    let mut ledger = Ledger::default();
    let stored = |sequence, stored_at| Token { stored_at, ..token(sequence, 1) };
    for (sequence, stored_at) in [(1, 10), (2, 20), (3, 30)] {
        assert!(!ledger.is_overwritten_by(&stored(sequence, stored_at)));
        ledger.arrive(event(sequence), stored(sequence, stored_at), None);
    }
    take(&mut ledger, 3);
    ledger.settle(&token(2, 1));
    ledger.resume(&delivered(1));
    assert!(!ledger.is_overwritten_by(&stored(2, 20)) && !ledger.is_overwritten_by(&stored(4, 40)));
    // The server lost 2 and 3, and stores something else there.
    assert!(ledger.is_overwritten_by(&stored(2, 40)));
    ledger.forget();
    assert_eq!(ledger.arrive(event(7), stored(2, 40), None), Arrival::Waiting);
    assert_eq!(ledger.arrive(event(8), stored(3, 50), None), Arrival::Waiting);
}

#[test]
fn what_comes_twice_keeps_its_place() {
    let mut ledger = Ledger::default();
    arrive(&mut ledger, 1, 1);
    arrive(&mut ledger, 2, 1);
    assert!(arrive(&mut ledger, 1, 2));
    assert_eq!(take(&mut ledger, 9), Some((vec![1, 2], 1)), "nobody has tried it");
}

#[test]
fn a_delivery_of_what_the_engine_has_is_no_attempt() {
    let mut ledger = Ledger::default();
    arrive(&mut ledger, 1, 1);
    take(&mut ledger, 1);
    assert!(!arrive(&mut ledger, 1, 2));
    ledger.put_back(&token(1, 1), Instant::now(), None);
    arrive(&mut ledger, 1, 3);
    assert_eq!(take(&mut ledger, 1), Some((vec![1], 2)));
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_server_brings_too_early_waits_until_it_is_due() {
    let (mut ledger, mut engine, second) = (Ledger::default(), ticket_maker(), Duration::from_secs(1));
    arrive(&mut ledger, 1, 1);
    take(&mut ledger, 1);
    ledger.put_back(&token(1, 1), Instant::now() + second, Some(engine()));
    arrive(&mut ledger, 1, 1);
    arrive(&mut ledger, 2, 1);
    assert_eq!(take(&mut ledger, 0), None);
    assert_eq!(take(&mut ledger, 9), Some((vec![2], 1)), "another key may go on");
    assert_eq!(ledger.next_early(), Some(Instant::now() + second));
    tokio::time::advance(second).await;
    assert_eq!(take(&mut ledger, 9), Some((vec![1], 2)));
}

#[test]
fn what_was_given_back_is_remembered_until_it_comes() {
    let mut ledger = Ledger::default();
    arrive(&mut ledger, 1, 1);
    take(&mut ledger, 1);
    ledger.give_back(&token(1, 1));
    assert!(ledger.knows(1) && ledger.each_back().all(|back| back.unstarted));
    // Once more, since the connection was lost: it is still one delivery that counts for nothing.
    ledger.give_back(&token(1, 1));
    arrive(&mut ledger, 1, 2);
    assert_eq!(ledger.each_back().count(), 0);
    assert_eq!(take(&mut ledger, 1), Some((vec![1], 1)));
}

/// Tickets are the engine's; here it is enough that there are some.
fn ticket_maker() -> impl FnMut() -> Ticket {
    let mut next = 0;
    move || {
        next += 1;
        Ticket::numbered(next)
    }
}
