//! scrape

mod failure;
#[cfg(test)]
mod fake_target;
mod fetch;
mod schedule;
#[cfg(test)]
mod test_job;
