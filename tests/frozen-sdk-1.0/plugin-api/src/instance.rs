//! One loaded copy of a plugin, and what its functions find in it.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Failure;
use crate::abi::HostTable;

type Resource = Arc<dyn Any + Send + Sync>;

/// One loaded copy of a plugin: its host, and the values that its init functions made for its nodes and commands.
pub struct Instance {
    host: *const HostTable,
    resources: Mutex<HashMap<TypeId, Resource>>,
}

// SAFETY: the host's table is immutable and its functions may be called from the threads that each one's contract
// names; the resources are behind a lock.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

impl Instance {
    /// An instance on `host`.
    ///
    /// # Safety
    /// `host` stays valid for the instance's life.
    #[doc(hidden)]
    pub unsafe fn new(host: *const HostTable) -> Self {
        Self { host, resources: Mutex::default() }
    }

    /// # Safety
    /// `instance` was made by [`Instance::new`], boxed, and is alive for `'a`.
    pub(crate) unsafe fn from_ptr<'a>(instance: *mut c_void) -> &'a Self {
        // SAFETY: as the caller vouches.
        unsafe { &*instance.cast::<Self>() }
    }

    pub(crate) fn host(&self) -> *const HostTable {
        self.host
    }

    pub(crate) fn provide<T: Any + Send + Sync>(&self, value: Arc<T>) -> Result<(), Failure> {
        let mut resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        if resources.insert(TypeId::of::<T>(), value).is_some() {
            crate::bail!("a value of type {} was provided twice", type_name::<T>());
        }
        Ok(())
    }

    /// Drops all resources, where the instance itself stays.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn forget_resources(&self) {
        let resources = std::mem::take(&mut *self.resources.lock().unwrap_or_else(PoisonError::into_inner));
        drop(resources);
    }

    pub(crate) fn resource<T: Any + Send + Sync>(&self) -> Result<Arc<T>, Failure> {
        let resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        resources.get(&TypeId::of::<T>()).and_then(|value| Arc::clone(value).downcast().ok()).ok_or_else(
            || crate::failure!("no init function has provided a value of type {}", type_name::<T>()),
        )
    }
}
