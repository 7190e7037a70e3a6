//! The file that keeps the signing key: reading it, making it once among many processes, and
//! refusing it when others could have read or replaced it.

#![expect(clippy::disallowed_methods, reason = "the owner of the key file, which lies outside every cache")]

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{Signer, SigningKey};

const FILE_NAME: &str = "signing.key";
/// More than any sane number of former keys; a file that claims to be larger is not ours.
const FILE_MAX: u64 = 64 * 1024;

/// `$XDG_STATE_HOME`, else `~/.local/state`. Relative paths are ignored, as XDG asks.
pub(super) fn state_directory() -> Option<PathBuf> {
    let configured = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    configured.filter(|path| path.is_absolute()).or_else(|| {
        let home = std::env::home_dir().filter(|path| path.is_absolute())?;
        Some(home.join(".local/state"))
    })
}

/// The key file. Its methods fail with a clause for the warning.
pub(super) struct KeyFile {
    directory: PathBuf,
    path: PathBuf,
}

impl KeyFile {
    pub fn new(state: &Path) -> Self {
        let directory = state.join("dolium");
        let path = directory.join(FILE_NAME);
        Self { directory, path }
    }

    pub fn open(&self) -> Result<Signer, String> {
        // Twice only if another process deletes the file between our losing the race and reading it.
        for _ in 0..3 {
            if let Some(signer) = self.read()? {
                return Ok(signer);
            }
            self.create()?;
        }
        Err(format!("{} vanishes as soon as it is made", self.path.display()))
    }

    /// `None` when there is no file.
    fn read(&self) -> Result<Option<Signer>, String> {
        let shown = self.path.display();
        let file = match guard::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{shown} cannot be read ({error})")),
        };
        guard::check_directory(&self.directory)?;
        guard::check_file(&file, &self.path)?;
        let mut text = String::new();
        file.take(FILE_MAX)
            .read_to_string(&mut text)
            .map_err(|error| format!("{shown} cannot be read ({error})"))?;
        let keys = parse(&text).ok_or_else(|| {
            format!(
                "{shown} is damaged; delete it, and a new key is made (values signed so far count as foreign)"
            )
        })?;
        Ok(Some(Signer::new(keys, Some(&self.path))))
    }

    /// Makes the file unless another process is faster: a complete file gets its name in one step,
    /// and only if the name is free.
    fn create(&self) -> Result<(), String> {
        let failed =
            |error: io::Error| format!("no key can be kept in {} ({error})", self.directory.display());
        guard::check_before_creating(&self.directory)?;
        guard::make_directory(&self.directory).map_err(failed)?;
        guard::check_directory(&self.directory)?;
        let no_random = |error| format!("the system gives no random numbers for a key ({error})");
        let mut secret = [0; blake3::KEY_LEN];
        getrandom::fill(&mut secret).map_err(no_random)?;
        let suffix = getrandom::u64().map_err(no_random)?;
        let temporary = self.directory.join(format!(".{FILE_NAME}.{suffix:016x}"));
        let result = guard::create_new(&temporary).and_then(|mut file| {
            writeln!(file, "# Signs the values of this user's dolium caches. Keep it secret.")?;
            writeln!(file, "{}", blake3::Hash::from(secret).to_hex())?;
            file.sync_all()?;
            guard::publish(&temporary, &self.path)
        });
        let _ = fs::remove_file(&temporary);
        match result {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
            _ => Ok(()),
        }
    }
}

fn parse(text: &str) -> Option<Vec<SigningKey>> {
    let mut keys = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            let secret = blake3::Hash::from_hex(line).ok()?;
            keys.push(SigningKey::new(*secret.as_bytes()));
        }
    }
    (!keys.is_empty()).then_some(keys)
}

/// Checks which users may read and replace the key file.
#[cfg(unix)]
mod guard {
    use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
    use std::path::Path;

    use rustix::fs::{CWD, RenameFlags};

    /// Kubernetes adds rights for the `fsGroup` each time that it mounts a volume. They are not taken for the user's own
    /// even where the group is the process's: other pods may be of that group.
    const WIDENED: &str =
        " (where the platform widens the modes of a volume, neither lasts: use the variable below)";

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    pub fn open(path: &Path) -> io::Result<File> {
        // If another user puts a FIFO there, opening it must not wait for a writer.
        let flags = rustix::fs::OFlags::NONBLOCK.bits();
        OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)
    }

    pub fn check_file(file: &File, path: &Path) -> Result<(), String> {
        let shown = path.display();
        let meta = file.metadata().map_err(|error| format!("{shown} cannot be read ({error})"))?;
        if !meta.is_file() {
            return Err(format!("{shown} is not a file; delete it"));
        }
        if meta.uid() != me() {
            return Err(not_mine(path, meta.uid()));
        }
        if meta.mode() & 0o077 != 0 {
            return Err(format!(
                "{shown} has mode {:o}, so that others may have read the key; delete it (a new one \
                 is made), or run `chmod 600` on it if nobody has{WIDENED}",
                meta.mode() & 0o777
            ));
        }
        Ok(())
    }

    /// Checks that no other user may write the directory, and so take the key away.
    pub fn check_directory(directory: &Path) -> Result<(), String> {
        let shown = directory.display();
        let meta = fs::metadata(directory).map_err(|error| format!("{shown} cannot be read ({error})"))?;
        if meta.uid() != me() {
            return Err(not_mine(directory, meta.uid()));
        }
        if meta.mode() & 0o022 != 0 {
            return Err(format!("others may write to {shown}; run `chmod 700` on it{WIDENED}"));
        }
        Ok(())
    }

    /// Refuses to make anything in the home of another user: under `sudo` with `HOME` kept, root
    /// would leave a key there that its owner cannot read.
    pub fn check_before_creating(directory: &Path) -> Result<(), String> {
        let nearest = directory.ancestors().find_map(|path| fs::metadata(path).ok().map(|m| (path, m.uid())));
        match nearest {
            Some((path, owner)) if me() == 0 && owner != 0 => Err(not_mine(path, owner)),
            _ => Ok(()),
        }
    }

    fn not_mine(path: &Path, owner: u32) -> String {
        format!(
            "{} belongs to user {owner}, not to user {}, who runs this process; set XDG_STATE_HOME \
             to a directory of one's own",
            path.display(),
            me()
        )
    }

    pub fn make_directory(directory: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)
    }

    pub fn create_new(path: &Path) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        // An unusual umask takes bits away; file systems without owners do not keep any.
        file.set_permissions(Permissions::from_mode(0o600))?;
        if file.metadata()?.mode() & 0o777 == 0o600 {
            Ok(file)
        } else {
            Err(io::Error::other("the file system does not keep permissions"))
        }
    }

    /// Names the file, unless the name is taken, and makes that last.
    pub fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
        match fs::hard_link(temporary, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                // File systems without hard links.
                #[cfg(target_os = "linux")]
                rustix::fs::renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE)?;
                #[cfg(not(target_os = "linux"))]
                return Err(error);
            }
            result => result?,
        }
        if let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }
}

/// Elsewhere the user's directories are private already.
#[cfg(not(unix))]
mod guard {
    use std::fs::{self, File, OpenOptions};
    use std::io;
    use std::path::Path;

    pub fn open(path: &Path) -> io::Result<File> {
        File::open(path)
    }

    #[expect(clippy::unnecessary_wraps, reason = "fails on Unix")]
    pub fn check_file(_: &File, _: &Path) -> Result<(), String> {
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "fails on Unix")]
    pub fn check_directory(_: &Path) -> Result<(), String> {
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "fails on Unix")]
    pub fn check_before_creating(_: &Path) -> Result<(), String> {
        Ok(())
    }

    pub fn make_directory(directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)
    }

    pub fn create_new(path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    pub fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
        fs::hard_link(temporary, path)
    }
}
