//! Numbers of living processes, by which others know what a dead one has left. A process has one in each directory that
//! asks, from then on until it ends, whatever it closes meanwhile.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use dolium_hot::{Access, Owner};

use crate::store::Handle;
use crate::system::error::{Error, Result};
use crate::system::fork_gate;

static OWNERS: Mutex<BTreeMap<PathBuf, Arc<Owner>>> = Mutex::new(BTreeMap::new());

impl Handle {
    /// The number of this process here. Another one after a fork, and where `cache.lock` has lost its name.
    pub(crate) fn owner(&self) -> Result<u64> {
        Ok(self.as_owner()?.number())
    }

    /// Whether the process of a number lives.
    pub(crate) fn is_alive_owner(&self, number: u64) -> Result<bool> {
        self.as_owner()?.lives(number).map_err(|error| self.refused(&error))
    }

    fn as_owner(&self) -> Result<Arc<Owner>> {
        let _inside = fork_gate::enter();
        let mut owners = OWNERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = owners.get(&self.directory).filter(|owner| owner.is_current()) {
            return Ok(Arc::clone(owner));
        }
        let access = Access::like(&self.database).or_else(|_| Access::within(&self.directory));
        let owner = Owner::attach(&self.directory, access.unwrap_or_default());
        let owner = Arc::new(owner.map_err(|error| self.refused(&error))?);
        owners.insert(self.directory.clone(), Arc::clone(&owner));
        Ok(owner)
    }

    fn refused(&self, error: &dolium_hot::AttachError) -> Error {
        Error::Lock { directory: self.directory.clone(), detail: error.to_string() }
    }
}
