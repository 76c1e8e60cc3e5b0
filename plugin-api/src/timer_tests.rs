use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn all(wheel: &mut TimerWheel<u32>, now_ns: u64) -> Vec<u32> {
    let mut keys: Vec<_> = std::iter::from_fn(|| wheel.expire(now_ns)).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn timer_is_never_early_and_at_most_a_tick_late() {
    let mut wheel = TimerWheel::new(1000, 500);
    wheel.start(1, 0);
    wheel.start(2001, 1);
    wheel.start(3000, 2);
    assert_eq!(all(&mut wheel, 999), [0_u32; 0]);
    assert_eq!(all(&mut wheel, 1000), [0]);
    assert_eq!(all(&mut wheel, 2999), [0_u32; 0]);
    assert_eq!(all(&mut wheel, 3000), [1, 2]);
    assert!(wheel.is_empty() && wheel.next_ns().is_none());
}

#[test]
fn time_that_is_over_is_due_at_once() {
    let mut wheel = TimerWheel::new(1, 1_000_000);
    wheel.start(5, 1);
    assert_eq!(wheel.next_ns(), Some(1_000_000));
    assert_eq!(all(&mut wheel, 0), [1]);
}

#[test]
fn stopped_timer_does_not_expire_and_its_handle_names_no_other() {
    let mut wheel = TimerWheel::new(1, 0);
    let first = wheel.start(10, 1);
    assert_eq!((wheel.stop(first), wheel.stop(first)), (Some(1), None));
    let second = wheel.start(20, 2);
    assert_eq!((first.index, wheel.stop(first), wheel.restart(first, 5)), (second.index, None, false));
    assert_eq!(all(&mut wheel, 100), [2]);
    assert_eq!(wheel.stop(second), None);
}

#[test]
fn farthest_times_are_kept() {
    let mut wheel = TimerWheel::new(1, u64::MAX - 100);
    wheel.start(u64::MAX, 1);
    assert_eq!(all(&mut wheel, u64::MAX - 1), [0_u32; 0]);
    assert_eq!(all(&mut wheel, u64::MAX), [1]);
    let mut wheel = TimerWheel::new(1, 0);
    wheel.start(u64::MAX, 2);
    assert_eq!(all(&mut wheel, u64::MAX - 1), [0_u32; 0]);
    assert_eq!(all(&mut wheel, u64::MAX), [2]);
}

#[test]
fn a_million_timers_each_move_down_once_a_level_at_most() {
    let mut wheel = TimerWheel::new(1, 0);
    let when = |number: u32| 1 + u64::from(number.wrapping_mul(2_654_435_761)) % 10_000_000;
    for number in 0..1_000_000 {
        wheel.start(when(number), number);
    }
    let (mut now, mut expired) = (0, 0);
    while let Some(next) = wheel.next_ns() {
        assert!(next > now || expired == 0, "time goes on");
        now = next;
        while let Some(number) = wheel.expire(now) {
            assert_eq!(when(number), now);
            expired += 1;
        }
    }
    assert_eq!(expired, 1_000_000);
    assert_eq!(wheel.entries.len(), 1_000_000);
}

#[derive(Clone, Debug)]
enum Step {
    Start(u64),
    Stop(usize),
    Restart(usize, u64),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let far = prop_oneof![0..100_u64, 0..100_000_u64, 0..1_u64 << 40];
    prop_oneof![
        4 => far.clone().prop_map(Step::Start),
        1 => any::<usize>().prop_map(Step::Stop),
        1 => (any::<usize>(), far.clone()).prop_map(|(which, ahead)| Step::Restart(which, ahead)),
        3 => far.prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn wheel_does_what_a_sorted_list_does(tick in 1..50_u64, steps in prop::collection::vec(step(), 1..200)) {
        let mut now = 77_u64;
        let mut wheel = TimerWheel::new(tick, now);
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        let mut timers = Vec::new();
        for step in steps {
            match step {
                Step::Start(ahead) => {
                    let key = timers.len() as u32;
                    timers.push(wheel.start(now + ahead, key));
                    model.insert(key, (now + ahead).div_ceil(tick));
                }
                Step::Stop(which) if !timers.is_empty() => {
                    let key = (which % timers.len()) as u32;
                    prop_assert_eq!(wheel.stop(timers[key as usize]).is_some(), model.remove(&key).is_some());
                }
                Step::Restart(which, ahead) if !timers.is_empty() => {
                    let key = (which % timers.len()) as u32;
                    let known = wheel.restart(timers[key as usize], now + ahead);
                    prop_assert_eq!(known, model.contains_key(&key));
                    if known {
                        model.insert(key, (now + ahead).div_ceil(tick));
                    }
                }
                Step::Stop(_) | Step::Restart(..) => {}
                Step::Pass(ahead) => {
                    now += ahead;
                    let due: Vec<u32> =
                        model.iter().filter(|(_, when)| **when <= now / tick).map(|(key, _)| *key).collect();
                    prop_assert_eq!(all(&mut wheel, now), due.clone());
                    for key in due {
                        model.remove(&key);
                    }
                }
            }
            prop_assert_eq!(wheel.len(), model.len());
            let earliest = model.values().min().map(|when| when.max(&(now / tick)) * tick);
            prop_assert!(wheel.next_ns() <= earliest || earliest.is_none());
            prop_assert_eq!(wheel.next_ns().is_none(), earliest.is_none());
        }
    }
}
