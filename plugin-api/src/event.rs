//! Named events with data: signalled by anyone on the main thread, waited for by tasks, across plugins.
//!
//! ```
//! use raddle_plugin_api::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct LeaseChanged {
//!     interface: String,
//! }
//!
//! fn watch_leases(control: &Control<'_>) {
//!     control.spawn("lease-watch", |task| {
//!         // Here, not inside the future: what is signalled before the task first runs is not missed.
//!         let events = task.subscribe("lease-changed");
//!         async move {
//!             let Ok(mut events) = events else { return };
//!             while let Ok(LeaseChanged { interface }) = events.next().await {
//!                 task.with(|control| control.log(LogLevel::INFO, format_args!("a lease on {interface}")));
//!             }
//!         }
//!     });
//! }
//!
//! fn lease_changed(control: &Control<'_>, interface: String) -> Result<(), Failure> {
//!     control.signal("lease-changed", &LeaseChanged { interface }).map(drop)
//! }
//! # fn main() {}
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::task::Poll;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::task::TaskControl;
use crate::{Control, Failure};

/// Events that wait for a task that does not take them; older ones go first.
const MOST_WAITING: usize = 1024;

/// Events of one name, as a task takes them. What is signalled while the task does other things waits, up to 1,024 of
/// them; then the oldest go.
pub struct Events {
    control: TaskControl,
    subscription: u64,
}

impl TaskControl {
    /// Has events of this name kept for this task from now on.
    ///
    /// # Errors
    /// The host has no events.
    pub fn subscribe(&self, name: &str) -> Result<Events, Failure> {
        let request = Subscribe { name: name.to_owned() };
        let subscription = self.with(|control| control.call("event.subscribe", &request))?;
        Ok(Events { control: *self, subscription })
    }
}

impl Control<'_> {
    /// Signals an event with its data; returns how many tasks hear of it.
    ///
    /// # Errors
    /// The data cannot be written as JSON.
    pub fn signal<T: Serialize>(&self, name: &str, data: &T) -> Result<u64, Failure> {
        let data = serde_json::to_value(data)?;
        self.call("event.signal", &Signal { name: name.to_owned(), data })
    }
}

impl Events {
    /// The next event's data.
    ///
    /// # Errors
    /// The data is of another type: the event is gone, and the next can be waited for.
    ///
    /// # Panics
    /// Polled outside a task of this SDK.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let data = std::future::poll_fn(|_| {
            let request = Take { subscription: self.subscription, task: crate::task::current_task() };
            match self.control.with(|control| control.call::<_, Option<Taken>>("event.take", &request)) {
                Ok(Some(Taken { data })) => Poll::Ready(Ok(data)),
                Ok(None) => Poll::Pending,
                Err(failure) => Poll::Ready(Err(failure)),
            }
        });
        Ok(serde_json::from_value(data.await?)?)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // A host that has forgotten it already is as good.
        let _ = self.control.with(|control| control.call::<_, ()>("event.unsubscribe", &self.subscription));
    }
}

/// Arguments of the method `event.subscribe`, which answers with the subscription's number.
#[derive(Debug, Serialize, Deserialize)]
#[doc(hidden)]
pub struct Subscribe {
    /// Name of the events.
    pub name: String,
}

/// Arguments of the method `event.take`, which answers with [`Taken`], or with nothing: the task is then woken when
/// there is something.
#[derive(Debug, Serialize, Deserialize)]
#[doc(hidden)]
pub struct Take {
    /// The subscription.
    pub subscription: u64,
    /// The task.
    pub task: u64,
}

/// An event's data.
#[derive(Debug, Serialize, Deserialize)]
#[doc(hidden)]
pub struct Taken {
    /// The data.
    pub data: Value,
}

/// Arguments of the method `event.signal`.
#[derive(Debug, Serialize, Deserialize)]
#[doc(hidden)]
pub struct Signal {
    /// Name of the event.
    pub name: String,
    /// Its data.
    pub data: Value,
}

/// Who waits for what: the host's side, which the harness shares. `O` tells subscribers' owners apart.
#[derive(Debug)]
#[doc(hidden)]
pub struct Subscriptions<O> {
    last: u64,
    all: BTreeMap<u64, Subscription<O>>,
}

#[derive(Debug)]
struct Subscription<O> {
    owner: O,
    name: String,
    task: Option<u64>,
    waiting: VecDeque<Value>,
}

impl<O> Default for Subscriptions<O> {
    fn default() -> Self {
        Self { last: 0, all: BTreeMap::new() }
    }
}

impl<O: PartialEq> Subscriptions<O> {
    /// Keeps events of this name from now on; returns the subscription's number.
    pub fn subscribe(&mut self, owner: O, name: String) -> u64 {
        self.last += 1;
        self.all.insert(self.last, Subscription { owner, name, task: None, waiting: VecDeque::new() });
        self.last
    }

    /// Keeps them no longer.
    pub fn unsubscribe(&mut self, subscription: u64) {
        self.all.remove(&subscription);
    }

    /// Forgets the subscriptions of an owner.
    pub fn forget(&mut self, owner: &O) {
        self.all.retain(|_, subscription| subscription.owner != *owner);
    }

    /// The next event, or nothing; `task` is told of the next one then.
    ///
    /// # Errors
    /// There is no such subscription.
    pub fn take(&mut self, subscription: u64, task: u64) -> Result<Option<Value>, Failure> {
        let found = self.all.get_mut(&subscription);
        let found = found.ok_or_else(|| crate::failure!("there is no subscription {subscription}"))?;
        let event = found.waiting.pop_front();
        found.task = event.is_none().then_some(task);
        Ok(event)
    }

    /// Hands an event to all that wait for it; returns how many they are, and the tasks to wake.
    pub fn signal(&mut self, name: &str, data: &Value) -> (u64, Vec<u64>) {
        let (mut heard, mut tasks) = (0, Vec::new());
        for subscription in self.all.values_mut().filter(|subscription| subscription.name == name) {
            heard += 1;
            if subscription.waiting.len() == MOST_WAITING {
                subscription.waiting.pop_front();
            }
            subscription.waiting.push_back(data.clone());
            tasks.extend(subscription.task.take());
        }
        (heard, tasks)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn event_waits_for_its_task_and_wakes_it_once() {
        let mut all = Subscriptions::default();
        let (first, second) = (all.subscribe(1, "a".into()), all.subscribe(2, "a".into()));
        assert_eq!(all.take(first, 7).unwrap(), None);
        assert_eq!(all.signal("a", &json!(1)), (2, vec![7]));
        assert_eq!(all.signal("a", &json!(2)), (2, vec![]), "it was woken already");
        assert_eq!(all.signal("b", &json!(3)), (0, vec![]));
        assert_eq!(all.take(first, 7).unwrap(), Some(json!(1)));
        assert_eq!(all.take(first, 7).unwrap(), Some(json!(2)));
        all.forget(&2);
        assert!(all.take(second, 8).is_err());
        all.unsubscribe(first);
        assert_eq!(all.signal("a", &json!(4)), (0, vec![]));
    }

    #[test]
    fn oldest_events_go_when_nobody_takes_them() {
        let mut all = Subscriptions::default();
        let lazy = all.subscribe(1, "a".into());
        (0..MOST_WAITING + 2).for_each(|number| drop(all.signal("a", &json!(number))));
        assert_eq!(all.take(lazy, 1).unwrap(), Some(json!(2)));
    }
}
