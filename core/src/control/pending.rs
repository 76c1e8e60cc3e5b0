//! Questions that threads of the control socket have put to the main thread, and wait for.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The question will not be answered: the daemon stops, or who should have answered is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("raddle is stopping")]
pub struct Abandoned;

/// All questions that are waited for.
#[derive(Default)]
pub struct Pending {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_stopping: bool,
    last_id: u64,
    waiting: HashMap<u64, Arc<dyn Abandon>>,
}

trait Abandon: Send + Sync {
    fn abandon(&self);
}

/// Where an answer is put.
struct Slot<T> {
    outcome: Mutex<Option<Result<T, Abandoned>>>,
    settled: Condvar,
}

/// The right to answer a question once. Dropped without an answer, the one who waits is told so.
pub struct Answerer<T> {
    slot: Arc<Slot<T>>,
}

/// A panic of a thread that holds one of these locks cannot leave its value half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pending {
    /// Puts a question by `post`, and waits for its answer as long as it takes.
    ///
    /// # Errors
    /// It was abandoned.
    pub fn ask<T: Send + 'static>(&self, post: impl FnOnce(Answerer<T>)) -> Result<T, Abandoned> {
        let slot = Arc::new(Slot { outcome: Mutex::new(None), settled: Condvar::new() });
        let id = {
            let mut state = lock(&self.state);
            if state.is_stopping {
                return Err(Abandoned);
            }
            state.last_id += 1;
            let id = state.last_id;
            state.waiting.insert(id, Arc::clone(&slot) as Arc<dyn Abandon>);
            id
        };
        post(Answerer { slot: Arc::clone(&slot) });
        let outcome = slot.wait();
        lock(&self.state).waiting.remove(&id);
        outcome
    }

    /// Abandons all questions, and those that are still to come.
    pub fn stop(&self) {
        let mut state = lock(&self.state);
        state.is_stopping = true;
        state.waiting.drain().for_each(|(_, slot)| slot.abandon());
    }
}

impl<T> Slot<T> {
    /// The first outcome counts.
    fn settle(&self, outcome: Result<T, Abandoned>) {
        lock(&self.outcome).get_or_insert(outcome);
        self.settled.notify_all();
    }

    fn wait(&self) -> Result<T, Abandoned> {
        let mut outcome = lock(&self.outcome);
        loop {
            match outcome.take() {
                Some(outcome) => return outcome,
                None => outcome = self.settled.wait(outcome).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl<T: Send> Abandon for Slot<T> {
    fn abandon(&self) {
        self.settle(Err(Abandoned));
    }
}

impl<T> Answerer<T> {
    /// Answers.
    pub fn answer(self, answer: T) {
        self.slot.settle(Ok(answer));
    }
}

impl<T> Drop for Answerer<T> {
    fn drop(&mut self) {
        self.slot.settle(Err(Abandoned));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_comes_from_another_thread() {
        let pending = Pending::default();
        let answer = pending.ask(|answerer| {
            std::thread::spawn(move || answerer.answer(7));
        });
        assert_eq!(answer, Ok(7));
        assert!(lock(&pending.state).waiting.is_empty());
    }

    #[test]
    fn a_question_that_is_dropped_is_told() {
        assert_eq!(Pending::default().ask::<()>(drop), Err(Abandoned));
    }

    #[test]
    fn stopping_ends_all_waiting_and_refuses_the_next() {
        let (kept, pending) = (Mutex::new(Vec::new()), Pending::default());
        std::thread::scope(|scope| {
            let (kept, pending) = (&kept, &pending);
            let asked: Vec<_> = (0..8)
                .map(|_| scope.spawn(move || pending.ask::<u32>(|answerer| lock(kept).push(answerer))))
                .collect();
            while lock(kept).len() < 8 {
                std::thread::yield_now();
            }
            pending.stop();
            for thread in asked {
                assert_eq!(thread.join().expect("no panic"), Err(Abandoned));
            }
            // Late answers go nowhere.
            lock(kept).drain(..).for_each(|answerer| answerer.answer(1));
        });
        assert_eq!(pending.ask(|answerer| answerer.answer(1)), Err(Abandoned));
    }
}
