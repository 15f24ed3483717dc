//! For origins: what responses say of their reuse.

mod future;
mod layer;
mod value;

pub use self::future::{ControlBody, ControlFuture};
pub use self::layer::{CacheControlLayer, CacheControlService};
pub use self::value::CacheControl;
