//! scrape

mod failure;
#[cfg(test)]
mod fake_target;
mod fetch;
mod known;
mod metadata;
mod read;
mod report;
mod schedule;
mod shape;
mod staleness;
#[cfg(test)]
mod test_job;
