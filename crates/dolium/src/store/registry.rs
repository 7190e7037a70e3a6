//! Owns the list of the handles of this process, so that all users of a directory share one, and a fork
//! finds every connection.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::system::files::{self, Identity};
use crate::system::fork_gate;

use super::Handle;

/// Where a handle lives; `None` if its directory could not be made yet.
type Location = (Option<Identity>, bool);

/// Holds several handles at one place, because a directory that is gone may have left its inode to another. The users
/// of the old directory's handle still use it.
static REGISTRY: Mutex<Option<HashMap<Location, Vec<Weak<Handle>>>>> = Mutex::new(None);

impl Handle {
    /// The handle of a directory: one for all its users in this process.
    pub fn of(directory: &Path, read_only: bool) -> Arc<Self> {
        crate::store::fork::register();
        let _inside = fork_gate::enter();
        let identity = files::identity(directory);
        let mut registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = registry.get_or_insert_with(HashMap::new);
        let is_there = |handle: &Arc<Self>| match identity {
            Some(_) => files::identity(&handle.directory) == identity,
            None => handle.directory == directory,
        };
        // Its directory may have been made since the handle was.
        for place in [(identity, read_only), (None, read_only)] {
            let known = registry.get(&place).into_iter().flatten();
            if let Some(handle) = known.filter_map(Weak::upgrade).find(is_there) {
                return handle;
            }
        }
        let handle = Arc::new(Self::new(directory, read_only));
        registry.retain(|_, handles| {
            handles.retain(|handle| handle.strong_count() > 0);
            !handles.is_empty()
        });
        registry.entry((identity, read_only)).or_default().push(Arc::downgrade(&handle));
        handle
    }

    /// All handles that are alive. The caller is inside the fork gate, or has closed it.
    pub fn all() -> Vec<Arc<Self>> {
        let registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
        registry.iter().flat_map(HashMap::values).flatten().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_whose_inode_went_to_another_directory_is_known_to_forks() {
        let parent = tempfile::tempdir().expect("directory");
        let (old, new) = (parent.path().join("old"), parent.path().join("new"));
        files::create_directory(&old).expect("created");
        let first = Handle::of(&old, false);
        // As good as removing it and making another that gets its inode.
        rustix::fs::rename(&old, &new).expect("renamed");
        let second = Handle::of(&new, false);
        assert!(!Arc::ptr_eq(&first, &second));
        for handle in [&first, &second] {
            assert!(Handle::all().iter().any(|known| Arc::ptr_eq(known, handle)));
        }
        assert!(Arc::ptr_eq(&second, &Handle::of(&new, false)));
    }

    #[test]
    fn a_directory_made_later_keeps_its_handle() {
        let parent = tempfile::tempdir().expect("directory");
        let directory = parent.path().join("later");
        let early = Handle::of(&directory, false);
        assert!(Arc::ptr_eq(&early, &Handle::of(&directory, false)));
        files::create_directory(&directory).expect("created");
        assert!(Arc::ptr_eq(&early, &Handle::of(&directory, false)));
    }
}
