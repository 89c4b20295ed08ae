//! The log under random appends, confirmations and crashes.
