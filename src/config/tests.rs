//! The config as data.
