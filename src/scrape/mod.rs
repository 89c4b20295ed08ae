//! scrape
mod body;
mod failure;
mod schedule;
