//! Word of changes in a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// How long a change is left alone before it is looked at.
pub(super) const SETTLE: Duration = Duration::from_millis(10);

/// The folders that are watched: the one that the file is said to be in, and the one where it is once
/// all links are followed.
#[derive(Default)]
pub(super) struct Folders {
    paths: Vec<PathBuf>,
    watcher: Option<RecommendedWatcher>,
}

impl Folders {
    /// Has `changed` told of whatever happens around `file`. Where the system cannot do that,
    /// nothing is told.
    pub(super) fn follow(&mut self, file: &Path, changed: &Arc<Notify>) {
        let folder = |file: &Path| match file.parent() {
            Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
            Some(folder) => folder.to_owned(),
            None => file.to_owned(),
        };
        let mut paths = vec![folder(file)];
        if let Ok(real) = file.canonicalize().map(|file| folder(&file))
            && paths.first().and_then(|path| path.canonicalize().ok()).as_ref() != Some(&real)
        {
            paths.push(real);
        }
        if self.watcher.is_some() && self.paths == paths {
            return;
        }
        let tell = Arc::clone(changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.map_or(true, |event| is_change(event.kind)) {
                tell.notify_one();
            }
        });
        self.watcher = watcher.ok().and_then(|mut watcher| {
            for path in &paths {
                watcher.watch(path, RecursiveMode::NonRecursive).ok()?;
            }
            Some(watcher)
        });
        if self.watcher.is_some() {
            // Between the last look and now something may have happened.
            changed.notify_one();
        } else {
            tracing::debug!(target: "bartizan::flags", "the system tells of no changes, the file is looked at from time to time");
        }
        self.paths = paths;
    }
}

/// Looking at a file is no change, or each look would call for the next.
const fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}
