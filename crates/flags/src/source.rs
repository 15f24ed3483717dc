//! Where documents come from.

mod file;
mod http;
mod watch;

pub use self::file::FileSource;
pub use self::http::{HttpSource, SourceError};
