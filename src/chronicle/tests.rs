//! The observer over real parts.
