//! Several documents, one over the other.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bartizan_core::ConfigError;
use parking_lot::Mutex;

use crate::definition::parse;
use crate::engine::Flags;

/// A place for a document among others: where two of them define the same flag, the one of the
/// higher rank wins, whole. So a local file can overrule what a server says.
///
/// Names of `$evaluators` are overlaid in the same way; `metadata` holds for the document's own flags.
/// Documents must name the same bucketing version; one over others that names none takes over theirs,
/// and one that would change it is refused, since that moves callers. A source tries such a document
/// again once the others have changed.
///
/// One source feeds a place: of two, each would put its own document back.
///
/// # Examples
///
/// ```
/// use bartizan_flags::{EvaluationContext, Flag, Flags};
///
/// static SEARCH: Flag<bool> = Flag::new("search", false);
///
/// # fn main() -> Result<(), bartizan_core::ConfigError> {
/// let document = |variant| {
///     format!(
///         r#"{{"flags": {{"search": {{"state": "ENABLED",
///         "variants": {{"on": true, "off": false}}, "defaultVariant": "{variant}"}}}}}}"#
///     )
/// };
/// let flags = Flags::from_json(&document("on"))?;
/// let emergency = flags.feed(9);
/// emergency.replace(&document("off"))?;
/// assert!(!SEARCH.get(&flags, &EvaluationContext::new()));
///
/// emergency.replace(r#"{"flags": {}}"#)?;
/// assert!(SEARCH.get(&flags, &EvaluationContext::new()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Feed {
    flags: Flags,
    rank: u8,
    file: Option<Arc<Path>>,
    /// What was last tried.
    seen: Arc<Mutex<Option<Seen>>>,
}

#[derive(Debug)]
struct Seen {
    text: String,
    /// False if it was refused.
    sound: bool,
    /// The number of the change that brought it; if it was refused, of the last one before.
    change: u64,
}

impl Feed {
    pub(crate) fn new(flags: Flags, rank: u8) -> Self {
        Self { flags, rank, file: None, seen: Arc::default() }
    }

    /// Keeps the last good document in a file, and puts in force now what it holds from before, which is
    /// as old as the file: [`Flags::age`] counts from when that was written, until the source is
    /// reached. A file that is not there yet, or cannot be used, is no error: the source will say. From
    /// now on [`replace`](Self::replace) blocks on I/O, as this does.
    #[must_use]
    pub fn keep_in(mut self, file: impl Into<PathBuf>) -> Self {
        let file = file.into();
        // A document that is refused has been logged.
        if let Ok(text) = fs::read_to_string(&file)
            && self.replace(&text).is_ok()
        {
            let modified = fs::metadata(&file).and_then(|data| data.modified()).ok();
            let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            // Of what bears no date nobody knows how old it is.
            let ago = self.flags.time().unix().saturating_sub(modified.unwrap_or_default());
            self.flags.confirm(self.rank, ago);
        }
        self.file = Some(file.into());
        self
    }

    /// The flags that are fed.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.flags.clone()
    }

    /// Puts another document in this place, and turns what is bound to flags.
    ///
    /// # Errors
    ///
    /// If the document itself cannot be read; the last good one stays.
    pub fn replace(&self, document: &str) -> Result<(), ConfigError> {
        let (before, _) = self.flags.changes(self.rank);
        let value = parse(document).inspect_err(|error| self.flags.refuse(error));
        let result = value.and_then(|value| self.flags.install(self.rank, value));
        let (sound, change) = (result.is_ok(), *result.as_ref().unwrap_or(&before));
        *self.seen.lock() = Some(Seen { text: document.to_owned(), sound, change });
        result?;
        if let Some(Err(error)) = self.file.as_deref().map(|file| keep(file, document)) {
            tracing::warn!(target: "bartizan::flags", %error, "document cannot be kept on disk");
        }
        Ok(())
    }

    /// Takes what the source has, and notes that it was reached: as [`replace`](Self::replace) and
    /// [`confirm`](Self::confirm), but a text that is the same as before is read again only if it would
    /// now fare otherwise. True if another document came into force.
    ///
    /// # Errors
    ///
    /// If the document itself cannot be read; the last good one stays.
    pub fn offer(&self, document: &str) -> Result<bool, ConfigError> {
        if self.seen.lock().as_ref().is_some_and(|seen| seen.text == document) {
            return self.try_again();
        }
        self.replace(document)?;
        self.flags.confirm(self.rank, Duration::ZERO);
        Ok(true)
    }

    /// Takes the document of this place out of force, and off the disk, so that those of lower ranks hold
    /// again. True if there was one. [`Flags::ready`] does not wait for another.
    ///
    /// # Errors
    ///
    /// If those that are left do not go together without it; it then stays.
    pub fn withdraw(&self) -> Result<bool, ConfigError> {
        let was_there = self.flags.withdraw(self.rank)?;
        *self.seen.lock() = None;
        if let Some(Err(error)) = self.file.as_deref().filter(|_| was_there).map(fs::remove_file) {
            tracing::warn!(target: "bartizan::flags", %error, "document stays on disk");
        }
        Ok(was_there)
    }

    /// Notes that a source is going to feed this place: [`Flags::ready`] waits for it, and
    /// [`Flags::age`] counts from here until it is reached. Our own sources see to that themselves.
    pub fn expect(&self) {
        self.flags.expect(self.rank);
    }

    /// Notes that the source was reached just now, and has what it had before: [`Flags::age`] counts
    /// from here. Not if that was refused: what is in force is then older than what the source has.
    ///
    /// What was refused is tried once more if another document has come into force or gone since, and
    /// what was replaced by somebody else is put back; this then works and blocks as
    /// [`replace`](Self::replace) does.
    pub fn confirm(&self) {
        // What is refused again has been logged.
        let _ = self.try_again();
    }

    /// As [`confirm`](Self::confirm); true if the document of the source came into force.
    pub(crate) fn try_again(&self) -> Result<bool, ConfigError> {
        let seen = self.seen.lock();
        let again = seen.as_ref().filter(|seen| !self.stands(seen)).map(|seen| seen.text.clone());
        let sound = seen.as_ref().is_none_or(|seen| seen.sound);
        drop(seen);
        if let Some(text) = &again {
            self.replace(text)?;
        }
        if sound || again.is_some() {
            self.flags.confirm(self.rank, Duration::ZERO);
        }
        Ok(again.is_some())
    }

    /// Whether it would fare as it did: it is in force, or nothing has changed since it was refused.
    fn stands(&self, seen: &Seen) -> bool {
        let (last, own) = self.flags.changes(self.rank);
        if seen.sound { own == Some(seen.change) } else { seen.change == last }
    }
}

/// The lowest rank: what [`Flags::replace`] sets.
impl From<Flags> for Feed {
    fn from(flags: Flags) -> Self {
        Self::new(flags, 0)
    }
}

/// Writes beside the file and renames: whoever reads it never sees half a document.
fn keep(file: &Path, text: &str) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, text)?;
    fs::rename(&beside, file)
}
