//! The gateway: pushes come in at any member, and each series leaves by the one that owns its slot. The
//! rules at the door are here: who pushes, how much, which replica, and when to come again.

pub mod limits;
pub mod replicas;
pub mod retry_after;
pub mod visitor;
