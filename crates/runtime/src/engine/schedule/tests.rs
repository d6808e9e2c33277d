use super::*;
use proptest::prelude::*;

fn event(id: usize, key: Option<u8>) -> Event {
    let mut event = Event::json("a", id).unwrap().with_id(id.to_string());
    if let Some(key) = key {
        event = event.with_partition_key(key.to_string());
    }
    event
}

fn run(events: &[(usize, Option<u8>)]) -> Run<usize> {
    let batch: crate::Batch<usize> = events.iter().map(|(id, key)| (event(*id, *key), *id)).collect();
    Run::new(std::sync::Arc::new(batch), 0..events.len(), 1)
}

fn ids(run: &Run<usize>) -> Vec<usize> {
    run.iter().map(|(_, id)| *id).collect()
}

fn take(schedule: &mut Schedule<usize>) -> Option<Vec<usize>> {
    schedule.take(usize::MAX).map(|run| ids(&run))
}

#[test]
fn strict_runs_one_run_at_a_time_in_order() {
    let mut schedule = Schedule::new(Ordering::Strict);
    schedule.insert(run(&[(1, None), (2, None)]));
    schedule.insert(run(&[(3, None)]));
    assert_eq!(take(&mut schedule), Some(vec![1, 2]));
    assert_eq!(take(&mut schedule), None);
    schedule.finish(STRICT);
    assert_eq!(take(&mut schedule), Some(vec![3]));
}

#[test]
fn what_was_put_back_holds_back_what_follows_until_it_returns() {
    let mut schedule = Schedule::new(Ordering::Strict);
    schedule.insert(run(&[(1, None), (2, None), (3, None)]));
    let taken = schedule.take(usize::MAX).unwrap();
    // 1 failed; 2 and 3 were not started.
    schedule.give_back(Some(0), taken.part(1..3));
    schedule.wait_for(STRICT, Ticket(1));
    schedule.finish(STRICT);
    schedule.insert(run(&[(4, None)]));
    assert!(schedule.has_gates());
    assert_eq!(take(&mut schedule), None);
    schedule.insert(Run::one(event(1, None), 1, 2).with_ticket(Some(Ticket(1))));
    assert!(!schedule.has_gates());
    assert_eq!(take(&mut schedule), Some(vec![1]));
    schedule.finish(STRICT);
    assert_eq!(take(&mut schedule), Some(vec![2, 3]));
    schedule.finish(STRICT);
    assert_eq!(take(&mut schedule), Some(vec![4]));
}

#[test]
fn a_delivery_that_will_not_return_holds_back_nothing() {
    let mut schedule = Schedule::new(Ordering::Strict);
    schedule.insert(run(&[(1, None)]));
    take(&mut schedule);
    schedule.wait_for(STRICT, Ticket(1));
    schedule.finish(STRICT);
    schedule.insert(run(&[(2, None)]));
    schedule.open(Ticket(1));
    assert_eq!(take(&mut schedule), Some(vec![2]));
    assert!(!schedule.has_gates());
}

#[test]
fn keys_wait_for_themselves_only() {
    let mut schedule = Schedule::new(Ordering::PerKey);
    schedule.insert(run(&[(1, Some(1)), (2, Some(1)), (3, Some(2)), (4, None), (5, None), (6, Some(1))]));
    assert_eq!(take(&mut schedule), Some(vec![1, 2]));
    assert_eq!(take(&mut schedule), Some(vec![3]));
    assert_eq!(take(&mut schedule), Some(vec![4]));
    assert_eq!(take(&mut schedule), Some(vec![5]));
    assert_eq!(take(&mut schedule), None);
    let key = schedule.key(&event(6, Some(1)));
    key.into_iter().for_each(|key| schedule.finish(key));
    assert_eq!(take(&mut schedule), Some(vec![6]));
}

#[test]
fn a_lost_delivery_is_cut_out_wherever_it_waits() {
    for ordering in [Ordering::Strict, Ordering::PerKey, Ordering::Unordered] {
        for lost in 0..3 {
            let mut schedule = Schedule::new(ordering);
            let all = run(&[(0, Some(1)), (1, Some(1)), (2, Some(1))]);
            schedule.insert(all.clone());
            assert!(schedule.remove(&all.part(lost..lost + 1)));
            let mut left = Vec::new();
            while let Some(taken) = schedule.take(1) {
                left.extend(ids(&taken));
                let key = schedule.key(taken.first().0);
                key.into_iter().for_each(|key| schedule.finish(key));
            }
            let expected: Vec<_> = (0..3).filter(|id| *id != lost).collect();
            assert_eq!((left, schedule.len()), (expected, 0), "{ordering:?}");
            assert!(!schedule.remove(&all.part(0..1)));
        }
    }
}

#[test]
fn draining_returns_everything() {
    let mut schedule = Schedule::new(Ordering::PerKey);
    schedule.insert(run(&[(1, Some(1)), (2, Some(2)), (3, Some(1)), (4, None)]));
    let mut all: Vec<_> = schedule.drain().iter().flat_map(ids).collect();
    all.sort_unstable();
    assert_eq!((all, schedule.len()), (vec![1, 2, 3, 4], 0));
}

proptest! {
    /// Whatever is fetched, taken, finished, failed and returned in whichever order: everything runs, each key in order, and nothing of
    /// a key runs beside another or before what was put back.
    #[test]
    fn every_delivery_runs_and_keys_keep_their_order(
        strict in any::<bool>(),
        keys in prop::collection::vec(prop::option::weighted(0.8, 0u8..3), 1..30),
        cuts in prop::collection::vec(1usize..6, 1..30),
        choices in prop::collection::vec((any::<prop::sample::Index>(), 0u8..10, 1usize..4), 1..400),
    ) {
        let ordering = if strict { Ordering::Strict } else { Ordering::PerKey };
        let mut schedule = Schedule::new(ordering);
        let mut to_insert: VecDeque<Run<usize>> = VecDeque::new();
        let mut rest: &[Option<u8>] = &keys;
        let mut next = 0;
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (head, tail) = rest.split_at((*cut).min(rest.len()));
            let events: Vec<_> = head.iter().map(|key| { next += 1; (next - 1, *key) }).collect();
            to_insert.push_back(run(&events));
            rest = tail;
        }
        let group = |id: usize| if strict { Some(9) } else { keys[id] };
        let mut running: Vec<Run<usize>> = Vec::new();
        let mut returning: Vec<Run<usize>> = Vec::new();
        let mut done: Vec<usize> = Vec::new();
        let mut tickets = 0;
        let first = choices[0].0;
        // After the random part everything is inserted, taken, finished and returned by turns.
        let to_the_end = [0, 2, 5, 9].into_iter().map(|kind| (first, kind, 4)).cycle();
        let mut choices = choices.into_iter().chain(to_the_end);
        for _ in 0..2_000 {
            if done.len() == keys.len() { break; }
            let (index, kind, max) = choices.next().unwrap();
            match kind {
                0..=1 => if let Some(run) = to_insert.pop_front() { schedule.insert(run) },
                2..=4 => if let Some(run) = schedule.take(max) {
                    for (_, id) in run.iter() {
                        let beside = running.iter().flat_map(Run::iter).any(|(_, other)| group(*other).is_some() && group(*other) == group(*id));
                        prop_assert!(!beside, "two of one key at once");
                    }
                    running.push(run);
                },
                5..=7 => if !running.is_empty() {
                    let run = running.swap_remove(index.index(running.len()));
                    done.extend(ids(&run));
                    let key = schedule.key(run.first().0);
                    key.into_iter().for_each(|key| schedule.finish(key));
                },
                8 => if !running.is_empty() {
                    // The first fails; of a key, what follows in the run was not started.
                    let run = running.swap_remove(index.index(running.len()));
                    let key = schedule.key(run.first().0);
                    let first = *run.first().1;
                    if run.len() > 1 { schedule.give_back(key, run.part(run.range().start + 1..run.range().end)); }
                    tickets += 1;
                    key.into_iter().for_each(|key| schedule.wait_for(key, Ticket(tickets)));
                    key.into_iter().for_each(|key| schedule.finish(key));
                    returning.push(Run::one(event(first, keys[first]), first, run.attempt() + 1).with_ticket(Some(Ticket(tickets))));
                },
                _ => if !returning.is_empty() { let run = returning.swap_remove(index.index(returning.len())); schedule.insert(run) },
            }
        }
        prop_assert_eq!(done.len(), keys.len(), "something was never run");
        for key in (0..10).map(Some) {
            let of_key: Vec<_> = done.iter().filter(|id| group(**id) == key).collect();
            prop_assert!(of_key.is_sorted(), "out of order: {:?}", of_key);
        }
        prop_assert_eq!((schedule.len(), schedule.has_gates()), (0, false));
    }
}
