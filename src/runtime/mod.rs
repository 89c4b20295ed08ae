//! The life of the process: tasks and their end, the clock, the log, files, HTTP clients.

pub mod audit;
pub mod build;
pub mod clock;
pub mod config_state;
pub mod credentials;
pub mod files;
pub mod host;
pub mod http;
pub mod lease;
pub mod listen;
pub mod log;
pub mod meters;
pub mod passwords;
pub mod pulse;
pub mod service;
pub mod stop;
pub mod tasks;
