//! The host that this runs on.

/// As the kernel has it, and `hostname` prints it.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
