//! scrape
mod schedule;
