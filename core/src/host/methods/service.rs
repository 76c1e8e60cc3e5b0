//! Methods on services, which plugins offer to each other.

use std::collections::BTreeMap;

use raddle_plugin_api::abi::ServiceTable;
use raddle_plugin_api::config::nearest;
use raddle_plugin_api::service::{Exported, Identity};
use raddle_plugin_api::{Failure, bail};
use serde_json::Value;

use super::table::typed;
use crate::graph::Owner;
use crate::host::{Engine, ImageState};

/// The services that are offered, by name. Of several of one name (a plugin and its successor) the last one counts.
#[derive(Default)]
pub struct Services {
    offered: BTreeMap<String, Vec<Offer>>,
}

/// A service as its owner offers it; holds a reference to the table.
struct Offer {
    owner: Owner,
    identity: Identity<String>,
    table: *const ServiceTable,
}

impl Drop for Offer {
    fn drop(&mut self) {
        // SAFETY: the owner handed this reference over; its code stays mapped.
        unsafe { ((*self.table).release)(self.table) };
    }
}

impl Services {
    fn export(&mut self, owner: Owner, exported: Exported) {
        let Exported { identity, table } = exported;
        let offers = self.offered.entry(identity.name.clone()).or_default();
        offers.push(Offer { owner, identity, table: table as usize as *const ServiceTable });
    }

    /// The service as it is offered last, with one reference more to its table.
    fn find(&self, wanted: &Identity<String>) -> Result<Exported, Failure> {
        let offer = self.offered.get(&wanted.name).and_then(|offers| offers.last());
        let Some(offer) = offer else {
            let near = nearest(&wanted.name, self.offered.keys().map(String::as_str));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            bail!("no plugin offers the service `{}`{hint}", wanted.name);
        };
        offer.identity.judge(wanted)?;
        // SAFETY: alive while the offer holds it.
        unsafe { ((*offer.table).retain)(offer.table) };
        Ok(Exported { identity: offer.identity.clone(), table: offer.table as usize as u64 })
    }

    /// Takes away, and returns, what is offered by owners that are not there any more.
    fn take_gone(&mut self, is_there: impl Fn(Owner) -> bool) -> Vec<Offer> {
        let mut gone = Vec::new();
        self.offered.retain(|_, offers| {
            gone.extend(offers.extract_if(.., |offer| !is_there(offer.owner)));
            !offers.is_empty()
        });
        gone
    }
}

impl Engine {
    pub(super) fn add_service_methods(&self) {
        self.add_method("service.export", |engine, arguments| {
            let exported: Exported = typed(arguments)?;
            engine.forget_gone_services();
            let (owner, name) = (engine.current_owner.get(), exported.identity.name.clone());
            if exported.table == 0 {
                bail!("the service `{name}` has no table");
            }
            let mut services = engine.services.borrow_mut();
            let other = services.offered.get(&name).and_then(|offers| offers.last());
            if let Some(other) = other {
                let (there, here) = (engine.owner_name(other.owner), engine.owner_name(owner));
                // A plugin that is being upgraded takes over from itself.
                if there != here || other.owner == owner {
                    bail!("the plugin `{there}` offers the service `{name}` already");
                }
            }
            services.export(owner, exported);
            Ok(Value::Null)
        });
        self.add_method("service.find", |engine, arguments| {
            engine.forget_gone_services();
            let found = engine.services.borrow().find(&typed(arguments)?)?;
            serde_json::to_value(found).map_err(Failure::from)
        });
    }

    fn forget_gone_services(&self) {
        let gone = self.services.borrow_mut().take_gone(|owner| {
            let images = self.images.borrow();
            match images.iter().find(|image| image.owner == owner) {
                Some(image) => matches!(image.state, ImageState::Active),
                // One that is just coming in.
                None => self.owner_names.borrow().contains_key(&owner),
            }
        });
        // Their code runs with nothing borrowed.
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use raddle_plugin_api::abi::Slice;

    use super::*;

    /// A table that counts its references.
    #[repr(C)]
    struct Counted {
        table: ServiceTable,
        references: Arc<AtomicUsize>,
    }

    fn counted() -> (*const Counted, Arc<AtomicUsize>) {
        unsafe extern "C" fn retain(table: *const ServiceTable) {
            // SAFETY: every table of these tests is the start of a leaked `Counted`.
            unsafe { (*table.cast::<Counted>()).references.fetch_add(1, Ordering::Relaxed) };
        }
        unsafe extern "C" fn release(table: *const ServiceTable) {
            // SAFETY: as above.
            unsafe { (*table.cast::<Counted>()).references.fetch_sub(1, Ordering::Relaxed) };
        }
        let references = Arc::new(AtomicUsize::new(1));
        let table = ServiceTable {
            size: size_of::<ServiceTable>() as u32,
            reserved: 0,
            state: std::ptr::null(),
            retain,
            release,
            methods: Slice::EMPTY,
        };
        let leaked = Box::leak(Box::new(Counted { table, references: Arc::clone(&references) }));
        (std::ptr::from_ref(leaked), references)
    }

    fn identity(name: &str, major: u16, minor: u16) -> Identity<String> {
        Identity { name: name.to_owned(), major, minor }
    }

    fn exported(identity: Identity<String>, table: *const Counted) -> Exported {
        Exported { identity, table: table as usize as u64 }
    }

    #[test]
    fn a_service_is_found_by_name_and_version() {
        let (table, references) = counted();
        let mut services = Services::default();
        services.export(Owner(1), exported(identity("sessions", 2, 1), table));
        for (major, minor) in [(2, 0), (2, 1)] {
            assert_eq!(
                services.find(&identity("sessions", major, minor)).unwrap().table,
                table as usize as u64
            );
        }
        assert_eq!(references.load(Ordering::Relaxed), 3);
        for (wanted, sentence) in [
            (
                identity("sessions", 1, 0),
                "the service `sessions` is there in version 2.1, and 1.0 is wanted;",
            ),
            (
                identity("sessions", 2, 2),
                "the service `sessions` is there in version 2.1, and 2.2 is wanted;",
            ),
            (identity("session", 2, 0), "no plugin offers the service `session`; did you mean `sessions`?"),
        ] {
            let failure = services.find(&wanted).unwrap_err().to_string();
            assert!(failure.starts_with(sentence), "{failure}");
        }
        assert_eq!(references.load(Ordering::Relaxed), 3, "who is refused holds nothing");
    }

    #[test]
    fn the_last_offer_counts_and_those_of_owners_that_went_are_given_back() {
        let ((old, old_references), (new, new_references)) = (counted(), counted());
        let mut services = Services::default();
        services.export(Owner(1), exported(identity("x", 1, 0), old));
        services.export(Owner(2), exported(identity("x", 1, 1), new));
        assert_eq!(services.find(&identity("x", 1, 0)).unwrap().table, new as usize as u64);
        drop(services.take_gone(|owner| owner == Owner(1)));
        assert_eq!(new_references.load(Ordering::Relaxed), 1, "the one that was found is still held");
        assert_eq!(services.find(&identity("x", 1, 0)).unwrap().table, old as usize as u64);
        drop(services.take_gone(|_| false));
        assert_eq!(old_references.load(Ordering::Relaxed), 1);
        assert!(services.find(&identity("x", 1, 0)).is_err());
    }

    raddle_plugin_api::service! {
        /// Doubles numbers.
        trait Doubles, client DoublesClient, name "doubles", version (1, 0) {
            /// Twice `number`.
            fn double(&self, number: u32) -> u64;
        }
    }

    struct Doubler;

    impl Doubles for Doubler {
        fn double(&self, number: u32) -> u64 {
            u64::from(number) * 2
        }
    }

    #[test]
    fn the_control_plane_carries_a_service_from_its_owner_to_its_user() {
        use crate::host::EngineConfig;
        use crate::memory::HugePages;

        let config = EngineConfig { buffers: 1024, hugepages: HugePages::Never, ..EngineConfig::default() };
        let engine = Engine::create(config).unwrap();
        let client = engine.with_core(|control| {
            DoublesClient::export(control, Arc::new(Doubler))?;
            DoublesClient::find(control)
        });
        let client = client.unwrap();
        assert_eq!(client.double(u32::MAX), Ok(u64::from(u32::MAX) * 2));
        let twice = engine.with_core(|control| DoublesClient::export(control, Arc::new(Doubler)));
        assert_eq!(twice.unwrap_err().to_string(), "the plugin `core` offers the service `doubles` already");
        drop(engine);
        assert_eq!(client.double(2), Ok(4), "what was found outlives the engine");
    }
}
