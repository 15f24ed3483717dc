use std::convert::Infallible;
use std::fs;
use std::io::ErrorKind;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bartizan_core::ConfigError;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::watch::{Folders, SETTLE};
use crate::engine::Flags;
use crate::feed::Feed;

/// The shortest time between two looks at the file that nobody has asked for.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// A document in a file, which can be followed while it changes. Clones share the state.
///
/// The folder is watched and not the file, which may be replaced, deleted and made anew: so it also
/// sees a Kubernetes `ConfigMap`, whose symbolic links are swapped. Contents are compared, not times.
#[derive(Clone, Debug)]
pub struct FileSource(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    feed: Feed,
    /// Without the file there is no document, where else the last good one stays.
    optional: bool,
    /// Whether the last look failed, so that it is reported once and not at every look. Locked while
    /// somebody looks, so that what is seen last is in force in the end.
    unreadable: Mutex<bool>,
}

impl FileSource {
    /// Reads a flagd document from a file.
    ///
    /// # Errors
    ///
    /// If the file or the document cannot be read.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        Self::load_into(path, Flags::empty())
    }

    /// Reads a flagd document from a file and puts it in force in `feed`: in [`Flags`], or in one of
    /// several places there, as with `flags.feed(9)` for a file that overrules all else.
    ///
    /// # Errors
    ///
    /// If the file or the document cannot be read.
    pub fn load_into(path: impl Into<PathBuf>, feed: impl Into<Feed>) -> Result<Self, ConfigError> {
        Self::start(path.into(), feed.into(), false)
    }

    /// A document that is in force in `feed` for as long as the file is there, as one for emergencies:
    /// put there it overrules what lies below it, and deleted it lets that hold again. It need not be
    /// there yet.
    ///
    /// ```
    /// use bartizan_flags::{FileSource, Flags};
    ///
    /// # fn main() -> Result<(), bartizan_core::ConfigError> {
    /// let flags = Flags::empty();
    /// let emergency = FileSource::optional("/etc/shop/emergency.json", flags.feed(9))?;
    /// // In earnest: `tokio::spawn(emergency.watch(Duration::from_secs(5)))`.
    /// # let _ = emergency;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the file is there and it or its document cannot be read.
    pub fn optional(path: impl Into<PathBuf>, feed: impl Into<Feed>) -> Result<Self, ConfigError> {
        Self::start(path.into(), feed.into(), true)
    }

    fn start(path: PathBuf, feed: Feed, optional: bool) -> Result<Self, ConfigError> {
        let source = Self(Arc::new(Inner { path, feed, optional, unreadable: Mutex::default() }));
        source.reload()?;
        Ok(source)
    }

    /// The flags that the file feeds.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.0.feed.flags()
    }

    /// Looks at the file once; true if another document came into force, or an
    /// [optional](Self::optional) one ceased to be. Blocks on I/O.
    ///
    /// # Errors
    ///
    /// If the file or the changed document cannot be read; the set in force stays. A document that
    /// was refused is not looked at again until it, or another document, changes.
    pub fn reload(&self) -> Result<bool, ConfigError> {
        let mut unreadable = self.0.unreadable.lock();
        match fs::read_to_string(&self.0.path) {
            Ok(text) => {
                *unreadable = false;
                self.0.feed.offer(&text)
            }
            Err(error) if self.0.optional && error.kind() == ErrorKind::NotFound => {
                *unreadable = false;
                self.0.feed.withdraw()
            }
            Err(error) => {
                let path = self.0.path.display();
                if !mem::replace(&mut *unreadable, true) {
                    tracing::warn!(target: "bartizan::flags", %path, %error, "file cannot be read, the last good document stays");
                }
                Err(ConfigError::new(
                    "path",
                    format!("{path} cannot be read ({})", error.kind()),
                    "check that it exists, is UTF-8 and that this process may read it",
                ))
            }
        }
    }

    /// Follows the file for ever: looks at it when the system tells of a change in its folder, and
    /// besides every `interval`, for file systems that tell of none, as those over a network, and for
    /// a folder that is not there. Some seconds will do. It reads on tokio's pool for blocking work.
    ///
    /// Nothing runs unless the future is polled: spawn it, and abort the task to stop.
    pub async fn watch(self, interval: Duration) -> Infallible {
        let interval = interval.max(MIN_INTERVAL);
        let changed = Arc::new(Notify::new());
        let mut folders = Folders::default();
        loop {
            // Links may lead elsewhere by now, and a folder may be another of the same name.
            folders.follow(&self.0.path, &changed);
            if tokio::time::timeout(interval, changed.notified()).await.is_ok() {
                // Whoever writes often does so in several steps.
                tokio::time::sleep(SETTLE).await;
            } else {
                folders = Folders::default();
            }
            let source = self.clone();
            // What goes wrong has been logged and the last good set stays, so there is nothing
            // left to do with an error but to look again.
            let _ = tokio::task::spawn_blocking(move || source.reload()).await;
        }
    }
}
