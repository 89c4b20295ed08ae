//! What this binary is. A package build may name the revision it was made from.

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `STARLING_REVISION` of the build's environment: a build from a tarball has no other source.
pub const REVISION: &str = match option_env!("STARLING_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
