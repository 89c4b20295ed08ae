//! Who does what: slots have owners, targets and streams follow their slots, and when an owner
//! changes the old one hands over to the new one. Everything here is rules; shells obey them.

pub mod assign;
pub mod balance;
pub mod handoff;
pub mod key;
pub mod meters;
pub mod moves;
pub mod orders;
pub mod placement;
pub mod quorum;
pub mod shares;
pub mod view;
