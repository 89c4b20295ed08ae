//! The life of the process: tasks and their end, the clock, the log, files, HTTP clients.

pub mod clock;
pub mod config_state;
pub mod http;
pub mod stop;
pub mod tasks;
