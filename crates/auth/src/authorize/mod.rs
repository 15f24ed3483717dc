//! Whether a caller may: what is required of whom, and the layers that ask for it.

mod guard;
mod policy;
mod require;
mod requirement;
mod routes;

pub use self::policy::{Authorize, AuthorizeFuture, AuthorizeLayer, Authorizer, Ruling};
pub use self::require::{Require, RequireLayer};
pub use self::requirement::{Finding, Requirement};
pub use self::routes::{Guarded, RouteGuards, RouteGuardsLayer};
