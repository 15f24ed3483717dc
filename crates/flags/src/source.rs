//! Where documents come from.

mod file;

pub use self::file::FileSource;
