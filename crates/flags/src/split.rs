//! Requests served by one of several services, as a flag says.

mod cookie;
mod engine;
mod layer;
mod service;
mod settings;
mod window;

pub use self::engine::{Rollout, SplitWatch};
pub use self::layer::SplitLayer;
pub use self::service::{Split, SplitFuture};
pub use self::settings::RolloutSettings;
