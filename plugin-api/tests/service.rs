//! Services between plugins.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::Harness;
use raddle_plugin_api::wire::Ip4Address;

mod now {
    use super::*;

    service! {
        /// Numbers by address.
        pub trait Numbers, client NumbersClient, name "numbers", version (1, 1) {
            /// Adds to an address's number.
            fn add(&self, address: Ip4Address, amount: u64) -> u64;
            /// What there is.
            fn sum(&self) -> u64;
            /// Never returns.
            fn fails(&self, why: u8) -> ();
        }
    }
}

/// The same service as an earlier version of its declaration had it.
mod before {
    use super::*;

    service! {
        /// Numbers by address.
        pub trait Numbers, client NumbersClient, name "numbers", version (1, 0) {
            /// Adds to an address's number.
            fn add(&self, address: Ip4Address, amount: u64) -> u64;
        }
    }
}

/// What somebody made of it who did not raise the version.
mod bent {
    use super::*;

    service! {
        /// Numbers by address.
        pub trait Numbers, client NumbersClient, name "numbers", version (1, 0) {
            /// Adds to an address's number.
            fn add(&self, address: Ip4Address, amount: u32) -> u64;
        }
    }
}

struct Sums([AtomicU64; 256]);

impl Sums {
    fn new() -> Arc<Self> {
        Arc::new(Self(std::array::from_fn(|_| AtomicU64::new(0))))
    }
}

impl now::Numbers for Sums {
    fn add(&self, address: Ip4Address, amount: u64) -> u64 {
        self.0[usize::from(address.to_std().octets()[3])].fetch_add(amount, Ordering::Relaxed) + amount
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|number| number.load(Ordering::Relaxed)).sum()
    }

    fn fails(&self, why: u8) {
        panic!("reason {why}");
    }
}

impl before::Numbers for Sums {
    fn add(&self, address: Ip4Address, amount: u64) -> u64 {
        now::Numbers::add(self, address, amount)
    }
}

fn address(last: u8) -> Ip4Address {
    Ip4Address::from(std::net::Ipv4Addr::new(192, 0, 2, last))
}

#[test]
fn calls_reach_the_value_that_was_exported_from_any_thread() {
    let mut host = Harness::builder().build();
    host.control(|control| now::NumbersClient::export(control, Sums::new())).unwrap();
    let client = host.control(|control| now::NumbersClient::find(control)).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let client = client.clone();
            std::thread::spawn(move || (0..100).for_each(|_| _ = client.add(address(thread), 2)))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(client.add(address(3), 5), Ok(205));
    assert_eq!(client.sum(), Ok(805));
}

#[test]
fn users_of_an_earlier_minor_version_are_served_and_of_a_later_one_are_not() {
    let mut host = Harness::builder().build();
    host.control(|control| now::NumbersClient::export(control, Sums::new())).unwrap();
    let client = host.control(|control| before::NumbersClient::find(control)).unwrap();
    assert_eq!(client.add(address(1), 7), Ok(7));

    let mut host = Harness::builder().build();
    host.control(|control| before::NumbersClient::export(control, Sums::new())).unwrap();
    let failure =
        host.control(|control| now::NumbersClient::find(control).map(drop)).unwrap_err().to_string();
    assert!(
        failure.starts_with("the service `numbers` is there in version 1.0, and 1.1 is wanted"),
        "{failure}"
    );
}

#[test]
fn a_function_with_other_types_under_the_same_version_is_noticed() {
    let mut host = Harness::builder().build();
    host.control(|control| now::NumbersClient::export(control, Sums::new())).unwrap();
    let failure =
        host.control(|control| bent::NumbersClient::find(control).map(drop)).unwrap_err().to_string();
    assert!(
        failure.starts_with("function 0 of the service `numbers` 1.0 is another one at its owner"),
        "{failure}"
    );
}

#[test]
fn a_panic_stays_on_the_owners_side() {
    let mut host = Harness::builder().build();
    host.control(|control| now::NumbersClient::export(control, Sums::new())).unwrap();
    let client = host.control(|control| now::NumbersClient::find(control)).unwrap();
    assert_eq!(client.fails(3).unwrap_err().to_string(), "the service `numbers` panicked");
    assert_eq!(client.sum(), Ok(0), "the others are as they were");
}

#[test]
fn what_is_found_outlives_its_owner_and_is_freed_by_the_last_user() {
    let mut host = Harness::builder().build();
    let sums = Sums::new();
    let watch: Weak<Sums> = Arc::downgrade(&sums);
    host.control(|control| now::NumbersClient::export(control, sums)).unwrap();
    let client = host.control(|control| now::NumbersClient::find(control)).unwrap();
    drop(host);
    assert_eq!(client.add(address(1), 1), Ok(1));
    let second = client.clone();
    drop(client);
    assert!(watch.upgrade().is_some());
    drop(second);
    assert!(watch.upgrade().is_none());
}

#[test]
fn a_name_is_offered_once_and_what_nobody_offers_is_not_found() {
    let mut host = Harness::builder().build();
    let nobody = host.control(|control| now::NumbersClient::find(control).map(drop)).unwrap_err().to_string();
    assert_eq!(nobody, "no plugin offers the service `numbers`");
    let sums = Sums::new();
    let export = |control: &mut Control<'_>| now::NumbersClient::export(control, Arc::clone(&sums));
    host.control(export).unwrap();
    let twice = host.control(export).unwrap_err().to_string();
    assert!(twice.contains("the service `numbers` is offered already"), "{twice}");
    assert_eq!(Arc::strong_count(&sums), 2, "the refused offer holds nothing");
}
