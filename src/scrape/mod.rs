//! scrape

mod failure;
#[cfg(test)]
mod fake_target;
mod fetch;
mod schedule;
mod shape;
mod staleness;
#[cfg(test)]
mod test_job;
