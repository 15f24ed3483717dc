//! Keys that one hands out oneself.

mod digest;
mod form;
mod issued;
mod plain;
mod record;
mod table;

pub use self::digest::Peppers;
pub use self::form::IssuedKey;
pub use self::issued::{ApiKeyStore, Found, IssuedKeys, StoreAway};
pub use self::plain::ApiKeys;
pub use self::record::KeyRecord;
pub use self::table::KeyTable;
