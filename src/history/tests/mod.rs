//! History against real files.
