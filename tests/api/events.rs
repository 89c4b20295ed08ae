//! Events, by a client that listens, goes, and comes back.
